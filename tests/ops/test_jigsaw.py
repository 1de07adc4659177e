import jax
import numpy as np
import pytest

from fgjax.ops.jigsaw import jigsaw


def numbered(pieces, size=8):
    """Each pixel holds the number of its piece, and its place within the piece."""
    rows, columns = np.indices((size, size))
    side = size // pieces
    piece = rows // side * pieces + columns // side
    place = rows % side * side + columns % side
    return np.stack([piece, place], axis=-1).astype(np.float32)


@pytest.mark.parametrize("pieces", [1, 2, 4, 8])
def test_pieces_change_places_and_stay_whole(pieces):
    image = numbered(pieces)
    images = np.stack([image] * 3)
    shuffled = np.asarray(jigsaw(jax.random.split(jax.random.key(0), 3), images, pieces))
    side = 8 // pieces
    for got in shuffled:
        tiles = got.reshape(pieces, side, pieces, side, 2).swapaxes(1, 2).reshape(-1, side, side, 2)
        assert sorted(tile[0, 0, 0] for tile in tiles) == list(range(pieces**2))
        for tile in tiles:
            assert len(np.unique(tile[..., 0])) == 1
            np.testing.assert_array_equal(tile[..., 1], image[:side, :side, 1])
    if pieces >= 4:
        assert not np.array_equal(shuffled[0], shuffled[1])


def test_unequal_pieces_are_refused_by_a_sentence():
    with pytest.raises(ValueError, match="8x8 pixels cannot be cut into 3x3 equal pieces"):
        jigsaw(jax.random.split(jax.random.key(0), 1), numbered(2)[None], 3)
