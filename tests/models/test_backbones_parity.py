"""Backbones against torchvision and timm at equal random weights, level by level."""

import functools

import jax
import numpy as np
import pytest

from fgjax.models import backbones, heads, pooling, recognizer, weights
from fgjax.models.backbones import efficientnet_lite
from fgjax.models.backbones.hrnet import ClassificationHead
from fgjax.models.context import BATCH_NORM_MODES, Context
from fgjax.models.layers import ConvBN, relu6
from fgjax.ops.preprocessing import Preprocessing
from fgjax.vocabulary import GROUPS, LEVELS

pytestmark = pytest.mark.parity
TRAIN = Context(train=True, bn=tuple((group, BATCH_NORM_MODES["train"]) for group in GROUPS))
EPSILON, CLASSES = 1e-4, 10
RESNET = dict(zip(LEVELS, ("relu", "layer1", "layer2", "layer3", "layer4"), strict=True))


def images(size, batch=2):
    return np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)


def model(backbone, merge=None, expand=None):
    """A recogniser whose logits are the published ones: average pooling, linear."""
    head = heads.Linear(CLASSES, expand=expand)
    return recognizer.Recognizer(backbone, pooling.create("average"), head, merge=merge)


def variables_of(module, name, network, size, groups=(*LEVELS, "head")):
    from published import tensors

    source = weights.PretrainedWeights(tensors(network), Preprocessing(), {}, "", "the reference")
    key, x = jax.random.key(0), images(size, 1)
    shapes = jax.eval_shape(lambda: module.init(key, x, Context()))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return weights.assign(source, name, zeros, groups)


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(module, variables, x, ctx):
    return module.apply(variables, x, ctx, mutable=["batch_stats"])


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) <= EPSILON * np.linalg.norm(theirs)


def assert_levels(outputs, expected):
    found = outputs.hierarchy | outputs.stages
    assert list(outputs.hierarchy) == [level for level in expected if level not in outputs.stages]
    for level, maps in expected.items():
        assert_close(found[level], maps)


def compare(name, network, taps, size, module, groups=(*LEVELS, "head")):
    """Levels with running statistics; logits where ``groups`` include the classifier."""
    from published import run

    x = images(size)
    maps, logits = run(network, x, taps)
    outputs, _ = apply(module, variables_of(module, name, network, size, groups), x, Context())
    assert_levels(outputs, maps)
    if "head" in groups:
        assert_close(outputs.logits, logits.numpy())


def compare_training(name, network, taps, size, module, groups=(*LEVELS, "head")):
    """Levels with batch statistics, and the running statistics that one step leaves.

    Logits where ``groups`` include the classifier.
    """
    from published import run

    x = images(size, batch=4)
    before = variables_of(module, name, network, size, groups)
    maps, logits = run(network.train(), x, taps)
    outputs, moved = apply(module, before, x, TRAIN)
    assert_levels(outputs, maps)
    if "head" in groups:
        assert_close(outputs.logits, logits.numpy())
    after = variables_of(module, name, network, size, groups)["batch_stats"]
    jax.tree.map(assert_close, moved["batch_stats"], after)
    still = jax.tree.map(lambda a, b: np.array_equal(a, b), before["batch_stats"], after)
    assert not any(jax.tree.leaves(still))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet(torchvision, name):
    from published import randomize

    network = randomize(getattr(torchvision.models, name)(num_classes=CLASSES))
    module = model(backbones.create(name))
    compare(name, network, RESNET, 64, module)
    compare_training(name, network, RESNET, 64, module)


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("resnext50_32x4d", {}, {"groups": 32, "width_per_group": 4}),
        ("wide_resnet50_2", {}, {"width_per_group": 128}),
        ("resnet50", {"output_stride": 16}, {"replace_stride_with_dilation": (0, 0, 1)}),
        ("resnet50", {"output_stride": 8}, {"replace_stride_with_dilation": (0, 1, 1)}),
    ],
)
def test_shallow_variants_of_resnet(torchvision, name, options, theirs):
    from published import randomize

    depths, kinds = (1, 1, 2, 2), torchvision.models.resnet
    network = kinds.ResNet(kinds.Bottleneck, depths, num_classes=CLASSES, **theirs)
    module = model(backbones.create(name, depths=depths, **options))
    compare(name, randomize(network), RESNET, 48, module)


@pytest.mark.parametrize(
    ("name", "block", "attention", "check"),
    [
        ("resnet50", "Bottleneck", "se", compare),
        ("resnet18", "BasicBlock", "cbam", compare_training),
    ],
)
def test_attention_in_residual_branches(timm, name, block, attention, check):
    from published import randomize

    depths, kinds = (1, 1, 1, 1), timm.models.resnet
    attend = {"attn_layer": attention}
    network = kinds.ResNet(getattr(kinds, block), depths, num_classes=CLASSES, block_args=attend)
    module = model(backbones.create(name, depths=depths, attention=attention))
    check(name, randomize(network), RESNET | {"conv1": "act1"}, 64, module)


