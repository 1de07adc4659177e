"""PMG on CUB-200-2011 (Du et al., ECCV 2020): fine levels first, on images cut into small pieces.

    python -m fgjax.main --config configs/cub_pmg.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_pmg

A classifier for each of conv3, conv4 and conv5 and one for all of them. A batch makes four steps of
the optimiser, in one compiled update: jigsaws of 8x8, 4x4 and 2x2 pieces for the three levels, then
the image for all (loss x 2). Scores are added up. As the authors' code: SGD, backbone at 0.0002,
the rest at 0.002, decay 5e-4, cosine, batch 16, 200 epochs, crops of 448 from 550 pixels, batch
norm trained throughout. The cosine falls step by step here, there epoch by epoch.

Published: 89.6 % with ResNet-50 at 448 px (its author, over five seeds: 89.54 to 89.74). Not
reproduced here: it has not been trained at full size.

Arguments:
    the backbone: "resnet50", "efficientnet_lite0", …
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.vocabulary import LEVELS


def get_config(arguments=""):
    c, args = cub200(arguments, backbone="resnet50")
    c.data.canvas = round(args["size"] * 550 / 448)
    levels = ("conv3", "conv4", "conv5")
    c.model = model(
        args["backbone"],
        merge={"name": "stage_blocks", "levels": levels, "hidden": 512, "features": 1024},
        pooling={"name": "max", "levels": levels},
        head={"name": "multi_granularity", "hidden": 512},
        weights=args["weights"],
    )
    rates = dict.fromkeys(LEVELS, 0.0002) | {"merge": 0.002, "head": 0.002}
    c.schedule = (dict(name="all", train=rates, decay=5e-4, bn="train"),)
    c.train.objective = {"name": "pmg"}
    c.train.label_smoothing = 0.0
    c.train.epochs = 200.0
    c.train.augment = dict(scale=(0.664, 0.664), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    return tiny(c) if args["tiny"] else c
