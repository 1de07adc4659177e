"""safetensors and NumPy archives that hold no plain numbers, or other ones than they say."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hostile import refusal
from safetensors.numpy import save

from benchmarks.fuzzing import weight_files
from benchmarks.fuzzing.weight_files import zipped
from fgjax.errors import UserError
from fgjax.models.weights import files

# safetensors ------------------------------------------------------------------------------------


def safetensors_of(data, **header):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_tensors_of_eight_bits_are_read(tmp_path):
    path = tmp_path / "w.safetensors"
    value = np.arange(6).astype(ml_dtypes.float8_e4m3fn).reshape(2, 3)
    entry = {"dtype": "F8_E4M3", "shape": [2, 3], "data_offsets": [0, 6]}
    path.write_bytes(safetensors_of(value.tobytes(), a=entry))
    found = files.read_file(path)[0]["a"]
    assert found.dtype == value.dtype and found.tobytes() == value.tobytes()
    files.write_file(path, {"a": found}, {})
    assert files.read_file(path)[0]["a"].tobytes() == value.tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            safetensors_of(bytes(8), a={"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}),
            "was refused: a is C64; write it as F32, F16 or BF16",
        ),
        (
            safetensors_of(bytes(4), a={"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}),
            "was refused: a is F4; write it as F32, F16 or BF16",
        ),
        (
            safetensors_of(
                bytes(8),
                a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                b={"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
            ),
            "is not a readable safetensors file",
        ),
        (
            safetensors_of(b"", a={"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}),
            "is not a readable safetensors file",
        ),
        (struct.pack("<Q", 2**60) + b"{}", "is not a readable safetensors file"),
        (struct.pack("<Q", 10**5) + b"[" * 10**5, "is not a readable safetensors file"),
        (save({"a": np.ones(100)})[:-1], "is not a readable safetensors file"),
        (b"", "is not a readable safetensors file"),
    ],
)
def test_safetensors_that_cannot_be_ends_in_a_sentence(tmp_path, content, message):
    assert message in refusal(tmp_path / "w.safetensors", content)


# NumPy archives ---------------------------------------------------------------------------------


def header_changed(before, after):
    def change(content):
        assert before in content and len(before) == len(after)
        return content.replace(before, after)

    return weight_files.npz(change)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header_changed(b"<f4", b"|O8"), "is of type object, which no weights are"),
        (header_changed(b"<f4", b"<U1"), "is of type <U1, which no weights are"),
        (header_changed(b"<f4", b"<c8"), "is of type complex64, which no weights are"),
        (header_changed(b"<f4", b"<f8"), "another size than its header says"),
        (header_changed(b"(2, 3, 3, 3), }      ", b"(99999999999, 9), }  "), "another size"),
        (header_changed(b"(2, 3, 3, 3)", b"(2,3,-3,-3) "), "another size than its header says"),
        (header_changed(b"NUMPY\x01", b"NUMPY\x03"), "is of version (3, 0)"),
        (zipped({"a.npy": b"plain text"}), "is not a readable .npz file of plain arrays"),
        (b"PK\x05\x06" + bytes(10), "is not a readable .npz file of plain arrays"),
    ],
)
def test_an_archive_that_holds_no_plain_numbers_ends_in_a_sentence(tmp_path, content, message):
    assert message in refusal(tmp_path / "w.npz", content)


def test_an_archive_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, a=np.array([{"a": 1}], dtype=object))
    message = refusal(path, path.read_bytes())
    assert "a.npy is of type object, which no weights are; write plain numbers" in message


def test_an_archive_is_not_written_where_it_would_lose_the_type(tmp_path):
    value = np.ones(3, ml_dtypes.bfloat16)
    with pytest.raises(UserError, match=r"w\.npz cannot hold a, which is bfloat16; write a \.safe"):
        files.write_file(tmp_path / "w.npz", {"a": value}, {})
    assert not (tmp_path / "w.npz").exists()
