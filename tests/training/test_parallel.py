import pytest

from fgjax.errors import UserError
from fgjax.training import parallel


def test_unknown_modes_and_uneven_batches_are_named():
    mesh = parallel.make_mesh(4)
    with pytest.raises(UserError, match="'shard_map'; choose one of jit, pmap"):
        parallel.compile_step(lambda state, batch, axis_name: state, "shard_map", mesh)
    with pytest.raises(UserError, match="batch_size is 6, which 4 devices cannot share"):
        parallel.check_batch_size(6, mesh)
