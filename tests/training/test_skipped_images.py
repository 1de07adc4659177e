"""Images that cannot be read, and disks that are full, where features of a trunk are stored."""

import errno
import io
import itertools
import os

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fgjax.data import info, pipeline
from fgjax.data.source import Source
from fgjax.errors import UserError
from fgjax.training import feature_cache, inputs

COUNT, BROKEN = 8, (3, 6)


def _encoded(i):
    if i in BROKEN:
        return b"broken"
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (20 * i + 10,) * 3).save(file, "PNG")
    return file.getvalue()


def _source():
    names = [f"{i}.png" for i in range(COUNT)]
    examples = info.without_annotations("here", names, [i % 2 for i in range(COUNT)], _encoded)
    return Source(examples, info.DatasetInfo("x", ("a", "b"), "0"), skip_broken=True)


def _trunk(variables, batch):
    return {"conv5": jnp.asarray(batch["image"], jnp.float32).mean((1, 2), keepdims=True)}


DRAWN = {"sampling": "uniform", "annotations": ("label",)}


def _drawn(folder, start=0):
    """What a process trains on: the pixels and labels of three batches, from stored features."""
    source = _source()
    stored = feature_cache.fill(
        _trunk,
        None,
        lambda: pipeline.eval_batches(
            source, image_size=32, crop_fraction=1.0, batch_size=5, workers=1
        ),
        COUNT,
        1,
        folder,
    )
    batches = inputs.cached_batches(
        stored, source, start, views=1, seed=0, batch_size=COUNT, **DRAWN
    )
    return [
        (batch["features"]["conv5"][:, 0, 0, 0], batch["label"])
        for batch in itertools.islice(batches, 3)
    ]


def test_images_that_were_skipped_stay_skipped_after_a_restart(tmp_path):
    options = dict(canvas=32, batch_size=COUNT, workers=1, **DRAWN)
    images = inputs.viewed_batches(_source(), 0, views=1, seed=0, **options)
    uncached = [(b["image"].mean((1, 2, 3)), b["label"]) for b in itertools.islice(images, 3)]
    runs = [_drawn(folder) for folder in (None, tmp_path / "features" / "key")]
    runs.append(_drawn(tmp_path / "features" / "key"))  # a process later
    for run in runs:
        np.testing.assert_array_equal(run, uncached)
    later = _drawn(tmp_path / "features" / "key", start=1)
    np.testing.assert_array_equal(later[:2], uncached[1:])


def test_features_whose_readable_rows_are_not_known_are_stored_anew(tmp_path):
    first = _drawn(tmp_path / "features" / "key")
    (tmp_path / "features" / "key" / "complete").write_bytes(b"")  # as it once was
    np.testing.assert_array_equal(_drawn(tmp_path / "features" / "key"), first)


def test_stored_features_without_one_readable_image_are_refused():
    with pytest.raises(UserError, match="none of the 3 images can be read; check data.dir"):
        inputs._next_readable(np.zeros(3, bool))


def test_a_disk_without_room_for_the_features_is_named_before_anything_is_mapped(
    tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    folder = tmp_path / "features" / "key"
    with pytest.raises(UserError) as raised:
        _drawn(folder)
    said = str(raised.value)
    assert str(folder.parent) in said
    assert f"{COUNT * 3 * 4} bytes" in said  # three channels of float32 an example
    assert "train.feature_cache to memory or none" in said
    assert not folder.exists()


def test_the_room_on_disk_is_taken_before_the_features_come(tmp_path):
    _drawn(tmp_path / "key")
    (path,) = (tmp_path / "key").glob("*.npy")
    assert path.stat().st_blocks * 512 >= COUNT * 3 * 4
    assert np.load(path).shape == (COUNT, 1, 1, 1, 3)
