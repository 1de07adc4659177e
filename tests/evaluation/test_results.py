import hashlib
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fgjax.errors import UserError
from fgjax.evaluation import results
from fgjax.files import replacing

SUMMARY = {
    "n": 40,
    "top1": {"value": 0.75, "low": 0.6, "high": 0.86, "n": 40},
    "nll": 1.25,
    "chance": {"top1": 0.1},
}
PARAMS = {
    "conv2": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "conv1": {"bias": np.array([1, 2], jnp.bfloat16), "scale": np.float32(3)},
}
STATISTICS = {"conv1": {"mean": np.zeros(2, np.float32)}}


def test_scores_are_stored_with_their_bounds_beside_them(tmp_path):
    results.record(tmp_path, "test", SUMMARY, confusions=[{"first": "tern", "errors": np.int64(3)}])
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored == {
        "format_version": 1,
        "evaluations": {"test": 1},
        "test": {
            "n": 40,
            "top1": 0.75,
            "top1_low": 0.6,
            "top1_high": 0.86,
            "nll": 1.25,
            "chance": {"top1": 0.1},
            "confusions": [{"first": "tern", "errors": 3}],
        },
    }
    assert results.read(tmp_path) == stored


def test_every_look_at_a_split_is_counted(tmp_path):
    results.record(tmp_path, "validation", SUMMARY)
    results.record(tmp_path, "test", SUMMARY, after="head")
    results.record(tmp_path, "test", SUMMARY, seconds=1.0)
    stored = results.record(tmp_path, "test", SUMMARY)
    assert stored["evaluations"] == {"validation": 1, "test": 3}
    assert stored["test_after_head"]["top1"] == 0.75
    assert "seconds" not in stored["test"]


def test_sections_are_merged(tmp_path):
    results.update(
        tmp_path, {"train": {"seconds": jnp.float32(2), "steps": 5}, "protocol": "final"}
    )
    stored = results.update(tmp_path, {"train": {"steps": np.int64(6)}, "params_digest": "ab"})
    assert stored == {
        "format_version": 1,
        "train": {"seconds": 2.0, "steps": 6},
        "protocol": "final",
        "params_digest": "ab",
    }


def test_failed_write_keeps_the_old_results(tmp_path):
    before = results.record(tmp_path, "test", SUMMARY)
    with pytest.raises(ValueError, match="JSON compliant"):
        results.update(tmp_path, {"train": {"loss": float("nan")}})
    with pytest.raises(TypeError), replacing(tmp_path / "results.json") as file:
        file.writelines([b"half a", "file"])
    assert results.read(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"format_version": 1, "tes')
    with pytest.raises(UserError, match=r"results\.json is not a results file"):
        results.read(tmp_path)
    path.write_text("[]")
    with pytest.raises(UserError, match=r"results\.json is not a results file"):
        results.read(tmp_path)
    path.write_text('{"format_version": 99}')
    with pytest.raises(UserError, match="format version 99, but this fgjax reads 1"):
        results.update(tmp_path, {})


def test_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*results.json .*may write to"):
        results.update(tmp_path / "file", {})


def test_params_digest_follows_its_definition():
    expected = hashlib.sha256()
    leaves = flatten_dict({"batch_stats": STATISTICS, "params": PARAMS}, sep="/")
    assert list(leaves) != sorted(leaves)
    for path in sorted(leaves):
        shape = ",".join(map(str, leaves[path].shape))
        expected.update(
            b"\0".join([path.encode(), leaves[path].dtype.name.encode(), shape.encode()])
        )
        expected.update(b"\0" + leaves[path].tobytes())
    assert results.params_digest(PARAMS, STATISTICS) == expected.hexdigest()


def test_params_digest_does_not_depend_on_order_container_or_byte_order():
    digest = results.params_digest(PARAMS, STATISTICS)
    swapped = dict(reversed(PARAMS.items()))
    swapped["conv2"] = {"kernel": PARAMS["conv2"]["kernel"].astype(">f4")}
    swapped["conv1"] = {name: jnp.asarray(leaf) for name, leaf in PARAMS["conv1"].items()}
    assert results.params_digest(swapped, STATISTICS) == digest


@pytest.mark.parametrize(
    "kernel",
    [
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.nextafter(np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(9)),
    ],
    ids=["shape", "dtype", "last bit"],
)
def test_params_digest_sees(kernel):
    changed = PARAMS | {"conv2": {"kernel": kernel}}
    before = results.params_digest(PARAMS, STATISTICS)
    assert results.params_digest(changed, STATISTICS) != before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_write_protected_workdir_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        results.update(tmp_path, {})
