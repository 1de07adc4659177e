"""The drawn birds: their table, their truthfulness, and that colour does not give them away."""

import dataclasses
import hashlib
import inspect
import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fgjax.data import birds
from fgjax.errors import UserError

PAIRS = sorted(birds.separating_parts())
POSE = birds.Pose(pitch=4.0, nod=3.0, turn=10.0, x=0.5, y=0.45)


def members(family):
    return [species.name for species in birds.SPECIES if species.family == family]


def test_four_families_of_four_species_that_differ_in_few_parts():
    assert [len(members(family)) for family in birds.FAMILIES] == [4, 4, 4, 4]
    table = birds.separating_parts()
    assert len(table) == 4 * 4 * 3
    for (a, b), parts in table.items():
        assert 1 <= len(parts) <= 3
        assert parts == table[b, a]
        assert set(parts) <= set(birds.PARTS)


@pytest.mark.parametrize("pair", [p for p in PAIRS if p[0] < p[1]], ids="-".join)
def test_species_of_a_family_differ_only_in_their_separating_parts(pair):
    a, b = (birds.render(name, 3, 128, 0.3, pose=POSE) for name in pair)
    changed = np.abs(a.image.astype(int) - b.image).max(-1) > 12
    parts = [1 + birds.PARTS.index(p) for p in birds.separating_parts()[pair]]
    around = np.isin(a.part_map, parts) | np.isin(b.part_map, parts)
    assert changed.sum() > 20
    assert ndimage.distance_transform_edt(~around)[changed].max() < 6
    assert all((changed & np.isin(a.part_map, part)).sum() > 5 for part in parts)


def digest(name="coral kingfisher"):
    scene = birds.render(name, (1, 2), 96)
    return hashlib.sha256(scene.image.tobytes() + scene.mask.tobytes()).hexdigest()


def test_another_process_draws_the_same_bytes():
    source = f"from fgjax.data import birds; import hashlib\n{inspect.getsource(digest)}"
    source += "print(digest())"
    other = subprocess.run(
        [sys.executable, "-c", source], check=True, capture_output=True, text=True
    )
    assert other.stdout.strip() == digest()


@pytest.mark.parametrize(
    ("name", "mean", "area"),
    [
        ("amber finch", (114.3, 121.7, 115.0), 0.1645),
        ("delta kingfisher", (97.6, 123.8, 124.7), 0.1634),
        ("bay sandpiper", (114.1, 130.0, 126.8), 0.1036),
        ("cliff swallow", (103.6, 123.6, 126.8), 0.1093),
    ],
)
def test_a_change_of_the_pictures_needs_a_change_of_the_version(name, mean, area):
    assert birds.VERSION == 1
    scene = birds.render(name, 11, 96)
    np.testing.assert_allclose(scene.image.mean((0, 1)), mean, atol=0.3)
    np.testing.assert_allclose(scene.mask.mean(), area, atol=0.002)


@pytest.mark.parametrize("name", birds.NAMES)
def test_annotations_agree_with_the_mask(name):
    size = 128
    for seed in range(4):
        scene = birds.render(name, seed, size, 0.8)
        rows, columns = np.nonzero(scene.mask)
        ends = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        np.testing.assert_array_equal(scene.box, ends)
        assert not scene.part_map[~scene.mask].any()
        near = ndimage.binary_dilation(scene.mask, iterations=3)
        for y, x, visible in scene.parts:
            inside = 0 <= y < size and 0 <= x < size
            assert inside or not visible
            assert not visible or near[int(y), int(x)]


def species_parts(name):
    return {part for pair in PAIRS if pair[0] == name for part in birds.separating_parts()[pair]}


def test_parts_lie_in_their_regions():
    for name in birds.NAMES:
        scene = birds.render(name, 5, 256, 0.0, pose=POSE)
        for part in species_parts(name):
            y, x, visible = scene.parts[birds.PARTS.index(part)]
            region = scene.part_map == 1 + birds.PARTS.index(part)
            assert visible
            assert region[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7].any(), (name, part)


