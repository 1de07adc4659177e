"""Every backbone family x merge x attention x pooling, built; a pairwise cover, run and trained.

The parts are those of the registries: one that is added there must be added here. What makes no
sense is named by :func:`refusal`, and must be refused by that sentence and nothing else.
"""

import functools
import itertools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fgjax.errors import UserError
from fgjax.models import assembly, attention, backbones, heads, merges, pooling, scales
from fgjax.models.context import BATCH_NORM_MODES, Context
from fgjax.ops import losses
from fgjax.vocabulary import GROUPS, LEVELS

# With running statistics: a bias in front of a norm over the batch has no gradient by rights.
TRAIN = Context(train=True, bn=tuple((group, BATCH_NORM_MODES["affine"]) for group in GROUPS))
BATCH, HEIGHT, WIDTH, CLASSES = 3, 71, 65, 3
THREE = ("conv3", "conv4", "conv5")

BACKBONES = {
    "convnext": ("convnext_tiny", {"width": 8, "depths": (1, 1, 1, 1)}),
    "efficientnet_lite": ("efficientnet_lite0", {"width": 0.25, "depth": 0.3}),
    "hrnet": ("hrnet_w18_small", {"width": 4, "planes": 8, "blocks": 1}),
    "resnet": ("resnet18", {"width": 8, "depths": (1, 1, 1, 1)}),
    "vgg": ("vgg11", {"width": 0.125, "depths": (1, 1, 1, 1, 1)}),
}
MERGES = {
    "none": {},
    "fpn": {"features": 8},
    "pan": {"features": 8},
    "bifpn": {"features": 8, "repeats": 1},
    "hrnet_concat": {"features": 8, "levels": THREE},
    "hypercolumn": {},
    "hrnet_head": {},
    "stage_blocks": {"features": 8, "hidden": 8},
}
ATTENTIONS = {
    "none": {},
    "se": {},
    "ese": {},
    "eca": {},
    "cbam": {"reduction": 2},
    "coordinate": {},
    "global_context": {"reduction": 2},
    "non_local": {},
    "bilinear_attention": {"maps": 4},
}
POOLINGS = {
    "average": {},
    "max": {},
    "gem": {},
    "bilinear": {"project": 6},
    "improved_bilinear": {"project": 6, "iterations": 3},
    "isqrt_cov": {"project": 6},
    "compact_bilinear": {"d": 32},
    "low_rank_bilinear": {"project": 6},
    "factorized_bilinear": {"d": 8},
    "hierarchical_bilinear": {"d": 8},
    "bilinear_attention": {},
}
SCALES = {"single": (1.0,), "pyramid": (1.0, 0.5)}
HEADS = {"linear": {}, "cosine": {}, "low_rank_bilinear": {"rank": 2}, "multi_granularity": {}}

FIRST_ORDER = ("average", "max", "gem")
ONE_LEVEL = ("improved_bilinear", "isqrt_cov", "low_rank_bilinear")
OF_ONE_WIDTH = ("fpn", "pan", "bifpn", "stage_blocks")


class Case(NamedTuple):
    """One of each, by name."""

    family: str
    merge: str
    attention: str
    pooling: str
    head: str = "linear"
    scales: str = "single"


def test_no_part_is_left_out():
    assert set(BACKBONES) == set(backbones.FAMILIES)
    assert set(MERGES) == {"none", *merges.MERGES}
    assert set(ATTENTIONS) == {"none", "bilinear_attention", *attention.BLOCKS}
    assert set(POOLINGS) == set(pooling.POOLINGS)
    assert set(HEADS) == set(heads.HEADS)


def levels_read(merge, pool):
    """All levels that the merge leaves, or the one that has heard of the others."""
    standing = {
        "hypercolumn": ("conv3",),
        "hrnet_concat": ("conv3",),
        "hrnet_head": ("conv5",),
    }.get(merge, THREE)
    if pool not in ONE_LEVEL:
        return standing
    return standing[:1] if merge == "fpn" else standing[-1:]


def refusal(case):
    """The sentence by which the case is refused, or None if it makes sense."""
    levels = levels_read(case.merge, case.pooling)
    gram = case.pooling in ONE_LEVEL or (case.pooling == "bilinear" and len(levels) == 1)
    if case.attention == "bilinear_attention" and case.pooling == "max":
        return "a maximum does not weigh locations"
    if case.merge == "hrnet_head" and case.family != "hrnet":
        return "hrnet_head is the published head of the HRNets, and this is another backbone"
    if case.head == "low_rank_bilinear" and (not gram or case.pooling == "isqrt_cov"):
        return "low_rank_bilinear reads the Gram matrix of one level, and this pooling gives none"
    if case.head == "multi_granularity" and case.pooling not in FIRST_ORDER:
        return "classifies level by level, and this pooling mixes levels"
    if case.head == "multi_granularity" and len(levels) > 1 and case.merge not in OF_ONE_WIDTH:
        return "classifies by 3 levels of one width, and the pooling reads maps of"
    if case.pooling == "bilinear_attention" and case.attention != "bilinear_attention":
        return "the pooling needs attention maps of conv., and the attention part gives none"
    return None


