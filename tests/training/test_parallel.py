import logging

import jax
import numpy as np
import pytest
import tiny_run

from fgjax.errors import UserError
from fgjax.evaluation import results
from fgjax.run import train
from fgjax.training import parallel


def test_unknown_modes_and_uneven_batches_are_named():
    mesh = parallel.make_mesh(4)
    with pytest.raises(UserError, match="'shard_map'; choose one of jit, pmap"):
        parallel.compile_step(lambda state, batch, axis_name: state, "shard_map", mesh)
    with pytest.raises(UserError, match="batch_size is 6, which 4 devices cannot share"):
        parallel.check_batch_size(6, mesh)


def _step(state, batch, *, axis_name):
    return state + parallel.psum(batch["x"].sum(), axis_name), {}


@pytest.mark.parametrize("mode", parallel.MODES)
def test_compiled_ahead_is_compiled_once_and_takes_the_real_arrays(mode):
    mesh = parallel.make_mesh(4)
    number = jax.ShapeDtypeStruct((), np.float32)
    shapes = number, {"x": jax.ShapeDtypeStruct((8,), np.float32)}
    step = parallel.compile_step(_step, mode, mesh, shapes=shapes)
    state = parallel.replicate(np.float32(1), mesh)
    for _ in range(3):
        state, _ = step(state, parallel.shard({"x": np.ones(8, np.float32)}, mesh))
    assert float(state) == 25


def test_every_phase_compiles_its_step_exactly_once(tmp_path, tmp_path_factory, caplog):
    c = tiny_run.config(tmp_path_factory.mktemp("cache"), "develop", epochs=6.0)
    head, tune = c.schedule
    last = dict(tune, name="last", train={"conv2": 0.01, "head": 0.1}, views=("center",))
    c.schedule = (head, tune, last)
    # The flag and not the context manager, which does not reach the thread that compiles.
    jax.config.update("jax_log_compiles", True)
    try:
        with caplog.at_level(logging.WARNING):
            train.train(c, str(tmp_path))
    finally:
        jax.config.update("jax_log_compiles", False)
    said = [r.getMessage() for r in caplog.records]
    compiled = [text for text in said if text.startswith("Compiling") and "train_step" in text]
    assert len(compiled) == 3, compiled
    assert list(results.read(tmp_path)["phases"]) == ["head", "tune", "last"]
