"""Command line of fgjax: flags, and what they start.

python -m fgjax.main --config configs/quickstart.py --workdir runs/quickstart
python -m fgjax.main --mode evaluate --workdir runs/quickstart --split test
python -m fgjax.main --mode predict --workdir runs/quickstart photo.jpg folder/
"""

from __future__ import annotations

import sys

from absl import flags
from ml_collections import config_flags

from fgjax.config import explained
from fgjax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "An experiment: FILE[:ARGUMENT,KEY=VALUE...]; --config.KEY=VALUE overrides."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, results.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate", "predict", "analyze"], "What to do with it."
)
_SPLIT = flags.DEFINE_enum(
    "split", "validation", ["validation", "test"], "What --mode evaluate scores."
)
_IMAGES = flags.DEFINE_multi_string(
    "images", [], "Photos or folders for --mode predict; also taken after the flags."
)
_CHECK = flags.DEFINE_bool("check", False, "Let --mode analyze test its advice by short trainings.")


def parse(argv: list[str]) -> list[str]:
    """Parse the flags, the config file among them, and return what stands after them.

    Raises:
        UserError: an unknown flag or config key, a value of the wrong type, a faulty config file.
    """
    try:
        rest = flags.FLAGS(argv)[1:]
        if _CONFIG.value is not None:
            _CONFIG.value.to_dict()  # a file that failed to load reports it at its first use
    except Exception as error:  # a config file is the user's own code
        raise explained(error) from error
    return rest


def main(argv: list[str]) -> None:
    """Parse the flags and do what the mode says.

    Raises:
        UserError: anything that the user can put right.
    """
    images = parse(argv)
    if not _WORKDIR.value:
        raise UserError("--workdir is missing; name the folder of the run")
    from fgjax import commands  # imports JAX, which a mistyped flag need not wait for

    match _MODE.value:
        case "train":
            if _CONFIG.value is None:
                raise UserError("--config is missing; name an experiment, such as one in configs/")
            commands.train(_CONFIG.value, _WORKDIR.value)
        case "evaluate":
            commands.evaluate(_WORKDIR.value, _SPLIT.value)
        case "predict":
            commands.predict(_WORKDIR.value, [*_IMAGES.value, *images])
        case "analyze":
            commands.analyze(_WORKDIR.value, check=_CHECK.value)


def run() -> None:
    """Run :func:`main`; what the user can put right ends in one sentence and exit status 2."""
    try:
        main(sys.argv)
    except UserError as error:
        print(f"fgjax: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
