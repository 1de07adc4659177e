"""Quick start: a compact bilinear network learns sixteen look-alike synthetic birds.

python -m fgjax.main --config configs/quickstart.py --workdir runs/quickstart
"""

from fgjax.config import default, model, parse_arguments


def get_config(arguments=""):
    args = parse_arguments(arguments, tiny=False, weights="default", epochs=38.0)
    c = default()
    c.protocol = "final"
    c.data.name = "synthetic_birds"
    c.data.image_size = 224
    c.data.batch_size = 16
    c.model = model(
        "efficientnet_lite0",
        pooling={"name": "compact_bilinear", "d": 8192},
        weights=None if args["weights"] == "none" else args["weights"],
    )
    c.schedule = (
        dict(name="head", share=30, train={"head": 1.0}, decay=1e-5, views=("center", "flip")),
        dict(
            name="middle",
            share=8,
            train={"conv4": 0.004, "conv5": 0.004, "head": 0.3},
            decay=1e-4,
            warmup=0.1,
        ),
    )
    c.train.epochs = args["epochs"]
    c.train.augment = dict(
        scale=(0.5, 1.0), ratio=(0.8, 1.25), flip=0.5, brightness=0.2, contrast=0.2
    )
    return c
