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
from fgjax.run import interrupts, modes
from fgjax.run.flags import explained, with_parts, with_run

INTERRUPTED = "interrupted; the same command begins again, or goes on from what was saved"


def parse(argv: list[str]) -> flags.FlagValues:
    """The flags of a command line, the config file read; ``images`` takes what stands after them.

    Raises:
        UserError: an unknown flag or config key, a value of the wrong type, a faulty config file.
    """
    argv = with_run(with_parts(argv))
    values = flags.FlagValues()
    text = "An experiment: FILE[:ARGUMENT,KEY=VALUE...]; --config.KEY=VALUE overrides a key of it."
    config_flags.DEFINE_config_file("config", None, text, values, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, results.", values)
    modes.define(values)
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
    modes.MODES[values.mode].start(values)


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
