"""What the tests of data share: configs with a temporary cache, and sources made of pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from fgjax import data


@pytest.fixture
def config(tmp_path):
    """``config.data`` with its cache in a folder of this test; call it with what differs."""

    def make(**changes):
        c = data.default_config()
        c.cache_dir = str(tmp_path / "cache")
        c.update(changes)
        return c

    return make


@pytest.fixture
def source_of():
    """Makes a source of images, each given as pixels or as an encoded file."""

    def make(images, labels=None, boxes=None, parts=None, **options):
        files = [image if isinstance(image, bytes) else png(image) for image in images]
        count = len(files)
        labels = np.zeros(count, np.int32) if labels is None else np.asarray(labels, np.int32)
        examples = data.Examples(
            origin="memory",
            names=[f"{i}.png" for i in range(count)],
            labels=labels,
            boxes=np.full((count, 4), np.nan, np.float32) if boxes is None else boxes,
            parts=np.zeros((count, 0, 3), np.float32) if parts is None else parts,
            read=files.__getitem__,
        )
        classes = tuple(map(str, range(labels.max() + 1)))
        return data.Source(examples, data.DatasetInfo("pixels", classes, "0"), **options)

    return make


def png(pixels):
    """Pixels as a PNG file, which loses nothing."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
