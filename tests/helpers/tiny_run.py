"""The quick start in its tiny form: a whole run in seconds."""

import os
import subprocess
import sys
from pathlib import Path

from configs import quickstart

ROOT = Path(__file__).parents[2]


def config(cache, protocol="final", epochs=3.0):
    c = quickstart.get_config("tiny")
    c.data.cache_dir = str(cache)
    c.protocol = protocol
    c.train.epochs = epochs
    return c


def command(*arguments, **options):
    """``python -m fgjax.main`` in a process of its own, started and not waited for."""
    env = os.environ | {"COLUMNS": "120", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-m", "fgjax.main", *map(str, arguments)],
        cwd=ROOT,
        env=env | options,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def quickstart_flags(cache, workdir, *overrides):
    return (
        "--config=configs/quickstart.py:tiny",
        f"--config.data.cache_dir={cache}",
        f"--workdir={workdir}",
        *overrides,
    )
