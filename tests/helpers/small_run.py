"""A run on a handful of photos with two short phases of the head, the second of which ruins it."""

import numpy as np
from PIL import Image

from configs import own_photos

CLASSES = ("finch", "gull", "wren")


def photos(folder, count, classes=CLASSES, size=(80, 70)):
    """``count`` JPEGs of each class below a folder, told apart by a channel."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
            pixels[..., channel] = 255
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


def config(folder, protocol="develop"):
    c = own_photos.get_config(f"tiny,protocol={protocol}")
    c.data.dir = str(folder)
    c.data.batch_size = 12
    c.train.devices = 3  # which cannot share the 64 images of an evaluation equally
    c.schedule = (
        dict(name="head", share=1, train={"head": 1.0}, views=("center",)),
        dict(
            name="worse",
            share=1,
            train={"head": dict(rate=3.0, decay=1.0)},
            shape="constant",
            views=("center",),
        ),
    )
    c.train.ema = None
    c.train.epochs = 6.0
    c.evaluate.epochs = 1.0
    return c
