import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from fgjax.errors import UserError
from fgjax.evaluation import views


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(256, size=(2, 12, 12, 3), dtype=np.uint8)


def apply(images):
    """Depends on where things are: three weighted sums over the pixels."""
    x = images.astype(jnp.float32).reshape(len(images), -1) / 255
    weights = np.random.default_rng(1).normal(size=(x.shape[1], 3)).astype(np.float32)
    return x @ weights


def ten_crops(images, size):
    end = images.shape[1] - size
    places = [(end // 2, end // 2), (0, 0), (0, end), (end, 0), (end, end)]
    crops = [images[:, y : y + size, x : x + size] for y, x in places]
    return crops + [crop[:, :, ::-1] for crop in crops]


def test_ten_crop_is_the_mean_over_ten_crops(images):
    network = views.averaged(apply, views.resolve("ten_crop"), 8)
    logits = np.stack([apply(crop) for crop in ten_crops(images, 8)]).astype(np.float64)
    expected = np.log(softmax(logits, -1).mean(0))
    chex.assert_trees_all_close(jax.jit(network)(images), expected, atol=1e-5)


def test_single_view_keeps_the_prediction(images):
    network = views.averaged(apply, views.resolve("single"), 12)
    expected = log_softmax(np.asarray(apply(images), np.float64), axis=-1)
    chex.assert_trees_all_close(network(images), expected, atol=1e-5)


def test_mirrored_opinion_does_not_change_when_the_photo_is_mirrored(images):
    network = views.averaged(apply, views.resolve("mirrored"), 12)
    chex.assert_trees_all_close(network(images), network(images[:, :, ::-1]), rtol=1e-5)
    assert not np.allclose(apply(images), apply(images[:, :, ::-1]), rtol=1e-2)


def test_scale_magnifies_the_middle():
    rows = np.arange(12.0)[None, :, None, None]
    gradient = np.broadcast_to(rows, (1, 12, 12, 3))
    magnified = views.cut(jnp.asarray(gradient), "center@2", 8)
    # A window of 4 pixels (rows 4 to 7), enlarged by 2: steps of half a pixel between centers.
    expected = np.clip(np.arange(8) / 2 + 3.75, 4, 7)
    np.testing.assert_allclose(magnified[0, :, 3, 0], expected, atol=1e-6)
    assert views.cut(jnp.asarray(gradient), "flip@0.75", 9).shape == (1, 9, 9, 3)


@pytest.mark.parametrize(("view", "step"), [("attention@0.5", 1), ("attention_flip@0.5", -1)])
def test_attention_is_cut_out_and_enlarged(view, step):
    """A bright quarter, on a map of a quarter of the image's size."""
    images = np.random.default_rng(2).uniform(0, 255, (2, 48, 40, 3)).astype(np.float32)
    images = np.pad(images, ((0, 0), (0, 0), (4, 4), (0, 0)))

    def attend(seen):
        assert seen.shape == (2, 40, 40, 3)
        maps = np.zeros((2, 10, 10, 2), np.float32)
        maps[0, 2:4, 6:9] = (1, 3)
        return jnp.asarray(maps)

    found = np.asarray(views.attended(jnp.asarray(images), view, 40, attend))
    # Half of the maximum is reached between the last bright pixel's center and the next one's, and
    # a tenth of the image, 4 pixels, is added on every side.
    seen = images[0, 4:44, 4:44][:, ::step]
    box = seen[8 - 4 : 16 + 4, 24 - 4 : 36 + 4]
    expected = jax.image.resize(box, (40, 40, 3), "linear")
    inner = slice(2, -2)  # the border of the crop is mixed with what lies beyond it
    np.testing.assert_allclose(found[0, inner, inner], expected[inner, inner], atol=1e-2)
    whole = images[1, 4:44, 4:44][:, ::step]  # attention to nothing leaves the image as it is
    np.testing.assert_allclose(found[1], whole, atol=1e-2)


def test_opinions_of_the_image_and_of_what_it_attends_to_are_averaged(images):
    def attend(seen):
        return jnp.abs(seen[..., :2] - 128.0)

    network = views.averaged(apply, views.resolve("attention_crop"), 12, attend)
    closer = views.attended(jnp.asarray(images), "attention", 12, attend)
    expected = np.log((softmax(apply(images), -1) + softmax(apply(closer), -1)) / 2)
    np.testing.assert_allclose(network(jnp.asarray(images)), expected, rtol=1e-4, atol=1e-5)


def test_a_declared_tuple_stays_as_it_is():
    assert views.resolve(["center", "flip@1.25"]) == ("center", "flip@1.25")


def test_faults_are_named(images):
    with pytest.raises(UserError, match="unknown set of views 'six_crop'; choose from single"):
        views.resolve("six_crop")
    with pytest.raises(UserError, match="unknown view 'middle'; choose from center"):
        views.resolve(("center", "middle"))
    for scale in ("big", "0", "nan", "-1"):
        with pytest.raises(UserError, match=f"scale of the view 'flip@{scale}' must be a number"):
            views.resolve((f"flip@{scale}",))
    with pytest.raises(UserError, match="threshold of the view 'attention@1' must be a number"):
        views.resolve(("attention@1",))
    with pytest.raises(UserError, match="'attention' follows attention; it can stand in evaluate"):
        views.cut(images, "attention", 8)
    with pytest.raises(UserError, match="is empty"):
        views.resolve(())
    for view, size in (("top_left", 12), ("center", 13), ("center@0.5", 8)):
        with pytest.raises(UserError, match=f"too small for the view '{view}' at {size} pixels"):
            views.cut(images, view, size)
