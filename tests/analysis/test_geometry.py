import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.analysis import geometry


def convolve(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def network(x):
    """A 3x3 stride 2, a 3x3, a 3x3 max pool stride 2: fields 3, 7, 11 pixels."""
    keys = jax.random.split(jax.random.key(0), 2)
    conv1 = jax.nn.relu(convolve(x, jax.random.normal(keys[0], (3, 3, 3, 4)), 2))
    conv2 = jax.nn.relu(convolve(conv1, jax.random.normal(keys[1], (3, 3, 4, 5)), 1))
    conv3 = jax.lax.reduce_window(conv2, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    everywhere = conv3 * jax.nn.sigmoid(conv3.mean((1, 2), keepdims=True))
    return {"conv1": conv1, "conv2": conv2, "conv3": conv3, "conv4": everywhere}


def test_receptive_field_by_the_formula():
    assert geometry.receptive_fields(network, 32) == {
        "conv1": 3,
        "conv2": 7,
        "conv3": 11,
        "conv4": 32,
    }


def test_receptive_field_by_brute_force_perturbation():
    image = jax.random.uniform(jax.random.key(1), (1, 32, 32, 3))

    def center(x):
        maps = network(x)["conv2"]
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2]

    reached = []
    for column in range(32):
        bumps = jnp.zeros((32, 32, 32, 3)).at[jnp.arange(32), :, column].set(1.0)
        changed = jnp.abs(center(image + 10 * bumps[:1]) - center(image)).max()
        reached.append(bool(changed > 1e-6))
    columns = np.flatnonzero(reached)
    assert columns.max() - columns.min() + 1 == geometry.receptive_fields(network, 32)["conv2"]


def test_sensitivity_of_a_linear_level_is_its_kernel():
    kernel = jax.random.normal(jax.random.key(0), (5, 5, 3, 2))
    images = jax.random.normal(jax.random.key(1), (3, 16, 16, 3))
    result = geometry.sensitivity(lambda x: {"conv1": convolve(x, kernel, 1)}, images, "conv1")
    expected = np.zeros((16, 16))
    expected[6:11, 6:11] = np.abs(np.asarray(kernel).sum(-1)).sum(-1)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_effective_size_of_a_gaussian_is_two_standard_deviations():
    y, x = np.mgrid[-60:61, -60:61]
    sigma = 9.0
    gaussian = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    radius = sigma * np.sqrt(-2 * np.log(geometry.TWO_SIGMA))  # a disc
    assert geometry.effective_size(gaussian) == pytest.approx(np.sqrt(np.pi) * radius, rel=0.01)


@pytest.mark.parametrize(("cycles", "octave"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (7, 3)])
def test_a_grating_falls_into_its_octave(cycles, octave):
    wave = np.cos(2 * np.pi * cycles * np.arange(16) / 16)
    maps = np.broadcast_to(wave[None, None, :, None], (2, 16, 16, 3)).astype(np.float32)
    energy = np.asarray(geometry.octaves(jnp.asarray(maps)))
    assert energy.argmax() == octave
    np.testing.assert_allclose(energy[octave], np.sum(maps**2), rtol=1e-4)
    np.testing.assert_allclose(energy.sum(), np.sum(maps**2), rtol=1e-4)


def test_orientation_selectivity_of_an_edge_and_of_a_blob():
    stimuli = geometry.gratings(32, orientations=8, periods=(4, 8), phases=4)
    assert stimuli.shape == (8, 2, 4, 32, 32, 3)
    window = np.exp(-np.sum((np.mgrid[:32, :32] - 16.0) ** 2, 0) / 72)
    edge = window * np.cos(2 * np.pi * (np.arange(32) - 16) / 8)
    blob = window - window.mean()
    units = np.stack([edge, blob, 0 * blob], -1)
    responses = np.einsum("opfyx,yxc->opfc", stimuli[..., 0] - 0.5, units)
    edge_score, blob_score, silent = geometry.orientation_selectivity(responses)
    assert edge_score > 0.7
    assert blob_score < 0.05
    assert silent == 0


def test_color_selectivity_of_known_units():
    rng = np.random.default_rng(0)
    images = rng.random((50, 1, 1, 3)).astype(np.float32)
    without = np.asarray(geometry.gray(images))
    np.testing.assert_allclose(without[..., 0], without[..., 2])

    def units(x):
        red_less_green = np.maximum(x[..., 0] - x[..., 1], 0)
        luma = x @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.stack([red_less_green, luma], -1).reshape(len(x), 2)

    scores = geometry.color_selectivity(units(images), units(without))
    np.testing.assert_allclose(scores, [1, 0], atol=1e-5)


def test_top_responses_in_batches_are_those_of_all_at_once():
    maps = np.random.default_rng(0).normal(size=(20, 4, 6, 3)).astype(np.float32)
    top = None
    for start in range(0, 20, 6):
        part = jnp.asarray(maps[start : start + 6])
        value, row, column = map(np.asarray, geometry.peaks(part))
        top = geometry.merge_top(top, value, np.arange(start, start + len(part)), row, column, 4)
    greatest = maps.max((1, 2))
    order = np.argsort(-greatest, axis=0)[:4]
    np.testing.assert_array_equal(top.image, order)
    for rank in range(4):
        for unit in range(3):
            index, row, column = (field[rank, unit] for field in (top.image, top.row, top.column))
            assert maps[index, row, column, unit] == top.value[rank, unit]


def test_crop_is_centered_on_the_unit_and_repeats_the_edge():
    image = np.arange(16 * 16 * 3).reshape(16, 16, 3)
    np.testing.assert_array_equal(geometry.crop(image, 2, 1, 4, 4), image[8:12, 4:8])
    corner = geometry.crop(image, 0, 0, 4, 8)
    assert corner.shape == (8, 8, 3)
    np.testing.assert_array_equal(corner[0, 0], image[0, 0])
