"""A run as a config file, so that flags change how it is scored: ``--config=THIS_FILE:WORKDIR``."""

from pathlib import Path

import ml_collections

from fgjax.config import default
from fgjax.run import workdir


def get_config(folder: str) -> ml_collections.ConfigDict:
    """The defaults with what the run in a folder says of its evaluation.

    Raises:
        UserError: there is no run in the folder.
    """
    c = default()
    c.evaluate.update(workdir.read_config(Path(folder).absolute()).evaluate)
    return c
