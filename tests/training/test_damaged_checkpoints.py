"""A damaged checkpoint is left out, whatever of it is damaged; the others serve."""

import resource
import shutil

import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.training import checkpoints, restoring
from fgjax.training.state import TrainState

NAMES = ("params", "batch_stats")


def state(step, width=3):
    rng = np.random.default_rng(step)
    return TrainState(
        step=np.int32(step),
        params={"head": {"kernel": rng.normal(size=(width, width)).astype(np.float32)}},
        batch_stats={"conv1": {"mean": np.ones(width, np.float32)}},
        constants={},
        opt_state={},
        ema=None,
        aux={},
    )


def save_and_wait(where, manager, one, score):
    checkpoints.save(manager, one, {})
    manager.wait_until_finished()
    checkpoints.complete(where, one.step, {"score": {"top1": score}})


def save(where, scores):
    """A checkpoint with its score for every step."""
    with checkpoints.manager(where, best_by="top1") as manager:
        for step, score in scores.items():
            save_and_wait(where, manager, state(step), score)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "whole"
    where.mkdir()
    save(where, {1: 0.9, 2: 0.5, 3: 0.7})
    return where


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def spoil(where, step, item, how):
    path = where / "checkpoints" / str(step) / item
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    assert files
    for file in files:
        if how == "truncated":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        else:
            file.unlink()
    if how == "missing" and path.is_dir():
        shutil.rmtree(path)


DAMAGE = pytest.mark.parametrize("how", ["truncated", "missing"])


@DAMAGE
@pytest.mark.parametrize("item", ["meta", "params", "batch_stats"])
def test_the_next_best_is_used_where_the_best_is_damaged(run, item, how):
    spoil(run, 1, item, how)
    said = []
    step, items = restoring.chosen(run, "top1", NAMES, said.append)
    assert step == 3
    np.testing.assert_array_equal(
        items["params"]["head"]["kernel"], state(3).params["head"]["kernel"]
    )
    # Without its record, nobody knows that it was the best.
    assert [("step 3 is used instead" in line) for line in said] == (
        [] if item == "meta" else [True]
    )
    assert checkpoints.steps(run) == [1, 2, 3]


@DAMAGE
@pytest.mark.parametrize("item", ["meta", "outcome.json", "params", "_CHECKPOINT_METADATA"])
def test_a_damaged_checkpoint_that_is_not_used_stops_nothing(run, item, how):
    spoil(run, 2, item, how)
    assert restoring.chosen(run, "top1", NAMES, pytest.fail)[0] == 1
    assert restoring.chosen(run, None, NAMES, pytest.fail)[0] == 3
    back, _ = restoring.restored_state(run, state(0), lambda line: None)
    assert back.step == 3
    with checkpoints.manager(run, best_by="top1") as manager:
        save_and_wait(run, manager, state(4), 0.1)
    assert {1, 3, 4} <= set(checkpoints.steps(run))


@DAMAGE
@pytest.mark.parametrize("item", ["meta", "params", "batch_stats"])
def test_a_run_goes_on_from_the_one_before_a_damaged_one(run, item, how):
    spoil(run, 3, item, how)
    said = []
    back, _ = restoring.restored_state(run, state(0), said.append)
    assert back.step == 2
    assert "checkpoints/3" in said[0] and "the one before it is used" in said[0]


def test_where_no_checkpoint_is_whole_one_sentence_says_so_and_all_stay(run):
    for step in (1, 2, 3):
        spoil(run, step, "params", "truncated")
    with pytest.raises(UserError, match="no checkpoint in .* is whole .*another workdir"):
        restoring.chosen(run, "top1", NAMES, pytest.fail)
    with pytest.raises(UserError, match="no checkpoint in .* is whole .*another workdir") as caught:
        restoring.restored_state(run, state(0), pytest.fail)
    assert "\n" not in str(caught.value)
    assert checkpoints.steps(run) == [1, 2, 3]


def test_a_full_disk_is_one_sentence_and_the_earlier_checkpoints_stay(tmp_path):
    save(tmp_path, {1: 0.9, 2: 0.5})
    with checkpoints.manager(tmp_path, best_by="top1") as manager:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as if there were no more room
        try:
            with pytest.raises(UserError, match="earlier ones stay: make room there") as caught:
                save_and_wait(tmp_path, manager, state(3, width=300), 0.1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in str(caught.value) and "\n" not in str(caught.value)
    assert checkpoints.steps(tmp_path) == [1, 2]
    save(tmp_path, {3: 0.1})
    assert checkpoints.steps(tmp_path) == [1, 2, 3]
