"""Any pooling trains in the place of another: the schedule stays as it is."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from configs import own_photos
from fgjax.config import tiny
from fgjax.data import birds
from fgjax.models.pooling import POOLINGS, create
from fgjax.run import experiment, train

# One species of each family, each in a light of its own, so that a random trunk tells them apart.
KINDS = [next(s.name for s in birds.SPECIES if s.family == family) for family in birds.FAMILIES]
LIGHTS = np.array([[1, 0.3, 0.3], [0.3, 1, 0.3], [0.3, 0.3, 1], [1, 1, 0.3]])
LAST, LONGER = ("conv2/block1_0/project/bn/scale", "conv2/block1_1/project/bn/scale"), 20.0
COUNTS = {"train": 16, "val": 24}
# Those whose length may be any, and one of those that end in a vector of length one, as
# tests/models/test_unit_length.py shows of each: to the head they are the same.
DIFFERENT = (*(name for name in POOLINGS if not create(name).unit_length), "compact_bilinear")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for split, count in COUNTS.items():
        for kind, light in zip(KINDS, LIGHTS, strict=True):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                scene = birds.render(kind, (split == "val", number), 64, 0.0)
                image = Image.fromarray((scene.image * light).astype(np.uint8))
                image.save(folder / split / kind / f"{number}.png")
    return folder


@pytest.fixture
def long_features(monkeypatch):
    """A trunk whose last features are as long as those of a pretrained one."""
    plain = experiment.Model.initialize

    def initialize(model, seed):
        variables = plain(model, seed)

        def longer(path, leaf):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return LONGER * leaf if name in LAST else leaf

        params = jax.tree_util.tree_map_with_path(longer, variables["params"])
        return variables | {"params": params}

    monkeypatch.setattr(experiment.Model, "initialize", initialize)


def config(photos, pooling):
    c = tiny(own_photos.get_config(), last="conv2")
    c.data.dir = str(photos)
    c.model.pooling = {"name": pooling, "levels": ("conv2",)}
    if pooling == "bilinear_attention":
        c.model.attention = {"name": pooling, "levels": ("conv2",), "maps": 4}
    c.train.epochs = c.train.checkpoint_epochs = c.evaluate.epochs = 16.0
    c.train.ema = None
    c.train.augment = dict(flip=0.5)
    return c


@pytest.mark.usefixtures("long_features")
@pytest.mark.parametrize("pooling", DIFFERENT)
def test_any_pooling_trains_with_the_schedule_of_another(pooling, photos, tmp_path, capsys):
    train.train(config(photos, pooling), str(tmp_path))
    phases = json.loads((tmp_path / "results.json").read_text())["phases"]
    head, end = (phases[name]["validation"]["top1"] for name in ("head", "tune"))
    said = capsys.readouterr().out
    # A random trunk may lose a few photos when it is tuned; a head too fast for its features loses
    # most of them.
    assert end >= head - 0.1
    assert end > 2 / len(KINDS)
    assert "grown" not in said
