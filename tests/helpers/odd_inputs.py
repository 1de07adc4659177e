"""A kind of input for ``benchmarks.fuzz`` that does all that an input can do."""

import os

import numpy as np

WORKS, REFUSED, RAISES, DIES, STRAYS, GROWS = range(6)


def example(rng, folder):
    (folder / "input").write_text("of this case")
    return int(rng.integers(6)), folder


def outcome(case):
    what, folder = case
    if what == RAISES:
        raise KeyError("a traceback")
    if what == DIES:
        os._exit(7)
    if what == STRAYS:
        (folder / ".." / "stray").write_text("written elsewhere")
        (folder.parents[1] / "neighbor.txt").write_text("changed")
    if what == GROWS:
        np.empty(2**32, np.uint8)
    return "works" if what == WORKS else "refused"


def step(case):
    assert case[0] == WORKS
