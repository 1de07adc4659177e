"""Quick start: a compact bilinear network learns sixteen look-alike synthetic birds.

    python -m fgjax.main --config configs/quickstart.py --workdir runs/quickstart

An ImageNet EfficientNet-Lite0 with Tensor Sketch pooling (Gao et al., CVPR 2016): the head learns
on the frozen trunk, then conv4 and conv5 join in.

Arguments:
    weights: "default", or "none" for the control, a randomly initialised trunk.
    tiny: a narrow, truncated network without weights on a few small images; a minute on any
        machine, for tests.
"""

from fgjax.config import default, model, parse_arguments, tiny
from fgjax.finetune import recipes


def get_config(arguments=""):
    args = parse_arguments(arguments, weights="default", tiny=False)
    c = default()
    c.protocol = "final"
    c.data.name = "synthetic_birds"
    c.data.image_size = 224
    c.data.batch_size = 16
    c.model = model(
        "efficientnet_lite0",
        pooling={"name": "compact_bilinear", "d": 8192},
        weights=args["weights"],
    )
    c.schedule = recipes.surgical(
        {"conv4": 0.004, "conv5": 0.004, "head": 0.3},
        first=dict(share=30, decay=1e-5),
        share=8,
        decay=1e-4,
        warmup=0.1,
    )
    c.train.epochs = 38.0
    c.train.augment = dict(
        scale=(0.5, 1.0), ratio=(0.8, 1.25), flip=0.5, brightness=0.2, contrast=0.2
    )
    return tiny(c) if args["tiny"] else c