def test_a_bird_turned_round_has_mirrored_annotations():
    right = birds.render("barn swallow", 8, 128, 0.0, pose=POSE)
    left = birds.render("barn swallow", 8, 128, 0.0, pose=dataclasses.replace(POSE, facing=-1))
    np.testing.assert_allclose(right.parts[:, 0], left.parts[:, 0], atol=1e-3)
    np.testing.assert_allclose(right.parts[:, 1], 128 - left.parts[:, 1], atol=1e-3)
    assert (right.mask != left.mask[:, ::-1]).mean() < 0.01


@pytest.mark.parametrize("part", ["beak", "wing", "breast"])
def test_a_hidden_part_is_covered_and_reported_so(part):
    plain = birds.render("dune sandpiper", 4, 128, 0.0, pose=POSE)
    hidden = birds.render("dune sandpiper", 4, 128, 0.0, pose=POSE, hide_parts=(part,))
    which = birds.PARTS.index(part)
    y, x = plain.parts[which, :2].astype(int)
    assert plain.parts[which, 2] == 1
    assert hidden.parts[which, 2] == 0
    assert plain.mask[y, x]
    assert not hidden.mask[y, x]
    assert (hidden.image[y, x] != plain.image[y, x]).any()
    assert (hidden.image == plain.image).all(-1).mean() > 0.5


def test_difficulty_makes_markings_smaller_and_fainter():
    def difference(difficulty):
        pair = (birds.render(n, 3, 128, difficulty, pose=POSE) for n in members("finch")[:2])
        a, b = (scene.image.astype(float) for scene in pair)
        return np.abs(a - b).sum()

    easy, medium, hard = map(difference, (0.0, 0.5, 1.0))
    assert easy > 1.2 * medium > 1.2**2 * hard


def test_blur_takes_the_detail_and_leaves_the_light():
    sharp = birds.render("brook kingfisher", 6, 128).image.astype(float)
    soft = birds.render("brook kingfisher", 6, 128, blur=3.0).image.astype(float)
    assert np.abs(np.diff(soft, axis=0)).mean() < 0.6 * np.abs(np.diff(sharp, axis=0)).mean()
    np.testing.assert_allclose(soft.mean((0, 1)), sharp.mean((0, 1)), atol=1.0)


def color_histograms(seed, per_species):
    """Square roots of 8 x 8 x 8 colour histograms, labels and families of a fresh set."""
    scenes = [
        birds.render(name, (seed, i), 64)
        for i, name in itertools.product(range(per_species), birds.NAMES)
    ]
    bins = np.stack([scene.image for scene in scenes]).astype(int) // 32 @ (64, 8, 1)
    histograms = [np.bincount(b.ravel(), minlength=512) / b.size for b in bins]
    species = np.array([birds.NAMES.index(scene.species) for scene in scenes])
    return np.sqrt(histograms), species, species // 4


def test_color_histograms_tell_families_but_not_species():
    x, species, family = color_histograms(1, 50)
    x_test, species_test, family_test = color_histograms(2, 40)

    def accuracy(keep, keep_test, labels, labels_test):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(x[keep], labels[keep])
        return model.score(x_test[keep_test], labels_test[keep_test])

    everything = np.ones(len(x), bool), np.ones(len(x_test), bool)
    within = [accuracy(family == f, family_test == f, species, species_test) for f in range(4)]
    assert accuracy(*everything, family, family_test) > 0.5
    assert np.mean(within) < 1.3 * 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"species": "grey goose"}, "unknown species 'grey goose': choose one of amber finch"),
        ({"difficulty": 1.5}, "difficulty is 1.5, but must lie between 0"),
        ({"hide_parts": ("knee",)}, "unknown part 'knee' to hide: choose among beak, crown"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        birds.render(**{"species": "amber finch"} | arguments)
