"""Which levels to train, on 30 look-alike birds.

EfficientNet-Lite0 at 128 px, compact bilinear pooling, five epochs in every row. Except in the
first two rows the head trains on the frozen trunk for three of them, then with the named levels.

    python -m benchmarks.ablate benchmarks/tables/unfreezing.py --workdir runs/unfreezing \
        --set data.dir=PATH/CUB_200_2011
"""

from fgjax.config import default, model
from fgjax.finetune import recipes
from fgjax.vocabulary import LEVELS

HEAD, TRUNK = 0.3, 0.01  # base rates
TUNE = dict(warmup=0.1, epochs=2)


def get_config():
    """What the rows share."""
    c = default()
    c.data.name = "cub200"
    c.data.image_size = 128
    c.data.batch_size = 16
    c.model = model("efficientnet_lite0", pooling={"name": "compact_bilinear", "d": 8192})
    c.train.epochs = 5.0
    c.train.augment = dict(scale=(0.35, 1.0), ratio=(0.75, 1.333), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    return c


def tuned(*levels):
    """The head first, then these levels with it."""
    return recipes.surgical(dict.fromkeys(levels, TRUNK) | {"head": HEAD}, **TUNE)


ROWS = {
    "head only": {"schedule": (recipes.probe(),)},
    "all at one rate": {
        "schedule": (dict(name="all", train=dict.fromkeys((*LEVELS, "head"), 0.1), warmup=0.1),)
    },
    "LP-FT": {"schedule": tuned(*LEVELS)},
    "conv5": {"schedule": tuned("conv5")},
    "conv4-conv5": {"schedule": tuned("conv4", "conv5")},
    "conv3-conv5": {"schedule": tuned("conv3", "conv4", "conv5")},
    "gradual": {
        "schedule": (
            recipes.probe(),
            *recipes.gradual(
                dict.fromkeys(LEVELS, TRUNK) | {"head": HEAD}, clock="unfreeze", epochs=0.4
            )[1:],
        )
    },
    "layer-wise": {
        "schedule": recipes.surgical(
            recipes.layerwise(TRUNK, 0.65, LEVELS) | {"head": HEAD}, **TUNE
        )
    },
    "Auto-RGN": {
        "schedule": recipes.surgical(
            dict.fromkeys(LEVELS, TRUNK) | {"head": HEAD}, auto="rgn", **TUNE
        )
    },
}
