import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.ops.resize import (
    resize_average,
    resize_bilinear,
    resize_nearest,
    resize_plane,
    resize_total,
)

SIZES = [
    ((4, 5), (8, 10)),
    ((4, 3), (7, 5)),
    ((13, 4), (49, 7)),
    ((7, 6), (3, 6)),
    ((5, 2), (5, 3)),
]


def image(h, w):
    return np.random.default_rng(h * 31 + w).normal(size=(2, h, w, 3)).astype(np.float32)


@pytest.mark.parametrize(("have", "want"), SIZES)
def test_nearest_takes_floor_of_the_scaled_index(have, want):
    x = image(*have)
    expected = np.empty((2, *want, 3), np.float32)
    for i in range(want[0]):
        for j in range(want[1]):
            expected[:, i, j] = x[:, i * have[0] // want[0], j * have[1] // want[1]]
    np.testing.assert_array_equal(resize_nearest(x, want), expected)


@pytest.mark.parametrize(("have", "want"), SIZES)
def test_average_is_the_mean_of_each_bin(have, want):
    x = image(*have)
    expected = np.empty((2, *want, 3), np.float32)
    for i in range(want[0]):
        rows = slice(i * have[0] // want[0], int(np.ceil((i + 1) * have[0] / want[0])))
        for j in range(want[1]):
            columns = slice(j * have[1] // want[1], int(np.ceil((j + 1) * have[1] / want[1])))
            expected[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    np.testing.assert_allclose(resize_average(x, want), expected, rtol=1e-5, atol=1e-6)


def test_bilinear_interpolates_between_pixel_centers():
    x = np.array([0.0, 1.0, 3.0], np.float32).reshape(1, 3, 1, 1)
    got = resize_bilinear(x, (6, 1))[0, :, 0, 0]
    np.testing.assert_allclose(got, [0, 0.25, 0.75, 1.5, 2.5, 3.0], rtol=1e-6)


@pytest.mark.parametrize("resize", [resize_nearest, resize_bilinear, resize_average])
def test_gradients(resize):
    check_grads(lambda x: resize(x, (7, 3)), (image(4, 5),), order=1, eps=0.5, rtol=1e-3)


def test_doubling_compiles_to_no_gather():
    for size in ((8, 10), (7, 9)):
        text = jax.jit(lambda x, size=size: resize_nearest(x, size)).lower(image(4, 5)).as_text()
        assert "gather" not in text


@pytest.mark.parametrize(("have", "want"), SIZES)
def test_total_divides_every_value_by_area(have, want):
    x = image(*have)[..., 0]
    # On a grid that both divide, every value is spread evenly, then gathered.
    fine = np.repeat(np.repeat(x, want[0], 1), want[1], 2) / (want[0] * want[1])
    expected = fine.reshape(2, want[0], have[0], want[1], have[1]).sum((2, 4))
    np.testing.assert_allclose(resize_total(x, want), expected, rtol=1e-5, atol=1e-6)


def test_a_map_without_channels_keeps_its_peak():
    maps = np.zeros((1, 4, 4))
    maps[0, 1, 2] = 1.0
    large = np.asarray(resize_plane(jax.numpy.asarray(maps), (16, 16)))[0]
    row, column = np.unravel_index(large.argmax(), large.shape)
    # The cell (1, 2) covers the pixels 4 to 7 and 8 to 11.
    assert 4 <= row <= 7
    assert 8 <= column <= 11
    assert large.max() == pytest.approx(0.77, abs=0.1)
