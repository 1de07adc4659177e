"""What each way to keep fine detail adds, on 30 look-alike birds.

EfficientNet-Lite0 at 160 px, its trunk frozen in every row: what is new trains for 10 epochs on the
centre view and its mirror image, and "attention crop" on the crops and drops of WS-DAN as well.

    python -m benchmarks.ablate benchmarks/tables/parts.py --workdir runs/parts \
        --set data.dir=PATH/CUB_200_2011
"""

from fgjax.config import default, model

COMPACT = {"name": "compact_bilinear", "d": 8192}
COLUMN = {"name": "hypercolumn", "levels": ("conv4", "conv5")}
FPN = {"name": "fpn", "features": 128, "norm": True}
PARTS = {"name": "bilinear_attention", "levels": ("conv4",), "maps": 16}
BY_PART = {"name": "bilinear_attention", "levels": ("conv4",), "scale": 10.0}
SCALES = ("center", "flip", "center@1.25", "flip@1.25")


def get_config():
    """What the rows share."""
    c = default()
    c.data.name = "cub200"
    c.data.image_size = 160
    c.data.batch_size = 16
    c.model = model("efficientnet_lite0")
    c.train.epochs = c.train.checkpoint_epochs = c.evaluate.epochs = 10.0
    c.train.augment = dict(flip=0.5)
    return c


def phase(views=("center", "flip"), **rates):
    """One phase: what is new trains, on stored features where the views are finite."""
    return (dict(name="new", train=rates, decay=1e-5, warmup=0.1, views=views),)


def row(rates, views=("center", "flip"), evaluate=("center",), **parts):
    """Overrides of the plain network: parts of ``config.model``, and who trains at which rate."""
    return {f"model.{part}": value for part, value in parts.items()} | {
        "schedule": phase(views, **rates),
        "evaluate.views": evaluate,
    }


# Mean squared lengths, at the start, of what the head reads where the pooling does not normalise. A
# run divides the head's rate by them: the products below are rates for features of length one.
LATE, MIDDLE, PYRAMID, BY_PARTS = 1100, 2240, 14300, 100
ATTENTION = {"merge": COLUMN, "attention": PARTS, "pooling": BY_PART}
ROWS = {
    "late features, average": row({"head": 0.01 * LATE}),
    "bilinear": row({"head": 1.0}, pooling=COMPACT),
    "middle levels, average": row(
        {"head": 0.01 * MIDDLE}, pooling={"name": "average", "levels": ("conv3", "conv4", "conv5")}
    ),
    "middle levels, bilinear": row(
        {"head": 1.0}, merge=COLUMN, pooling=COMPACT | {"levels": ("conv4",)}
    ),
    "FPN, average": row(
        {"merge": 0.1, "head": 0.1 * PYRAMID},
        merge=FPN,
        pooling={"name": "average", "levels": ("conv3", "conv4", "conv5")},
    ),
    "FPN, bilinear": row(
        {"merge": 0.1, "head": 1.0}, merge=FPN, pooling=COMPACT | {"levels": ("conv4",)}
    ),
    "part attention": row({"attention": 0.1, "head": 0.03 * BY_PARTS}, **ATTENTION),
    "attention crop": row(
        {"attention": 0.1, "head": 0.03 * BY_PARTS},
        views=None,
        evaluate=("center", "attention"),
        **ATTENTION,
    )
    | {"train.objective": {"name": "wsdan"}},
    "views at two scales, bilinear": row(
        {"head": 1.0}, views=SCALES, evaluate=("center", "center@1.25"), pooling=COMPACT
    ),
    "image pyramid of 1 and 0.5, bilinear": row({"head": 1.0}, pooling=COMPACT, scales=(1.0, 0.5)),
    "image pyramid of 1 and 1.4, bilinear": row({"head": 1.0}, pooling=COMPACT, scales=(1.0, 1.4)),
}