@pytest.mark.parametrize(
    ("name", "block"), [("resnet18", "BasicBlock"), ("resnet50", "Bottleneck")]
)
def test_antialiased_resnet(timm, name, block):
    from published import randomize

    depths, kinds = (1, 1, 1, 1), timm.models.resnet
    blur = timm.layers.BlurPool2d
    network = kinds.ResNet(getattr(kinds, block), depths, num_classes=CLASSES, aa_layer=blur)
    module = model(backbones.create(name, depths=depths, antialias=True))
    compare(name, randomize(network), RESNET | {"conv1": "act1"}, 64, module)


@pytest.mark.parametrize(
    ("name", "layers", "taps"),
    [("vgg11", "A", (1, 4, 9, 14, 19)), ("vgg16_bn", "D", (5, 12, 22, 32, 42))],
)
def test_vgg(torchvision, name, layers, taps):
    import torch
    from published import randomize

    vgg = torchvision.models.vgg
    features = vgg.make_layers(vgg.cfgs[layers], batch_norm=name.endswith("bn"))
    network = torch.nn.Sequential()
    network.add_module("features", features)
    paths = {level: f"features.{tap}" for level, tap in zip(LEVELS, taps, strict=True)}
    module = model(backbones.create(name))
    compare(name, randomize(network), paths, 32, module, groups=LEVELS)
    if name.endswith("bn"):
        compare_training(name, network, paths, 32, module, groups=LEVELS)


@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite0", 64), ("efficientnet_lite1", 49)])
def test_efficientnet_lite(timm, name, size):
    from published import randomize

    network = randomize(timm.create_model(f"tf_{name}", num_classes=CLASSES))
    ends = zip(LEVELS, (0, 1, 2, 4, 6), strict=True)
    taps = {level: f"blocks.{end}" for level, end in ends}
    expand = ConvBN(1280, activation=relu6, epsilon=efficientnet_lite.EPSILON)
    module = model(backbones.create(name), expand=expand)
    compare(name, network, taps, size, module)
    if name == "efficientnet_lite0":
        compare_training(name, network, taps, size, module)


@pytest.mark.parametrize(
    ("name", "modules", "blocks"), [("hrnet_w18_small", (1, 1, 1), 2), ("hrnet_w18", (1, 2, 1), 1)]
)
def test_hrnet(timm, name, modules, blocks):
    from published import randomize, run, to_numpy

    hrnet, x = timm.models.hrnet, images(64, batch=4)
    stages = {
        f"stage{n}": {"num_modules": count, "num_blocks": (blocks,) * n}
        for n, count in enumerate(modules, 2)
    }
    published = hrnet.cfg_cls[name]
    changed = {stage: published[stage] | sizes for stage, sizes in stages.items()}
    network = randomize(hrnet.HighResolutionNet(published | changed, num_classes=CLASSES))
    branches = []
    network.stage4.register_forward_hook(lambda *call: branches.extend(map(to_numpy, call[2])))
    backbone = backbones.create(name, modules=modules, blocks=blocks)
    module = model(backbone, merge=ClassificationHead())
    for ctx in (Context(), TRAIN):
        branches.clear()
        before = variables_of(module, name, network, 64)
        maps, logits = run(network.train(ctx.train), x, {"conv1": "act1"})
        outputs, moved = apply(module, before, x, ctx)
        for level, expected in zip(LEVELS, (maps["conv1"], *branches), strict=True):
            assert_close(outputs.hierarchy[level], expected)
        assert_close(outputs.logits, logits.numpy())
        after = variables_of(module, name, network, 64)["batch_stats"]
        jax.tree.map(assert_close, moved["batch_stats"], after)


@pytest.mark.parametrize("depths", [(1, 1, 1, 1), (1, 2, 3, 1)])
def test_convnext(timm, depths):
    import torch
    from published import randomize, run

    name, width = "convnext_tiny", 24
    dims = [width * 2**number for number in range(4)]
    network = timm.models.convnext.ConvNeXt(depths=depths, dims=dims, num_classes=CLASSES)
    randomize(network)
    taps = {"conv1": "stem", **{f"conv{number + 2}": f"stages.{number}" for number in range(4)}}
    module, x = model(backbones.create(name, depths=depths, width=width)), images(64)
    outputs, _ = apply(module, variables_of(module, name, network, 64, LEVELS), x, Context())
    maps, logits = run(network, x, taps)
    assert_levels(outputs, maps)
    pooled = torch.from_numpy(np.array(outputs.embedding))[..., None, None]
    with torch.no_grad():
        assert_close(network.head.fc(network.head.norm(pooled)[..., 0, 0]).numpy(), logits.numpy())
