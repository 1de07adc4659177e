"""HRNet-W18 on CUB-200-2011: the map of stride 4 stays to the end, and everything meets there.

    python -m fgjax.main --config configs/cub_hrnet.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_hrnet

The branches of four resolutions are brought to the finest and concatenated (HRNetV2, Wang et al.,
TPAMI 2020), compact bilinear pooling reads them all, and stages 3 and 4 (conv4, conv5) are
fine-tuned behind the head. A recipe to start from: it has not been trained at full size.

Arguments:
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow EfficientNet without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.finetune import recipes


def get_config(arguments=""):
    c, args = cub200(arguments)
    c.model = model(
        "hrnet_w18",
        merge={"name": "hrnet_concat", "levels": ("conv2", "conv3", "conv4", "conv5")},
        pooling={"name": "compact_bilinear", "levels": ("conv2",), "d": 8192},
        weights=args["weights"],
    )
    new = {"merge": 0.3, "head": 0.3}
    c.schedule = recipes.surgical(
        {"conv4": 0.005, "conv5": 0.005} | new,
        first=dict(share=15, train={"merge": 1.0, "head": 1.0}, decay=1e-5),
        share=15,
        decay=1e-5,
        warmup=0.1,
    )
    c.train.epochs = 30.0
    c.train.ema = 0.99
    c.train.augment = dict(scale=(0.35, 1.0), ratio=(0.75, 1.333), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    return tiny(c, last="conv5") if args["tiny"] else c
