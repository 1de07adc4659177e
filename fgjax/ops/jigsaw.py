"""Images cut into a grid of pieces and put together in another order."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float, Key


def jigsaw(
    keys: Key[Array, " b"], images: Float[Array, "b h w c"], pieces: int
) -> Float[Array, "b h w c"]:
    """Shuffles the ``pieces`` x ``pieces`` pieces of each image (PMG, Du et al., ECCV 2020).

    Args:
        keys: one for each image.
        images: whose sides are multiples of ``pieces``.
        pieces: along each side.

    Raises:
        ValueError: the image cannot be cut into equal pieces.
    """
    _, height, width, channels = images.shape
    if height % pieces or width % pieces:
        raise ValueError(
            f"an image of {height}x{width} pixels cannot be cut into {pieces}x{pieces} equal "
            f"pieces; choose a size that is a multiple of {pieces}"
        )
    grid = (pieces, height // pieces, pieces, width // pieces, channels)

    def shuffle(key, image):
        tiles = image.reshape(grid).swapaxes(1, 2)
        tiles = jax.random.permutation(key, tiles.reshape(pieces**2, *tiles.shape[2:]))
        return tiles.reshape(pieces, pieces, *tiles.shape[1:]).swapaxes(1, 2)

    return jax.vmap(shuffle)(keys, images).reshape(images.shape)
