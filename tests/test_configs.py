"""Every shipped config states a recogniser that fits together and a schedule that resolves."""

import importlib.util
from pathlib import Path

import jax
import pytest

from fgjax import experiment
from fgjax.finetune import groups, resolve

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_builds_and_trains_groups_that_exist(path):
    module = loaded(path)
    c = module.get_config("weights=none")
    c.data.image_size = 64
    model = experiment.build_model(c, classes=5)
    params = jax.eval_shape(lambda: model.initialize(0))["params"]
    existing = set(groups.counts(params, groups.assign(params)))
    for phase in resolve(c.schedule, 1000):
        assert set(phase.groups) <= existing
    assert f"configs/{path.name}" in module.__doc__  # its exact command
