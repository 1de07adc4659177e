import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from fgjax.errors import UserError
from fgjax.evaluation import results
from fgjax.run import feeds, train
from fgjax.training import feature_cache, inputs


class Trunk:
    """The image's mean plus the view's number, and how often it was asked."""

    def __init__(self, dtype=jnp.float32):
        self.calls, self.dtype = 0, dtype

    def __call__(self, variables, batch):
        self.calls += 1
        maps = batch["image"].mean((1, 2)) + batch["view"][:, None] + variables
        return {"conv2": jnp.asarray(maps, self.dtype)}


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)


def _batches():
    """Five images in batches of two, the last row padded."""
    for start in (0, 2, 4):
        index = np.minimum(np.arange(start, start + 2), 4)
        yield {"image": IMAGES[index], "index": index, "mask": np.float32([1, start < 4])}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_memory_disk_and_disk_again_hold_the_same_bits(dtype, tmp_path):
    memory = feature_cache.fill(Trunk(dtype), 0.5, _batches, 5, 2)
    written = feature_cache.fill(Trunk(dtype), 0.5, _batches, 5, 2, tmp_path / "key")
    unused = Trunk(dtype)
    read = feature_cache.fill(unused, 0.5, _batches, 5, 2, tmp_path / "key")
    assert unused.calls == 0
    index, view = np.array([4, 0, 3]), np.array([1, 0, 1])
    expected = jnp.asarray(IMAGES[index].mean((1, 2)) + view[:, None] + 0.5, dtype)
    for stored in (memory, written, read):
        found = feature_cache.gather(stored.maps, index, view)["conv2"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_what_changed_or_was_cut_off_is_filled_anew(tmp_path):
    feature_cache.fill(Trunk(), 0.0, _batches, 5, 1, tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "conv2-float32.npy").touch()  # killed before it was complete
    stored = feature_cache.fill(Trunk(), 1.0, _batches, 5, 1, tmp_path / "new")
    np.testing.assert_allclose(stored.maps["conv2"][:, 0], IMAGES.mean((1, 2)) + 1.0, rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_views_are_a_function_of_seed_and_step():
    first, again = (feature_cache.choose_views(3, 7, 64, 2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert set(first) == {0, 1}
    assert (first != feature_cache.choose_views(3, 8, 64, 2)).any()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def _config(cache, feature_cache, **changes):
    c = tiny_run.config(cache, "develop", epochs=4.0)
    c.train.feature_cache = feature_cache
    # Two phases, so that the cache of the second starts in the middle of the backbone.
    c.schedule = tuple({**phase, "views": ("center", "flip"), "share": 1} for phase in c.schedule)
    c.update(changes)
    return c


@pytest.fixture(scope="module")
def uncached(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uncached")
    train.train(_config(cache, "none"), str(folder))
    return results.read(folder)["params_digest"]


@pytest.mark.parametrize("choice", ["memory", "disk"])
def test_with_and_without_the_cache_a_run_ends_at_the_same_bits(choice, cache, uncached, tmp_path):
    train.train(_config(cache, choice), str(tmp_path))
    assert results.read(tmp_path)["params_digest"] == uncached
    # On disk only the last phase's features are left.
    kept = [path.name for path in tmp_path.glob("features/*/*.npy")]
    assert kept == ({"memory": [], "disk": ["conv2-float32.npy"]}[choice])


def test_auto_maps_to_disk_what_does_not_fit(cache, uncached, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "MEMORY_GIB", 0.0)
    train.train(_config(cache, "auto"), str(tmp_path))
    assert list(tmp_path.glob("features/*/complete"))
    assert results.read(tmp_path)["params_digest"] == uncached


def test_the_key_tells_apart_what_changes_the_features():
    parts = ("digest", "data", ("center",), ("conv2",), "float32")
    keys = {feature_cache.key(*parts[:i], "other", *parts[i + 1 :]) for i in range(5)}
    assert len(keys | {feature_cache.key(*parts)}) == 6


def test_an_unknown_choice_is_named(cache, tmp_path):
    with pytest.raises(UserError, match="'ram'; expected one of auto, memory, disk, none"):
        train.train(_config(cache, "ram"), str(tmp_path))


def test_broken_examples_stand_in_for_their_successors():
    readable = np.array([True, False, True, False])
    np.testing.assert_array_equal(inputs._next_readable(readable), [0, 2, 2, 0])
