"""How images must be presented to a network: what travels with pretrained weights."""

from typing import NamedTuple


class Preprocessing(NamedTuple):
    """Published input convention of a set of weights.

    Attributes:
        mean: per-channel mean (RGB), in units of pixel / 255.
        std: per-channel standard deviation, in the same units; input = (pixel / 255 - mean) / std.
        image_size: side of the square input, in pixels, at which the weights were published.
        crop_fraction: share of the resized short side that the centre crop keeps at test time.
        interpolation: "bilinear" or "bicubic", used when resizing on the host.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
