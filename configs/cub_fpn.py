"""A feature pyramid on CUB-200-2011: late meaning at middle resolution, pooled bilinearly.

    python -m fgjax.main --config configs/cub_fpn.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_fpn

FPN (Lin et al., CVPR 2017) over conv3-conv5, 256 channels, then a compact bilinear sketch of each
pair of its levels. The paper is about detection and gives no figure for CUB, and the recipe is our
own: pyramid and head on the frozen trunk, then conv3-conv5 with them. It has not been trained at
full size; benchmarks/RESULTS.md has what a pyramid adds on a frozen trunk.

Arguments:
    the backbone: "resnet50", "efficientnet_lite0", …
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.finetune import recipes


def get_config(arguments=""):
    c, args = cub200(arguments, backbone="resnet50")
    levels = ("conv3", "conv4", "conv5")
    c.model = model(
        args["backbone"],
        merge={"name": "fpn", "levels": levels, "features": 256, "norm": True},
        pooling={"name": "compact_bilinear", "levels": levels, "d": 8192},
        weights=args["weights"],
    )
    new = {"merge": 0.1, "head": 0.3}
    c.schedule = recipes.surgical(
        dict.fromkeys(levels, 0.005) | new,
        first=dict(share=15, train={"merge": 0.1, "head": 1.0}, decay=1e-5),
        share=15,
        decay=1e-5,
        warmup=0.1,
    )
    c.train.epochs = 30.0
    c.train.ema = 0.99
    c.train.augment = dict(scale=(0.35, 1.0), ratio=(0.75, 1.333), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    return tiny(c) if args["tiny"] else c
