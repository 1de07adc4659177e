import os
import re

import numpy as np
import pytest

from fgjax import config
from fgjax.data import DatasetInfo
from fgjax.errors import UserError
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import workdir

INFO = DatasetInfo(
    name="birds",
    classes=("a tern", "b tern", "c wren"),
    fingerprint="f",
    coarse_classes=("tern", "wren"),
    coarse_of=np.array([0, 0, 1]),
    part_names=("bill",),
)
PREPROCESSING = Preprocessing(image_size=96, mean=(0.1, 0.2, 0.3))


def bind(folder, c):
    with workdir.claimed(folder) as where:
        workdir.bind(where, c, INFO, PREPROCESSING, {"stride_in_1x1": True})
    return where


def test_a_config_comes_back(tmp_path):
    c = config.default()
    c.schedule = (dict(name="head", train={"head": 1.0}, views=("center", "flip")),)
    where = bind(tmp_path / "new" / "run", c)
    back = workdir.read_config(where)
    assert back.train.to_dict() == c.train.to_dict()
    assert back.schedule == c.schedule
    assert back.evaluate.views == ("center",)


def test_another_config_is_refused_with_the_differences(tmp_path):
    c = config.default()
    c.train.epochs = 3.0
    bind(tmp_path, c)
    c.train.epochs = 30.0
    bind(tmp_path, c)  # nothing was trained yet
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    c.train.epochs = 7.0
    c.data.dir = "/elsewhere"  # changes no result
    expected = "holds a run with another config: train.epochs was 30.0 and is 7.0; use that config"
    with pytest.raises(UserError, match=re.escape(expected)):
        bind(tmp_path, c)
    c.train.epochs = 30.0
    bind(tmp_path, c)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written to .*choose another one"):
        bind(tmp_path / "run", config.default())


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run cannot be written to .*choose another one"):
        bind(tmp_path / "run", config.default())


def test_a_folder_without_a_run_and_a_damaged_one(tmp_path):
    with pytest.raises(UserError, match="there is no run in .*train there first"):
        workdir.read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(UserError, match="config.json is damaged"):
        workdir.read_config(tmp_path)


def test_what_restores_a_recognizer_comes_back(tmp_path):
    workdir.write_recognizer(tmp_path, INFO, PREPROCESSING, {"stride_in_1x1": True})
    back, same, options = workdir.read_recognizer(tmp_path)
    np.testing.assert_array_equal(back.coarse_of, INFO.coarse_of)
    assert back.classes == INFO.classes and back.coarse_classes == INFO.coarse_classes
    assert same == PREPROCESSING
    assert options == {"stride_in_1x1": True}