def build(case):
    """The recogniser of a case, by a config's words."""
    name, options = BACKBONES[case.family]
    levels = levels_read(case.merge, case.pooling)
    pool = {"name": case.pooling, "levels": levels, **POOLINGS[case.pooling]}
    attend = {"name": case.attention, "levels": levels, **ATTENTIONS[case.attention]}
    if case.attention == "bilinear_attention" and case.pooling != "bilinear_attention":
        pool["attend"], attend["levels"] = True, levels[:1]
    head = {"name": case.head, **HEADS[case.head]}
    if case.head == "multi_granularity":
        head |= {"levels": len(levels), "hidden": 6}
    model = {
        "backbone": {"name": name, **options},
        "merge": {"name": case.merge, **MERGES[case.merge]},
        "attention": attend,
        "pooling": pool,
        "head": head,
        "scales": SCALES[case.scales],
    }
    return assembly.build(model, CLASSES)


def image_shape(scale):
    """Of a batch at a scale."""
    return BATCH, round(HEIGHT * scale), round(WIDTH * scale), 3


def shapes_of(part, *inputs):
    """Shapes of what a part gives; a part that meets the same shapes again is not traced again."""
    leaves, tree = jax.tree.flatten(inputs)
    return traced(part, tuple(leaves), tree)


@functools.cache
def traced(part, leaves, tree):
    def run(x, *rest):
        return part.init_with_output(jax.random.key(0), x, TRAIN, *rest)[0]

    return jax.eval_shape(run, *jax.tree.unflatten(tree, leaves))


def refused(case):
    """The sentence by which building the case, part by part, fails; None if it does not."""
    try:
        built = build(case)
        seen = [seen_at(scale, built) for scale in built.scales]
        union = functools.partial(scales.union, built.pooling.align)
        selected, maps = jax.eval_shape(union, seen)
        chosen = built.head.stem(selected, TRAIN)
        logits = shapes_of(built.head, shapes_of(built.pooling, chosen, maps))
    except UserError as error:
        return str(error)
    assert (logits.shape, logits.dtype) == ((BATCH, CLASSES), np.float32)
    return None


def seen_at(scale, built):
    """Shapes of the maps to pool, and of the attention maps, of one scale."""
    images = jax.ShapeDtypeStruct(image_shape(scale), np.float32)
    merged, maps = shapes_of(built.backbone, images), {}
    if built.merge is not None:
        merged = shapes_of(built.merge, merged)
    if built.attention is not None:
        merged, maps = shapes_of(built.attention, merged)
    return tuple(merged[level] for level in built.pooling.levels), maps


@pytest.mark.parametrize("family", BACKBONES)
def test_everything_that_makes_sense_builds(family):
    """Every combination, part by part; what the parts before it gave is traced once."""
    for names in itertools.product([family], MERGES, ATTENTIONS, POOLINGS, ["linear"]):
        case = Case(*names)
        expected, found = refusal(case), refused(case)
        assert (found is None) == (expected is None), (case, found, expected)
        assert found is None or re.search(expected, found), (case, found)


@pytest.mark.parametrize("family", BACKBONES)
def test_every_head_that_makes_sense_builds(family):
    for names in itertools.product([family], MERGES, ["none"], POOLINGS, HEADS):
        case = Case(*names)
        expected, found = refusal(case), refused(case)
        assert (found is None) == (expected is None), (case, found, expected)
        assert found is None or re.search(expected, found), (case, found)


def test_image_pyramids_build_where_single_images_do():
    """Of one family: what the backbone is makes no difference to the union of the scales."""
    factors = ["resnet"], MERGES, ATTENTIONS, POOLINGS, HEADS, ["pyramid"]
    for case in itertools.starmap(Case, itertools.product(*factors)):
        if case.head == "linear" or case.attention == "none":
            expected, found = refusal(case), refused(case)
            assert (found is None) == (expected is None), (case, found, expected)
            assert found is None or re.search(expected, found), (case, found)


def pairwise_cover(*factors):
    """Few cases that make sense, in which every pair of values occurs that occurs in any."""
    choices = itertools.product(*factors)
    cases = [case for case in itertools.starmap(Case, choices) if not refusal(case)]
    index = np.array(
        [[values.index(v) for v, values in zip(c, factors, strict=False)] for c in cases]
    )
    base = max(map(len, factors))
    columns = list(itertools.combinations(range(len(factors)), 2))
    pairs = np.stack(
        [(n * base + index[:, a]) * base + index[:, b] for n, (a, b) in enumerate(columns)], axis=1
    )
    open_pairs, chosen = np.zeros(len(columns) * base**2, bool), []
    open_pairs[pairs] = True
    while open_pairs.any():
        best = open_pairs[pairs].sum(1).argmax()
        open_pairs[pairs[best]] = False
        chosen.append(cases[best])
    return chosen


FACTORS = tuple(map(list, (BACKBONES, MERGES, ATTENTIONS, POOLINGS, HEADS)))
COVER = [  # every third on a pyramid
    case._replace(scales="pyramid") if number % 3 == 1 else case
    for number, case in enumerate(pairwise_cover(*FACTORS))
]


