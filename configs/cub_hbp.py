"""Hierarchical bilinear pooling on CUB-200-2011 (Yu et al., ECCV 2018): levels that multiply.

    python -m fgjax.main --config configs/cub_hbp.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_hbp

Three levels, each projected to 8192 values, are multiplied pair by pair at every location. The
paper crosses the last three convolutions of VGG-16, which lie at one stride; the levels here are
the last map at each stride, so that conv3, conv4 and conv5 are crossed on conv3's grid. As the
authors' files in two stages: the projections and the head at rate 1 with decay 5e-6, then every
level at 0.001 with decay 5e-4.

Published: 87.1 % with VGG-16 at 448 px (quoted from memory), where the authors' files read images
cropped to the birds; one port reaches 80.4 to 84.5. Not reproduced here: it has not been trained at
full size.

Arguments:
    the backbone: "vgg16", "resnet50", "efficientnet_lite0", …
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.finetune import recipes
from fgjax.vocabulary import LEVELS


def get_config(arguments=""):
    c, args = cub200(arguments, backbone="vgg16")
    levels = ("conv3", "conv4", "conv5")
    c.model = model(
        args["backbone"],
        pooling={"name": "hierarchical_bilinear", "levels": levels, "d": 8192},
        weights=args["weights"],
    )
    new = {"pooling": 1.0, "head": 1.0}
    c.schedule = recipes.surgical(
        dict.fromkeys((*LEVELS, "pooling", "head"), 0.001),
        first=dict(share=30, train=new, decay=5e-6),
        share=50,
        decay=5e-4,
    )
    c.train.label_smoothing = 0.0
    c.train.epochs = 80.0
    c.train.augment = dict(scale=(0.766, 0.766), flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    return tiny(c) if args["tiny"] else c
