"""Bilinear CNN on CUB-200-2011 (Lin, RoyChowdhury & Maji, ICCV 2015), in two stages.

    python -m fgjax.main --config configs/cub_bilinear.py --workdir runs/cub_bilinear
    python -m fgjax.main --config configs/cub_bilinear.py:efficientnet_lite0,pooling=compact \
        --config.data.dir=PATH/CUB_200_2011 --workdir runs/cub_lite0

Stage one trains the head on the frozen trunk, stage two the middle and late layers as well.

Arguments:
    the backbone: "vgg16" (the paper's, at 448 px), "efficientnet_lite0", "resnet50", …
    pooling: "full" (the Gram matrix) or "compact" (Tensor Sketch, Gao et al., CVPR 2016).
    size: side of the input in pixels; 448 for VGG-16 as in the paper, else 224.
    weights: "default", a file, "hf:timm/NAME" or "none".
    phases: "both", or "head" to stop after stage one.
    protocol: "develop" or "final".
"""

from fgjax.config import default, model, parse_arguments

POOLINGS = {
    "full": {"name": "bilinear"},
    "compact": {"name": "compact_bilinear", "d": 8192},
}


def get_config(arguments=""):
    args = parse_arguments(
        arguments,
        first="backbone",
        backbone="vgg16",
        pooling="full",
        size=0,
        weights="default",
        phases="both",
        protocol="develop",
        tune_rate=0.002,
        head_epochs=30.0,
        tune_epochs=8.0,
        head_rate=1.0,
        tune_head=0.3,
        decay=1e-5,
        tune_decay=1e-5,
        batch=16,
        levels="345",
        ema=0.0,
        scale=0.35,
        smooth=0.1,
        clip=0.0,
    )
    c = default()
    c.protocol = args["protocol"]
    c.data.name = "cub200"
    c.data.image_size = args["size"] or (448 if args["backbone"].startswith("vgg") else 224)
    c.data.batch_size = args["batch"]
    weights = None if args["weights"] == "none" else args["weights"]
    c.model = model(args["backbone"], pooling=POOLINGS[args["pooling"]], weights=weights)
    head = dict(
        name="head",
        share=args["head_epochs"],
        train={"head": args["head_rate"]},
        decay=args["decay"],
        views=("center", "flip"),
    )
    tuned = {f"conv{n}": args["tune_rate"] for n in args["levels"]}
    tune = dict(
        name="tune",
        share=args["tune_epochs"],
        train=tuned | {"head": args["tune_head"]},
        decay=args["tune_decay"],
        warmup=0.1,
    )
    c.schedule = (head, tune) if args["phases"] == "both" else (head,)
    c.train.epochs = args["head_epochs"] + (args["tune_epochs"] if args["phases"] == "both" else 0)
    c.train.label_smoothing = args["smooth"]
    c.train.ema = args["ema"] or None
    c.train.clip_norm = args["clip"] or None
    c.train.augment = dict(scale=(args["scale"], 1.0), ratio=(0.75, 1.333), flip=0.5)
    c.evaluate.epochs = 4.0
    c.train.checkpoint_epochs = 10.0
    return c
