"""Command line of fgjax: flags, and what they start.

python -m fgjax.main --config configs/quickstart.py --workdir runs/quickstart
python -m fgjax.main --mode evaluate --workdir runs/quickstart --split test
python -m fgjax.main --mode predict --workdir runs/quickstart photo.jpg folder/
"""

from __future__ import annotations

import os
import sys

from absl import flags, logging
from ml_collections import config_flags

from fgjax.errors import UserError
from fgjax.run import interrupts
from fgjax.run.flags import explained, with_parts

MODES = ("train", "evaluate", "predict", "analyze")
SPLITS = ("validation", "test")
INTERRUPTED = "interrupted; the same command begins again, or goes on from what was saved"


def parse(argv: list[str]) -> flags.FlagValues:
    """The flags of a command line, the config file read; ``images`` takes what stands after them.

    Raises:
        UserError: an unknown flag or config key, a value of the wrong type, a faulty config file.
    """
    argv = with_parts(argv)
    values = flags.FlagValues()
    text = "An experiment: FILE[:ARGUMENT,KEY=VALUE...]; --config.KEY=VALUE overrides a key of it."
    config_flags.DEFINE_config_file("config", None, text, values, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, results.", values)
    flags.DEFINE_enum("mode", "train", MODES, "What to do.", values)
    flags.DEFINE_enum("split", "validation", SPLITS, "What --mode evaluate scores.", values)
    flags.DEFINE_multi_string("images", [], "Photos or folders for --mode predict.", values)
    flags.DEFINE_bool("check", False, "Let --mode analyze test its advice by training.", values)
    flags.DEFINE_bool("help", False, "Show this text.", values, short_name="h")
    try:
        rest = values(argv)[1:]
        values["images"].value = [*values.images, *rest]
        if values.config is not None:
            values.config.to_dict()  # a file that failed to load reports it at its first use
    except Exception as error:  # a config file is the user's own code
        raise explained(error, argv) from error
    return values


def main(argv: list[str]) -> None:
    """Parse the flags and do what the mode says.

    Raises:
        UserError: anything that the user can put right.
    """
    values = parse(argv)
    if values.help:
        print(__doc__, values.get_help(), sep="\n")
        return
    if not values.workdir:
        raise UserError("--workdir is missing; name the folder of the run")
    from fgjax.run import train  # imports JAX, which a mistyped flag need not wait for

    match values.mode:
        case "train":
            if values.config is None:
                raise UserError("--config is missing; name an experiment, such as one in configs/")
            train.train(values.config, values.workdir)
        case "evaluate":
            train.evaluate(values.workdir, values.split, values.config)
        case "predict":
            train.predict(values.workdir, values.images)
        case "analyze":
            train.analyze([values.workdir, *values.images], values.config, values.check)


def run() -> None:
    """Run :func:`main`; what the user can put right ends in one sentence and exit status 2.

    Ctrl-C, and the system's request to end, end in one sentence and exit status 130.
    """
    logging.set_verbosity(logging.FATAL)  # what Orbax logs is not for users
    try:
        with interrupts.handled():
            main(sys.argv)
    except UserError as error:
        print(f"fgjax: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        print(f"\nfgjax: {str(error) or INTERRUPTED}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: it waits for threads, of which one may compile for minutes.
        os._exit(130)


if __name__ == "__main__":
    run()
