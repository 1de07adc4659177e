"""Checkpoints come back bit for bit; what is damaged is named and passed over."""

import jax
import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.ops import trees
from fgjax.training import checkpoints, restoring
from fgjax.training.state import TrainState


def state(step=1, width=3, ema=True):
    rng = np.random.default_rng(step)
    params = {
        "conv1": {"kernel": rng.normal(size=(2, width)).astype(np.float32)},
        "head": {"kernel": rng.normal(size=(width, 2)).astype(np.float32)},
    }
    batch_stats = {"conv1": {"bn": {"mean": np.ones(width, np.float32)}}}
    return TrainState(
        step=np.int32(step),
        params=params,
        batch_stats=batch_stats,
        constants={"pooling": {"hashes": rng.integers(0, 9, 4, np.int32)}},
        opt_state={"head": ({"trace": {"head/kernel": params["head"]["kernel"] * 2}},)},
        ema={"params": params, "batch_stats": batch_stats} if ema else None,
        aux={},
    )


def save(where, *states, best_by=None, scores=()):
    with checkpoints.manager(where, best_by) as manager:
        for index, one in enumerate(states):
            scored = scores and scores[index] is not None
            checkpoints.save(manager, one, {"seed": 7})
            if scored:
                manager.wait_until_finished()
                checkpoints.complete(where, int(one.step), {"score": {"top1": scores[index]}})
        manager.wait_until_finished()


def test_a_state_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, state(4))
    back, meta = restoring.restored_state(tmp_path, state(0), print)
    for name in ("params", "batch_stats", "constants", "opt_state", "ema"):
        saved = trees.by_path(getattr(state(4), name))
        restored = trees.by_path(getattr(back, name))
        assert saved.keys() == restored.keys()
        jax.tree.map(np.testing.assert_array_equal, saved, restored)
    assert back.step == 4 and meta["seed"] == 7


def test_without_a_checkpoint_the_start_stays(tmp_path):
    start = state(0)
    back, meta = restoring.restored_state(tmp_path, start, print)
    assert back is start and meta is None


def largest_file(where, step, item):
    folder = where / "checkpoints" / str(step) / item
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "item missing"])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(tmp_path, damage):
    save(tmp_path, state(1), state(2))
    path = largest_file(tmp_path, 2, "params")
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "bit flipped":
        data[len(data) // 2] ^= 16
        path.write_bytes(data)
    else:
        for file in (tmp_path / "checkpoints" / "2" / "params").iterdir():
            if file.is_file():
                file.unlink()
    said = []
    back, _ = restoring.restored_state(tmp_path, state(0), said.append)
    assert back.step == 1
    assert "2" in said[0] and "the one before it is used" in said[0] and "\n" not in said[0]
    assert (tmp_path / "damaged-checkpoints" / "2").is_dir()
    assert checkpoints.steps(tmp_path) == [1]


def test_a_half_written_checkpoint_is_never_taken_for_a_whole_one(tmp_path):
    save(tmp_path, state(1))
    unfinished = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-17"
    (unfinished / "params").mkdir(parents=True)
    back, _ = restoring.restored_state(tmp_path, state(0), print)
    assert back.step == 1
    save(tmp_path, state(2))
    assert checkpoints.steps(tmp_path) == [1, 2]


def test_a_checkpoint_of_another_architecture_is_refused_and_kept(tmp_path):
    save(tmp_path, state(1))
    expected = r"of another architecture: 2 params differ \(conv1/kernel \(2, 3\) instead of"
    with pytest.raises(UserError, match=expected):
        restoring.restored_state(tmp_path, state(0, width=5), print)
    assert checkpoints.steps(tmp_path) == [1]


def test_the_best_and_the_two_latest_are_kept(tmp_path):
    states = [state(step) for step in range(1, 7)]
    save(tmp_path, *states, best_by="top1", scores=(0.5, 0.9, None, 0.3, None, 0.4))
    assert checkpoints.steps(tmp_path) == [2, 5, 6]
    assert checkpoints.chosen_step(tmp_path, best_by="top1") == 2
    assert checkpoints.chosen_step(tmp_path, best_by=None) == 6


def test_a_run_without_checkpoints_says_so(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint in .*train there first"):
        checkpoints.chosen_step(tmp_path, best_by="top1")
