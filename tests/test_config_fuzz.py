"""Whatever stands in a config, it works or ends in one sentence; see benchmarks/fuzzing."""

import numpy as np
import pytest

from benchmarks.fuzzing import configs

EACH = 6  # cases of a test, so that they can be shared among processes


@pytest.mark.parametrize("first", range(0, 36, EACH))
def test_a_config_with_random_faults_works_or_ends_in_one_sentence(first, tmp_path, monkeypatch):
    monkeypatch.chdir(configs.ROOT)
    for number in range(first, first + EACH):
        given = configs.example(np.random.default_rng(number), tmp_path)
        before = sorted(tmp_path.rglob("*"))
        assert configs.outcome(given) in ("works", "refused")
        assert sorted(tmp_path.rglob("*")) == before


def test_a_config_that_works_takes_a_step(tmp_path):
    given = next(
        given
        for number in range(100)
        if configs.outcome(given := configs.example(np.random.default_rng(number), tmp_path))
        == "works"
    )
    assert isinstance(configs.step(given), float)
