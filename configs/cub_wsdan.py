"""WS-DAN on CUB-200-2011 (Hu et al., arXiv 1901.09891): look again where attention falls.

    python -m fgjax.main --config configs/cub_wsdan.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_wsdan

32 part maps, bilinear attention pooling, and three passes a step: the image, a crop where it
attends (threshold drawn from 0.4 to 0.6), and the image with an attended part dropped (0.2 to
0.5). At test time the image and its attention crop (threshold 0.1) are averaged. SGD at 0.001 with
decay 1e-5, as the paper's code; rates fall by a cosine over 160 epochs instead of by plateaus.

Published: 89.4 % with Inception-v3 at 448 px; two ports in PyTorch report 86.7 and 89.2. Not
reproduced here: the backbone is another one, and it has not been trained at full size.

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
    c, args = cub200(arguments, batch_size=12, backbone="resnet50")
    c.model = model(
        args["backbone"],
        attention={"name": "bilinear_attention", "levels": ("conv5",), "maps": 32},
        pooling={"name": "bilinear_attention", "levels": ("conv5",)},
        weights=args["weights"],
    )
    # The pooled vector has length 100, by whose square the head's rate is divided: 0.001 as well.
    rates = dict.fromkeys((*LEVELS, "attention"), 0.001) | {"head": 0.001 * 100**2}
    c.schedule = (dict(name="all", train=rates, decay=1e-5),)
    c.train.objective = {"name": "wsdan"}
    c.train.label_smoothing = 0.0
    c.train.epochs = 160.0
    c.train.augment = dict(scale=(0.5, 1.0), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    c.evaluate.views = ("center", "attention")
    return tiny(c) if args["tiny"] else c
