"""Ctrl-C: one line, nothing lost, and the same command goes on."""

import json
import os
import signal
import sys
import time

import pytest
import tiny_run

from fgjax import main
from fgjax.errors import Interrupted
from fgjax.run import analyze, evaluate, interrupts, predict, train
from fgjax.show import console
from fgjax.training import checkpoints


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def digest(where):
    return json.loads((where / "results.json").read_text())["params_digest"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    where = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train.train(tiny_run.config(cache), str(where))
    return digest(where)


def signalled_at(monkeypatch, step, number):
    """The signal comes when the progress bar hears of a step, one step later than it was taken."""
    update = console.TrainingProgress.update

    def and_signal(self, at, *values):
        update(self, at, *values)
        if at == step:
            signal.raise_signal(number)

    monkeypatch.setattr(console.TrainingProgress, "update", and_signal)


@pytest.mark.parametrize(
    ("step", "number"),
    [(5, signal.SIGINT), (7, signal.SIGTERM)],
    ids=["between two regular checkpoints", "at a regular checkpoint"],
)
def test_a_stopped_run_goes_on_to_the_same_parameters(
    uninterrupted, cache, tmp_path, monkeypatch, step, number
):
    handlers = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with monkeypatch.context() as patched:
        signalled_at(patched, step, number)
        expected = f"stopped after step {step + 1}; the same command goes on from it"
        with pytest.raises(Interrupted, match=expected):
            train.train(tiny_run.config(cache), str(tmp_path))
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == handlers
    assert checkpoints.steps(tmp_path)[-1] == step + 1
    assert not (tmp_path / "run.lock").exists()
    train.train(tiny_run.config(cache), str(tmp_path))
    assert digest(tmp_path) == uninterrupted


def test_before_the_first_step_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        signal.raise_signal(signal.SIGINT)


def signalled(*numbers):
    """A loop that asks once and then hears so many signals."""
    with interrupts.deferred() as stop:
        assert not stop()
        for number in numbers:
            signal.raise_signal(number)
            assert stop()


def test_a_second_ctrl_c_does_not_wait_for_the_step():
    with pytest.raises(KeyboardInterrupt) as caught:
        signalled(signal.SIGINT, signal.SIGTERM)
    assert not isinstance(caught.value, Interrupted)


def test_ctrl_c_after_the_last_step_is_not_forgotten():
    with pytest.raises(Interrupted, match="is saved; the same command"):
        signalled(signal.SIGINT)


@pytest.mark.parametrize(
    "function",
    [train.train, evaluate.evaluate, predict.predict_to_files, analyze.analyze_runs],
    ids=lambda function: function.__name__,
)
def test_ctrl_c_in_any_mode_is_one_line_and_status_130(monkeypatch, capsys, function):
    def interrupted(*_):
        signal.raise_signal(signal.SIGTERM)

    def leave(status):
        raise SystemExit(status)

    mode = function.__module__.rpartition(".")[2]
    monkeypatch.setattr(f"fgjax.run.{mode}.{function.__name__}", interrupted)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    flags = ["--config=configs/quickstart.py"] if mode == "train" else []
    monkeypatch.setattr(sys, "argv", ["fgjax", f"--mode={mode}", "--workdir=x", *flags])
    with pytest.raises(SystemExit) as caught:
        main.run()
    assert caught.value.code == 130
    assert capsys.readouterr().err.strip().splitlines() == [f"fgjax: {main.INTERRUPTED}"]


def test_a_process_that_is_interrupted_while_it_trains_says_so_in_one_line(cache, tmp_path):
    flags = tiny_run.quickstart_flags(cache, tmp_path, "--config.train.epochs=400")
    process = tiny_run.command(*flags)
    while process.poll() is None and not checkpoints.steps(tmp_path):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130, said
    last = said.strip().splitlines()[-1]
    step = checkpoints.steps(tmp_path)[-1]
    assert last == f"fgjax: stopped after step {step}; the same command goes on from it"
    assert "Traceback" not in said and "Error" not in said
    assert not (tmp_path / "run.lock").exists()
