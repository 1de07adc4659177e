"""Your own photos: a compact bilinear network learns the classes of a folder.

    python -m fgjax.main --config configs/own_photos.py --config.data.dir=PATH \
        --workdir runs/own_photos
    python -m fgjax.main --workdir runs/own_photos --mode predict PHOTO.jpg

PATH holds one folder for each class, and the folder's name is the name of the class:

    PATH/train/robin/1.jpg …    PATH/val/robin/9.jpg …    PATH/test/robin/14.jpg …
    PATH/train/wren/1.jpg …     PATH/val/wren/9.jpg …     PATH/test/wren/14.jpg …

``val`` and ``test`` may be missing. Without ``val`` a fifth of the training photos of each class
is held out for validation. Without ``train`` the classes lie in PATH itself (PATH/robin/1.jpg …),
and a fifth of each, chosen by file name, becomes the test split. Ten photos of a class are a
beginning, thirty are good; a file that is no photo is named, and --config.data.skip_broken=True
goes on without it.

The head learns on the frozen ImageNet trunk, then conv4 and conv5 join in. In the protocol
"develop" the best step by validation is kept; for the one figure to report, train with
``:protocol=final`` on all of ``train`` and ``val``, and ``test`` is scored once.

Arguments:
    the backbone: "efficientnet_lite0", or "resnet50", "vgg16", …
    protocol: "develop" or "final".
    size: side of the input in pixels; finer detail shows at 320 or 448, for 2 or 4 times the time.
    weights: "default", a file, "hf:timm/NAME" or "none".
    tiny: a narrow, truncated network without weights on small images, for tests.
"""

from fgjax.config import default, model, parse_arguments, tiny
from fgjax.finetune import recipes


def get_config(arguments=""):
    args = parse_arguments(
        arguments,
        first="backbone",
        backbone="efficientnet_lite0",
        protocol="develop",
        size=224,
        weights="default",
        tiny=False,
    )
    c = default()
    c.protocol = args["protocol"]
    c.data.name = "image_folder"
    c.data.image_size = args["size"]
    c.data.batch_size = 16
    c.data.sampling = "balanced"
    c.model = model(
        args["backbone"],
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
    c.train.ema = 0.99
    c.train.augment = dict(
        scale=(0.35, 1.0), ratio=(0.75, 1.333), flip=0.5, brightness=0.2, contrast=0.2
    )
    c.train.checkpoint_epochs = 5.0
    c.evaluate.epochs = 5.0
    return tiny(c) if args["tiny"] else c
