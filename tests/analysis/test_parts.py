import jax.numpy as jnp
import numpy as np

from fgjax.analysis import parts


def test_map_locations_are_the_centers_of_their_cells():
    pixels = parts.to_pixels(np.array([0, 3]), np.array([1, 0]), 4, 16)
    np.testing.assert_allclose(pixels, [[2, 6], [14, 2]])


def test_pointing_game_and_pck_on_hand_made_points():
    predicted = np.array([[[0, 0], [10, 10]], [[4, 3], [10, 19]], [[0, 0], [0, 0]]], float)
    targets = np.array([[[0, 6], [10, 10]], [[0, 0], [10, 10]], [[9, 9], [3, 0]]], float)
    visible = np.array([[1, 1], [1, 1], [0, 1]], bool)
    boxes = np.array([[0, 0, 50, 20], [0, 0, 20, 50], [0, 0, 20, 20]], float)
    np.testing.assert_array_equal(
        parts.hits(predicted, targets, 5.0), [[False, True], [True, False], [False, True]]
    )
    # Radii 5, 5 and 2: the first part is right once of two, the second once of three.
    np.testing.assert_allclose(parts.pck(predicted, targets, visible, boxes), [1 / 2, 1 / 3])
    nowhere = parts.pck(predicted, targets, np.zeros_like(visible), boxes)
    assert np.isnan(nowhere).all()
    np.testing.assert_array_equal(
        parts.hits_box(np.array([[5.0, 5], [5, 30]]), np.array([[0.0, 0, 10, 10]] * 2)),
        [True, False],
    )


def test_chance_is_the_share_of_the_box():
    boxes, targets = np.array([[0.0, 0, 100, 100]]), np.array([[[50.0, 50], [0, 0]]])
    disc = np.pi * 20**2 / 100**2
    np.testing.assert_allclose(parts.chance(targets, boxes, 20), [[disc, disc / 4]], rtol=0.1)


def test_unit_hits_count_visible_parts_only():
    points = np.array([[[1, 1], [9, 9]], [[1, 2], [5, 5]]], float)
    targets = np.array([[[1, 1], [9, 8]], [[1, 1], [5, 5]]], float)
    visible = np.array([[True, True], [True, False]])
    counted = parts.unit_hits(points, targets, visible, 1.5)
    np.testing.assert_array_equal(counted, [[2, 0], [0, 1]])


def test_features_at_points():
    maps = jnp.arange(2 * 4 * 4).reshape(2, 4, 4, 1)
    points = jnp.array([[[0.0, 0], [15, 9]], [[3.4, 4.0], [99, -5]]])
    np.testing.assert_array_equal(parts.at_points(maps, points, 16)[..., 0], [[0, 14], [17, 28]])


def test_occlusion_hides_the_disc_and_nothing_else():
    images = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3)), jnp.float32)
    hidden = parts.occlude(images, jnp.array([[8.0, 8.0], [20.0, 12.0]]), 6.0)
    np.testing.assert_allclose(hidden[0, 8, 8], images[0].mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(hidden[0, 20:], images[0, 20:])
    np.testing.assert_allclose(hidden[1, 20, 12], images[1].mean((0, 1)), rtol=1e-5)


def test_a_disc_covers_the_cells_whose_centers_it_holds():
    assert parts.disc_masks(np.array([4.5, 4.5]), 9, 1.0).sum() == 5
