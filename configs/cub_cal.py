"""CAL on CUB-200-2011 (Rao et al., ICCV 2021): attention that has to change the decision.

    python -m fgjax.main --config configs/cub_cal.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_cal

WS-DAN's three passes, and for each the cross-entropy of what the attention maps add to the scores
over random maps in their place. SGD at 0.001 with decay 1e-5, batch 16, 160 epochs, as the authors'
code, whose rate falls by 0.9 every two epochs; here by a cosine. Eight test views: the image and
three of its attention crops (thresholds 0.1, 0.2 and 0.3), each mirrored as well.

Published: 90.6 % with ResNet-101 at 448 px and eight views; a user of the code reports 90.0 with
one view, 90.4 with eight. Not reproduced here: it has not been trained at full size.

Arguments:
    the backbone: "resnet101", "resnet50", …
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.vocabulary import LEVELS


def get_config(arguments=""):
    c, args = cub200(arguments, backbone="resnet101")
    c.data.canvas = round(args["size"] * 512 / 448)
    c.model = model(
        args["backbone"],
        attention={"name": "bilinear_attention", "levels": ("conv5",), "maps": 32},
        pooling={"name": "bilinear_attention", "levels": ("conv5",)},
        weights=args["weights"],
    )
    # The pooled vector has length 100, by whose square the head's rate is divided: 0.001 as well.
    rates = dict.fromkeys((*LEVELS, "attention"), 0.001) | {"head": 0.001 * 100**2}
    c.schedule = (dict(name="all", train=rates, decay=1e-5),)
    c.train.objective = {"name": "cal"}
    c.train.label_smoothing = 0.0
    c.train.epochs = 160.0
    c.train.augment = dict(scale=(0.766, 0.766), flip=0.5, brightness=0.126, saturation=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    crops = [f"{view}@{t}" for view in ("attention", "attention_flip") for t in (0.1, 0.2, 0.3)]
    c.evaluate.views = ("center", "flip", *crops)
    return tiny(c) if args["tiny"] else c
