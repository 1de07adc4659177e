"""Weight files changed at random: read, or refused in one sentence; nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzzing import weight_files
from benchmarks.fuzzing import weights as fuzzing
from fgjax.models import weights


@pytest.mark.parametrize("kind", weight_files.WHOLE)
def test_the_files_that_are_changed_are_whole(tmp_path, kind):
    path = tmp_path / f"w{kind}"
    path.write_bytes(weight_files.WHOLE[kind]())
    assert fuzzing.outcome(path) == "works"
    source = weights.read(path, weight_files.BACKBONE)
    matched, problems = weights.match(source.tensors, weight_files.BACKBONE, weight_files.TEMPLATE)
    assert matched.keys() == weight_files.TEMPLATE.keys() and not problems


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("changed")


@settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_changed_file_is_read_or_refused_in_one_sentence(folder, seed):
    path = fuzzing.example(np.random.default_rng(seed), folder)
    try:
        assert fuzzing.outcome(path) in ("works", "refused")
    finally:
        path.unlink()


def test_what_changes_a_type_or_a_file_is_noticed(tmp_path, monkeypatch):
    path = fuzzing.example(np.random.default_rng(0), tmp_path)

    def meddling(path, name):
        (tmp_path / "left behind").touch()
        raise weights.UserError(f"{path} was refused")

    monkeypatch.setattr(weights, "read", meddling)
    with pytest.raises(AssertionError, match="changed something"):
        fuzzing.outcome(path)
