"""Every shipped config states a recogniser that fits together and a schedule that resolves."""

import importlib.util
from pathlib import Path

import jax
import pytest

from fgjax.checking.options import named
from fgjax.evaluation import views
from fgjax.finetune import groups, resolve
from fgjax.run import experiment
from fgjax.training import objectives

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TINY = [path for path in CONFIGS if "    tiny:" in path.read_text()]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_builds_and_trains_groups_that_exist(path):
    module = loaded(path)
    c = module.get_config("weights=none")
    c.data.image_size = 64
    check(c)
    assert f"configs/{path.name}" in module.__doc__  # its exact command


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_its_tiny_form_has_the_same_parts(path):
    module = loaded(path)
    c, whole = module.get_config("tiny"), module.get_config("weights=none")
    for part in ("merge", "attention", "pooling", "head"):
        assert c.model[part].name == whole.model[part].name
    assert (c.train.objective, c.evaluate.views) == (whole.train.objective, whole.evaluate.views)
    assert c.data.image_size == 64
    check(c)


def check(c):
    """The parts fit, and what the schedule trains exists."""
    model = experiment.build_model(c, classes=5)
    params = jax.eval_shape(lambda: model.initialize(0))["params"]
    existing = set(groups.counts(params, groups.assign(params)))
    for phase in resolve(c.schedule, 1000):
        assert set(phase.groups) <= existing
    name, options = named("train.objective", c.train.objective)
    objectives.create(name, **options)
    views.resolve(c.evaluate.views)
