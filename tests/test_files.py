"""One training a folder, and results that two evaluations write at once without loss."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_run

from fgjax import files
from fgjax.errors import UserError
from fgjax.evaluation import results
from fgjax.run import train


def held(folder):
    return files.held(folder / "run.lock", folder)


def record(folder):
    """What the lock file of this process says."""
    with held(folder):
        return (folder / "run.lock").read_text()


def test_a_second_training_in_a_folder_is_refused_and_writes_nothing(tmp_path):
    expected = f"{tmp_path} is in use by process {os.getpid()} on "
    with held(tmp_path), pytest.raises(UserError, match=re.escape(expected)) as caught:
        train.train(tiny_run.config(tmp_path / "cache"), str(tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_lock_is_released_after_an_error(tmp_path, error):
    with pytest.raises(error), held(tmp_path):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from fgjax import files\n"
        "folder = Path(sys.argv[1])\n"
        "with files.held(folder / 'run.lock', folder):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=tiny_run.ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run.lock").exists()
    assert f"pid={os.getpid()}" in record(tmp_path)
    assert not (tmp_path / "run.lock").exists()


@pytest.mark.parametrize("written", ["", "pid="])
def test_a_lock_cut_short_by_a_kill_does_not_block(tmp_path, written):
    (tmp_path / "run.lock").write_text(written)
    assert f"pid={os.getpid()}" in record(tmp_path)


def test_a_process_number_that_was_given_again_does_not_block(tmp_path):
    earlier = re.sub("start=.*", "start=5", record(tmp_path))  # the same number, begun before
    assert f"pid={os.getpid()}" in earlier and "start=5" in earlier
    (tmp_path / "run.lock").write_text(earlier)
    with held(tmp_path):
        pass


def test_the_lock_of_another_machine_is_refused_with_the_file_to_delete(tmp_path):
    path = tmp_path / "run.lock"
    path.write_text(re.sub("host=.*", "host=elsewhere", record(tmp_path)))
    expected = re.escape("on elsewhere; wait for it to end, or stop it; should it have died on")
    with (
        pytest.raises(UserError, match=f"{expected}.*delete {re.escape(str(path))}"),
        held(tmp_path),
    ):
        pass
    path.unlink()
    with held(tmp_path):
        pass


def test_evaluations_at_once_lose_nothing(tmp_path):
    def evaluate(number):
        results.record(tmp_path, "test", {"n": number})
        results.update(tmp_path, {"speeds": {str(number): 1.0}})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(evaluate, range(12)))
    found = results.read(tmp_path)
    assert found["evaluations"] == {"test": 12}
    assert len(found["speeds"]) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_results_that_stay_locked_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PATIENCE", 0.0)
    lock = files.held(tmp_path / "results.lock", tmp_path)
    with lock, pytest.raises(UserError, match=r"results\.json is in use by process"):
        results.update(tmp_path, {"seconds": 1.0})