def test_every_part_is_trained_on_single_images_and_on_pyramids():
    for name in SCALES:
        met = [case for case in COVER if case.scales == name]
        for place, parts in enumerate(FACTORS):
            assert {case[place] for case in met} == set(parts)


def randomised(shapes, seed=0):
    """Values for a tree of shapes: kernels by fan-in, gains, statistics and constants at random."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(rng.integers(0, 32, leaf.shape), leaf.dtype)
        if path[-1].key in ("bias", "mean"):
            return jnp.asarray(rng.normal(size=leaf.shape) * 0.3, leaf.dtype)
        if leaf.ndim < 2:
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        fan_in = np.prod(leaf.shape[:-1])
        return jnp.asarray(rng.normal(size=leaf.shape) * (2 / fan_in) ** 0.5, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def compiled(function, *arguments):
    """A program compiled without the optimisations that cost the most time."""
    program = jax.jit(function).lower(*arguments)
    return program.compile({"xla_backend_optimization_level": 0})


class Trunk(NamedTuple):
    """A family's backbone, run once at a scale: its maps, and the pull-back to its parameters."""

    hierarchy: dict
    pull_back: object


@functools.cache
def trunk(backbone, scale=1.0):
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.normal(size=image_shape(scale)), jnp.float32)
    shapes = jax.eval_shape(lambda: backbone.init(jax.random.key(0), images, TRAIN))
    variables = dict(randomised(shapes))
    params = variables.pop("params")

    def forward(params):
        return backbone.apply(
            {"params": params, **variables}, images, TRAIN, mutable=["batch_stats"]
        )[0]

    def gradients(params, slopes):
        return jax.vjp(forward, params)[1](slopes)[0]

    hierarchy = compiled(forward, params)(params)
    program = compiled(gradients, params, hierarchy)
    return Trunk(hierarchy, functools.partial(program, params))


def gradients_of(case):
    """Gradients of the loss by every leaf, {path: array}: the line from the merge on, then back."""
    built = build(case)
    trunks = [trunk(built.backbone, scale) for scale in built.scales]
    hierarchy = scales.named([one.hierarchy for one in trunks], built.scales)
    shapes = jax.eval_shape(lambda: built.init(jax.random.key(0), hierarchy, TRAIN, "merge"))
    variables = dict(randomised(shapes))
    params = variables.pop("params")
    targets = jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)

    def loss(params, hierarchy):
        variables_ = {"params": params, **variables}
        outputs, _ = built.apply(variables_, hierarchy, TRAIN, "merge", mutable=["batch_stats"])
        return losses.cross_entropy(outputs.logits, targets).mean()

    slopes, back = compiled(jax.grad(loss, (0, 1)), params, hierarchy)(params, hierarchy)
    pulled = [
        one.pull_back(scales.at(back, at)) for one, at in zip(trunks, built.scales, strict=True)
    ]
    return [flatten_dict(tree, sep="/") for tree in (slopes, *pulled)]


def unread(case, path):
    """Whether a leaf belongs to a map that nobody reads, and rightly has no gradient.

    What FPN and the stage blocks add for one level alone; what HRNet adds into a branch at last.
    """
    levels = levels_read(case.merge, case.pooling)
    group, layer = path.split("/")[:2]
    kind, _, level = layer.partition("_")
    if group == "merge" and case.merge in ("fpn", "stage_blocks"):
        return kind in ("smooth", "reduce", "expand") and level not in levels
    if case.family == "hrnet" and path.startswith("conv5/") and "/fuse" in path:
        used = {"none": levels, "stage_blocks": levels, "hrnet_head": LEVELS}.get(case.merge, THREE)
        branch = int(path.partition("/fuse")[2][0])
        return f"conv{branch + 2}" not in used
    return False


@pytest.mark.parametrize("case", COVER, ids="-".join)
def test_every_trainable_leaf_learns(case):
    """From random gains and heads, on images of odd sizes."""
    for gradients in gradients_of(case):
        for path, leaf in gradients.items():
            assert np.isfinite(leaf).all(), path
            assert leaf.any() != unread(case, path), path


@pytest.mark.parametrize("pool", ["bilinear_attention", "average"])
def test_scores_that_read_part_maps_are_shared_among_the_locations(pool):
    built = build(Case("resnet", "none", "bilinear_attention", pool))
    hierarchy, _ = trunk(built.backbone)
    shapes = jax.eval_shape(lambda: built.init(jax.random.key(0), hierarchy, TRAIN, "merge"))
    variables, classes = randomised(shapes), jnp.asarray([2, 0, 1])
    logits = built.apply(variables, hierarchy, Context(), "merge").logits
    shares = built.apply(
        variables, hierarchy, classes, Context(), None, "merge", method="contributions"
    )
    own = logits[jnp.arange(BATCH), classes] - variables["params"]["head"]["bias"][classes]
    np.testing.assert_allclose(shares.sum((1, 2)), own, rtol=1e-3, atol=1e-3)
