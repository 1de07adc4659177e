import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.ops.attention_crop import attention_boxes, choose_maps, crop_and_resize, drop_masks

SIZE = (21, 30)
THRESHOLDS = np.array([0.3, 0.5, 0.7, 0.95, 0.5], np.float32)


def maps():
    rng = np.random.default_rng(0)
    blobs = rng.uniform(size=(5, 4, 5)).astype(np.float32) ** 4
    blobs[4] = 0
    return blobs


def naive_upsample(image, size):
    """Bilinear between pixel centers, clamped at the border, pixel by pixel."""
    out = np.empty(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = (i + 0.5) * image.shape[0] / size[0] - 0.5
            x = (j + 0.5) * image.shape[1] / size[1] - 0.5
            out[i, j] = bilinear(image, y, x)
    return out


def bilinear(image, y, x):
    h, w = image.shape[:2]
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    dy, dx = y - top, x - left
    upper = image[top, left] * (1 - dx) + image[top, right] * dx
    lower = image[bottom, left] * (1 - dx) + image[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_boxes_against_a_loop_over_images(margin):
    boxes = attention_boxes(maps(), THRESHOLDS, SIZE, margin)
    for image, threshold, box in zip(maps(), THRESHOLDS, boxes, strict=True):
        level = naive_upsample(image, SIZE)
        rows, columns = np.nonzero(level >= threshold * level.max())
        expected = [
            max(rows.min() - margin * SIZE[0], 0),
            max(columns.min() - margin * SIZE[1], 0),
            min(rows.max() + 1 + margin * SIZE[0], SIZE[0]),
            min(columns.max() + 1 + margin * SIZE[1], SIZE[1]),
        ]
        np.testing.assert_allclose(box, expected, rtol=1e-6)
    np.testing.assert_array_equal(boxes[4], [0, 0, *SIZE])


def test_drop_masks_against_a_loop_over_images():
    masks = drop_masks(maps(), THRESHOLDS, SIZE)
    assert masks.shape == (5, *SIZE, 1)
    for image, threshold, mask in zip(maps()[:4], THRESHOLDS, masks, strict=False):
        level = naive_upsample(image, SIZE)
        np.testing.assert_array_equal(mask[..., 0], level < threshold * level.max())
    assert masks[4].all()


def test_crops_against_a_loop_over_images():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(3, 12, 10, 2)).astype(np.float32)
    boxes = np.array([[0, 0, 12, 10], [2.5, 1.25, 9, 8], [5, 0, 12, 3.5]], np.float32)
    crops = crop_and_resize(images, boxes, (14, 11))
    for image, (ymin, xmin, ymax, xmax), crop in zip(images, boxes, crops, strict=True):
        for i in range(14):
            for j in range(11):
                y = ymin + (i + 0.5) * (ymax - ymin) / 14 - 0.5
                x = xmin + (j + 0.5) * (xmax - xmin) / 11 - 0.5
                np.testing.assert_allclose(crop[i, j], bilinear(image, y, x), rtol=1e-4, atol=1e-4)


def test_the_whole_image_at_its_own_size_is_itself():
    image = np.random.default_rng(2).normal(size=(1, 9, 7, 3)).astype(np.float32)
    got = crop_and_resize(image, np.array([[0, 0, 9, 7]], np.float32), (9, 7))
    np.testing.assert_allclose(got, image, rtol=1e-5, atol=1e-6)


def test_cropping_is_differentiable_in_the_image_and_boxes_are_constants():
    images = jnp.asarray(np.random.default_rng(3).normal(size=(2, 6, 6, 1)), jnp.float32)

    def loss(maps, images):
        boxes = attention_boxes(maps, jnp.array([0.5, 0.5]), (6, 6))
        masks = drop_masks(maps, jnp.array([0.5, 0.5]), (6, 6))
        return jnp.sum(crop_and_resize(images * masks, boxes, (6, 6)) ** 2)

    dmaps, dimages = jax.grad(loss, argnums=(0, 1))(jnp.asarray(maps()[:2]), images)
    np.testing.assert_array_equal(dmaps, 0)
    assert np.isfinite(dimages).all()
    assert np.abs(dimages).max() > 0


def test_maps_are_drawn_as_the_roots_of_their_sums():
    weights = np.array([0.0, 1.0, 4.0, 9.0], np.float32)
    maps = np.broadcast_to(weights, (6000, 2, 3, 4))
    keys = jax.random.split(jax.random.key(0), 6000)
    drawn = np.asarray(choose_maps(keys, maps, 2))
    assert drawn.shape == (6000, 2, 3, 2)
    share = [(drawn == w).mean() for w in weights]
    np.testing.assert_allclose(share, [0, 1 / 6, 2 / 6, 3 / 6], atol=0.02)
    assert np.mean(drawn[..., 0] != drawn[..., 1]) > 0.4


def test_a_draw_depends_on_the_image_and_its_key_only():
    rng = np.random.default_rng(4)
    maps = rng.uniform(size=(6, 3, 3, 8)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 6)
    whole = choose_maps(keys, maps, 2)
    np.testing.assert_array_equal(whole[2:4], choose_maps(keys[2:4], maps[2:4], 2))
