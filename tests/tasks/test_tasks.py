"""Tasks by name, and runs that were written before there were any."""

import json

import pytest
import tiny_run

from fgjax import tasks
from fgjax.errors import UserError
from fgjax.run import checks, workdir
from fgjax.tasks.classification import TASK


def test_a_task_of_ones_own_is_found_by_its_module():
    assert tasks.resolve("classification") is TASK
    assert tasks.resolve("fgjax.tasks.classification:TASK") is TASK


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("classifcation", "choose one of classification, or name your own as package.module:NAME"),
        ("no_such_package.tasks:TASK", "cannot be imported"),
        (".tasks:TASK", "cannot be imported"),
        ("fgjax.tasks.classification:TUSK", "cannot be imported"),
        ("fgjax.tasks.classification:outputs", "expected a fgjax.tasks.base.Task"),
    ],
)
def test_a_task_that_is_none_is_named_before_data_are_read(tmp_path, name, sentence):
    config = tiny_run.config(tmp_path)
    config.task = name
    with pytest.raises(UserError, match=f"task is '{name}'.*{sentence}"):
        checks.before_data(config)


def test_a_run_from_before_there_were_tasks_loads_and_resumes(tmp_path):
    config = tiny_run.config(tmp_path)
    record = json.loads(config.to_json())
    del record["task"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "recognizer.json").touch()
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert workdir.read_config(tmp_path).task == "classification"
    workdir.check_config(tmp_path, config)
    config.task = "other:TASK"
    with pytest.raises(UserError, match="task was 'classification' and is 'other:TASK'"):
        workdir.check_config(tmp_path, config)
