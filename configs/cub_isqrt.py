"""iSQRT-COV on CUB-200-2011 (Li et al., CVPR 2018): the square root of the covariance.

    python -m fgjax.main --config configs/cub_isqrt.py --config.data.dir=PATH/CUB_200_2011 \
        --workdir runs/cub_isqrt

conv5 at stride 1 (28 x 28 places at 448 px), a projection to 256 channels, five steps of
Newton-Schulz, the upper triangle. As the authors' code: SGD at 0.0012, the classifier five times
faster, decay 1e-4, batch 10, 100 epochs at a constant rate, mirrored images only, both mirror
images at test time.

Published: 88.1 % with ResNet-50; independent codes report 87.6, 88.0 and 88.8. All start from
weights trained on ImageNet *with* this pooling; the usual ones, which this config reads, were
trained with average pooling. Not reproduced here: it has not been trained at full size.

Arguments:
    the backbone: "resnet50", "resnet101", …
    size: side of the input in pixels.
    weights: "default", a file, "hf:timm/NAME" or "none".
    protocol: "develop" or "final".
    tiny: a narrow, truncated network without weights on a few synthetic birds, for tests.
"""

from fgjax.config import cub200, model, tiny
from fgjax.vocabulary import LEVELS


def get_config(arguments=""):
    c, args = cub200(arguments, batch_size=10, backbone="resnet50")
    c.model = model(
        args["backbone"],
        output_stride=16,
        pooling={"name": "isqrt_cov", "levels": ("conv5",), "project": 256},
        weights=args["weights"],
    )
    # The head's rate is divided by the mean squared length of the root, 390 for EfficientNet-Lite0.
    rates = dict.fromkeys((*LEVELS, "pooling"), 0.0012) | {"head": 0.006 * 390}
    c.schedule = (dict(name="all", train=rates, decay=1e-4, shape="constant"),)
    c.train.label_smoothing = 0.0
    c.train.epochs = 100.0
    c.train.augment = dict(flip=0.5)
    c.train.checkpoint_epochs = c.evaluate.epochs = 5.0
    c.evaluate.views = ("center", "flip")
    return tiny(c) if args["tiny"] else c
