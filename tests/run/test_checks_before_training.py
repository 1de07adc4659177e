"""What scoring needs is looked at before the first step, not when hours have gone by."""

import jax
import numpy as np
import pytest
import small_run

from fgjax.errors import UserError
from fgjax.run import experiment, scoring, train
from fgjax.tasks.classification import TASK
from fgjax.training import parallel


@pytest.fixture
def attempt(monkeypatch, tmp_path):
    """Trains as far as the first step, which is not reached."""

    def forbidden(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(train, "_run", forbidden)
    return lambda config: train.train(config, str(tmp_path / "run"))


def test_final_without_a_test_split(attempt, tmp_path):
    small_run.photos(tmp_path / "data" / "train", 2)
    config = small_run.config(tmp_path / "data", "final")
    with pytest.raises(UserError, match="'final' is scored on a test split, and .*data has none"):
        attempt(config)


def test_develop_with_one_photo_a_class(attempt, tmp_path):
    config = small_run.config(small_run.photos(tmp_path / "data" / "train", 1).parent)
    with pytest.raises(UserError, match=r"leaves no image for it .*validation_share is 0\.2"):
        attempt(config)


def test_a_view_that_is_larger_than_the_canvas(attempt, tmp_path):
    config = small_run.config(small_run.photos(tmp_path / "data", 5))
    config.data.crop_fraction = 1.0
    config.evaluate.views = ("center", "center@0.9")
    with pytest.raises(UserError, match=r"too small for the view 'center@0\.9'"):
        attempt(config)


def test_views_that_follow_attention_need_a_network_that_pays_it(tmp_path):
    model = experiment.build_model(small_run.config(tmp_path), 3)
    variables = jax.eval_shape(lambda: model.initialize(0))
    scoring.check(TASK, model, ("center", "flip@1.25"), variables)
    with pytest.raises(UserError, match="makes no attention maps"):
        scoring.check(TASK, model, ("center", "attention"), variables)


def test_any_number_of_devices_shares_any_number_of_images():
    mesh = parallel.make_mesh(3)
    images = np.arange(4 * 2, dtype=np.uint8).reshape(4, 2)
    assert parallel.filled(images, mesh).tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [6, 7],
        [6, 7],
    ]
    assert len(parallel.filled(images[:3], mesh)) == 3


def test_more_devices_than_there_are():
    count = jax.device_count()
    with pytest.raises(UserError, match=f"train.devices is 64, but this machine has {count}"):
        parallel.make_mesh(64)
    assert parallel.make_mesh(64, at_most=True).size == count
    assert parallel.make_mesh(2, at_most=True).size == 2
    assert parallel.make_mesh(None, at_most=True).size == count
