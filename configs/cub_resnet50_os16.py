"""ResNet-50 at output stride 16 on CUB-200-2011: conv5 keeps twice the resolution.

    python -m fgjax.main --config configs/cub_resnet50_os16.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_resnet50_os16

The last stage runs at stride 1, as in iSQRT-COV (Li et al., CVPR 2018), so that at 448 px compact
bilinear pooling reads 28 x 28 places. A recipe to start from: it has not been trained at full size.

Arguments:
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.finetune import recipes


def get_config(arguments=""):
    c, args = cub200(arguments)
    c.model = model(
        "resnet50",
        output_stride=16,
        pooling={"name": "compact_bilinear", "d": 8192},
        weights=args["weights"],
    )
    c.schedule = recipes.surgical(
        {"conv3": 0.005, "conv4": 0.005, "conv5": 0.005, "head": 0.3},
        first=dict(share=15, decay=1e-5),
        share=15,
        decay=1e-5,
        warmup=0.1,
    )
    c.train.epochs = 30.0
    c.train.ema = 0.99
    c.train.augment = dict(scale=(0.35, 1.0), ratio=(0.75, 1.333), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    return tiny(c) if args["tiny"] else c
