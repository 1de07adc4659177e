"""Bilinear CNN on CUB-200-2011 (Lin, RoyChowdhury & Maji, ICCV 2015), in two stages.

    python -m fgjax.main --config configs/cub_bilinear.py --workdir runs/cub_bilinear
    python -m fgjax.main --config configs/cub_bilinear.py:efficientnet_lite0,pooling=compact \
        --config.data.dir=PATH/CUB_200_2011 --workdir runs/cub_lite0

Stage one trains the head on the frozen trunk, stage two the middle and late layers as well. The
rates were chosen in the protocol "develop"; see benchmarks/RESULTS.md for what they reach.

Arguments:
    the backbone: "vgg16" (the paper's, at 448 px), "efficientnet_lite0", "resnet50", …
    pooling: "full" (the Gram matrix) or "compact" (Tensor Sketch, Gao et al., CVPR 2016).
    size: side of the input in pixels; 448 for VGG as in the paper, else 224.
    weights: "default", a file, "hf:timm/NAME" or "none".
    phases: "both", or "head" to stop after stage one.
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few small images, for tests.
"""

from fgjax.config import chosen, cub200, model, tiny
from fgjax.finetune import recipes
from fgjax.vocabulary import LEVELS

POOLINGS = {
    "full": {"name": "bilinear"},
    "compact": {"name": "compact_bilinear", "d": 8192},
}


def get_config(arguments=""):
    c, args = cub200(arguments, backbone="vgg16", pooling="full", size=0, phases="both")
    vgg = args["backbone"].startswith("vgg")
    c.data.image_size = args["size"] or (448 if vgg else 224)
    c.model = model(
        args["backbone"],
        pooling=chosen(POOLINGS, "pooling", args["pooling"]),
        weights=args["weights"],
    )
    # VGG-16 as in the paper: every level, slowly.
    tuned = dict.fromkeys(LEVELS, 0.001) if vgg else dict.fromkeys(LEVELS[2:], 0.005)
    phases = recipes.surgical(
        tuned | {"head": 0.3}, first=dict(share=15, decay=1e-5), share=8, decay=1e-5, warmup=0.1
    )
    c.schedule = chosen({"both": phases, "head": phases[:1]}, "phases", args["phases"])
    c.train.epochs = float(sum(phase["share"] for phase in c.schedule))
    c.train.ema = 0.99
    c.train.augment = dict(scale=(0.35, 1.0), ratio=(0.75, 1.333), flip=0.5)
    c.train.checkpoint_epochs = 5.0
    c.evaluate.epochs = 4.0
    c.evaluate.after_phases = True
    return tiny(c) if args["tiny"] else c
