"""Random damage and random folders: everything works or is refused in a sentence.

More of them: ``python -m benchmarks.fuzz --kind images --kind folders``.
"""

import collections
import resource

import numpy as np
import pytest

from benchmarks.fuzzing import folders, images

GIB_IN_KIB = 2**20


# Pillow warns of damage that it can live with, and of large images.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", [images, folders])
def test_random_input_works_or_is_refused(kind, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("untouched")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = collections.Counter()
    for case in range(40):
        folder = tmp_path / str(case)
        folder.mkdir()
        path = kind.example(np.random.default_rng((1, case)), folder)
        assert path.is_relative_to(folder)
        made = sorted(folder.rglob("*"))
        outcomes[kind.outcome(path)] += 1
        assert sorted(folder.rglob("*")) == made
    assert min(outcomes["works"], outcomes["refused"]) >= 10
    assert outcomes.total() == 40
    assert outside.read_text() == "untouched"
    assert len(list(tmp_path.iterdir())) == 41
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIB_IN_KIB
