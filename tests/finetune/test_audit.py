import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.finetune import audit
from fgjax.finetune.schedule import resolve

ASSIGNMENT = {"conv4/kernel": "conv4", "conv5/kernel": "conv5", "head/kernel": "head"}
PHASE = resolve([dict(name="tune", train={"conv5": dict(rate=1, bn="frozen"), "head": 1})], 5)[0]


def _state(conv4=1.0, conv5=1.0, mean=0.0):
    return SimpleNamespace(
        params={
            "conv4": {"kernel": jnp.full(4, conv4)},
            "conv5": {"kernel": jnp.full(4, conv5)},
            "head": {"kernel": jnp.zeros(4)},
        },
        batch_stats={"conv5": {"mean": jnp.full(2, mean)}},
        opt_state={"conv5": jnp.zeros(4, jnp.float32)},
    )


def test_reports_what_moved_and_what_did_not():
    before = audit.snapshot(_state(), ASSIGNMENT, PHASE)
    found = audit.check(before, _state(conv5=1.5), ASSIGNMENT, PHASE)
    assert found == {
        "name": "tune",
        "start": 0,
        "stop": 5,
        "rates": {"conv5": 1.0, "head": 1.0},
        "frozen": ["conv4", "conv5 (statistics)"],
        "moved": {"conv5": 0.5, "head": None},
        "optimizer_bytes": 16,
    }


@pytest.mark.parametrize(
    ("moved", "name"),
    [
        ({"conv4": np.nextafter(np.float32(1), np.float32(2))}, "conv4"),
        ({"mean": -0.0}, r"conv5 \(statistics\)"),
    ],
)
def test_one_bit_is_enough(moved, name):
    before = audit.snapshot(_state(), ASSIGNMENT, PHASE)
    with pytest.raises(audit.AuditError, match=f"'tune' froze {name}, but they changed"):
        audit.check(before, _state(**moved), ASSIGNMENT, PHASE)


def test_a_run_that_goes_on_in_the_middle_is_compared_with_the_phases_first_step(tmp_path):
    before = audit.snapshot(_state(), ASSIGNMENT, PHASE)
    with open(tmp_path / "start.npz", "wb") as file:
        audit.write(before, file)
    kept = audit.read(tmp_path / "start.npz", PHASE)
    found = audit.check(kept, _state(conv5=1.5), ASSIGNMENT, PHASE)
    assert found["moved"] == {"conv5": 0.5, "head": None}
    with pytest.raises(audit.AuditError, match="froze conv4"):
        audit.check(kept, _state(conv4=2.0), ASSIGNMENT, PHASE)
    other = dataclasses.replace(PHASE, start=1)
    assert audit.read(tmp_path / "start.npz", other) is None
    assert audit.read(tmp_path / "absent.npz", PHASE) is None
