import json

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from fgjax.errors import UserError
from fgjax.training import logs
from fgjax.training.logs import MetricLogger


def log_steps(workdir, steps, start=0):
    with MetricLogger(workdir, start) as logger:
        for step in steps:
            logger.write(step, {"phase": "head", "train/loss": jnp.float32(1 / step)})


def events(workdir):
    (file,) = (workdir / "tensorboard").iterdir()
    return [event for event in LegacyEventFileLoader(str(file)).Load() if event.HasField("summary")]


def scalars(workdir):
    return [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in events(workdir)]


def test_both_files_hold_every_step(tmp_path):
    log_steps(tmp_path / "run", [1, 2])
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["step", "time", "phase", "train/loss"]] * 2
    assert [(r["step"], r["phase"], r["train/loss"]) for r in rows] == [
        (1, "head", 1.0),
        (2, "head", 0.5),
    ]
    assert rows == logs.read(tmp_path / "run")
    assert scalars(tmp_path / "run") == [(1, {"train/loss": 1.0}), (2, {"train/loss": 0.5})]
    assert [e.wall_time for e in events(tmp_path / "run")] == [row["time"] for row in rows]


def test_lines_are_on_disk_at_once(tmp_path):
    with MetricLogger(tmp_path) as logger:
        logger.write(1, {"loss": 2})
        assert [row["loss"] for row in logs.read(tmp_path)] == [2.0]


def test_resumed_run_logs_each_step_once(tmp_path):
    log_steps(tmp_path, [1, 2, 3, 4, 5])
    before = logs.read(tmp_path)
    log_steps(tmp_path, [4, 5, 6], start=3)
    after = logs.read(tmp_path)
    assert [row["step"] for row in after] == [1, 2, 3, 4, 5, 6]
    assert after[:3] == before[:3]
    assert [step for step, _ in scalars(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_new_run_in_an_old_folder_starts_afresh(tmp_path):
    log_steps(tmp_path, [1, 2, 3])
    log_steps(tmp_path, [1])
    assert [row["step"] for row in logs.read(tmp_path)] == [1]


def test_line_that_a_kill_cut_short_is_dropped(tmp_path):
    log_steps(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert [row["step"] for row in logs.read(tmp_path)] == [1]
    log_steps(tmp_path, [2], start=1)
    assert [row["step"] for row in logs.read(tmp_path)] == [1, 2]


def test_diverged_loss_is_null_in_json_and_nan_in_tensorboard(tmp_path):
    with MetricLogger(tmp_path) as logger:
        logger.write(1, {"loss": np.float32("nan"), "accuracy": 0.5})
    log_steps(tmp_path, [], start=1)
    assert '"loss": null' in (tmp_path / "metrics.jsonl").read_text()
    ((step, values),) = scalars(tmp_path)
    assert step == 1
    assert np.isnan(values["loss"])
    assert values["accuracy"] == 0.5


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no metrics\.jsonl in"):
        logs.read(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("hello\n")
    with pytest.raises(UserError, match="is not a metrics log"):
        MetricLogger(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write logs to"):
        MetricLogger(tmp_path / "file")
