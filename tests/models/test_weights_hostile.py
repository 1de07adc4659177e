"""Weight files that were made to harm: refused in one sentence and little memory."""

import re
import struct
import zipfile

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hostile import MEGABYTE, refusal

from benchmarks.fuzzing import weight_files
from benchmarks.fuzzing.weight_files import number, zipped
from fgjax.models.weights import files, opcodes, pickles, reading


def described(program):
    """A file of PyTorch's whose pickle is ``program``."""
    return weight_files.pytorch(lambda _: program)


@pytest.mark.parametrize("kind", weight_files.WHOLE)
def test_whole_files_are_read_bit_for_bit(tmp_path, kind):
    path = tmp_path / f"w{kind}"
    path.write_bytes(weight_files.WHOLE[kind]())
    found, _ = files.read_file(path)
    assert found.keys() == weight_files.TENSORS.keys()
    for name, value in weight_files.TENSORS.items():
        expected = value.astype(np.float32) if kind == ".npz" else value
        assert found[name].dtype == expected.dtype and found[name].shape == expected.shape
        assert found[name].tobytes() == expected.tobytes()


# Pickles that change or call what they name ------------------------------------------------------


STATE = b"(I3\nS'>'\nNNNI8\nI16\nI0\ntb."  # with which BUILD would change NumPy's own bfloat16


@pytest.mark.parametrize(
    "program",
    [
        b"ctorch\nBFloat16Storage\n" + STATE,
        b"ctorch._utils\n_rebuild_tensor\n}X\x08\x00\x00\x00__name__X\x01\x00\x00\x00xsb.",
        b"ctorch._utils\n_rebuild_tensor\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",
        b"ctorch\nSize\n}X\x01\x00\x00\x00aK\x01sb.",
        b"]}b.",
        b"}}b.",
    ],
    ids=["dtype", "function", "slots", "type", "list", "dict"],
)
def test_a_file_that_would_change_the_process_is_refused_and_changes_nothing(tmp_path, program):
    message = refusal(tmp_path / "w.pth", described(program))
    assert "was refused: it changes what is no OrderedDict" in message
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2
    assert np.arange(4).astype(ml_dtypes.bfloat16).copy().nbytes == 8
    assert jnp.arange(4, dtype=jnp.bfloat16).nbytes == 8
    assert pickles._rebuild_tensor.__name__ == "_rebuild_tensor"
    assert pickles._rebuild_tensor.__defaults__ is None


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"ctorch\nFloatStorage\n)R.", "it calls what no tensor needs"),
        (b"X\x01\x00\x00\x00a)R.", "it calls what no tensor needs"),
        (b"ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ, which no tensor needs"),
        (b"(icollections\nOrderedDict\n.", "instruction INST, which no tensor needs"),
        (b"(ccollections\nOrderedDict\no.", "instruction OBJ, which no tensor needs"),
        (b"\x82\x01.", "instruction EXT1, which no tensor needs"),
        (b"\x8f(K\x01\x90.", "instruction EMPTY_SET, which no tensor needs"),
        (b"ctorch\nSize\nK\x01a.", "it changes what is no list"),
        (b"]K\x01K\x02s.", "it changes what is no dict"),
        (b"cos\nsystem\n.", r"it names os.system, which no tensor needs"),
        (b"X\x02\x00\x00\x00osX\x03\x00\x00\x00a\nb\x93.", r"it names os.a\nb, which no"),
        (b"ctorch._utils\n_rebuild_tensor.__globals__\n.", "__globals__, which no tensor needs"),
    ],
)
def test_only_what_describes_tensors_is_understood(tmp_path, program, message):
    assert message in refusal(tmp_path / "w.pth", described(program))


@pytest.mark.parametrize(
    "program",
    [
        b"}" + b")" + b"\x85" * 100_000 + b"K\x01s.",  # its hash would overflow the stack
        b")" + b"\x85" * 100_000 + b".",
        b"]" + b"(" * 100_000 + b"l" * 100_000 + b".",
        b"]q\x00h\x00a.",  # a list that holds itself
        b"Nr\xff\xff\xff\xffN.",  # Python makes room for four billion values
        b"Np99999999999999999999999\n.",
        b"\x8b\xff\xff\xff\x7f\x00.",
        b"B\xff\xff\xff\xffx.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        b"I" + b"9" * 5000 + b"\n.",
        b"h\x07.",
        b"t.",
        b"",
    ],
)
def test_deep_long_and_broken_programs_end_in_a_sentence(tmp_path, program):
    assert "w.pth " in refusal(tmp_path / "w.pth", described(program), most=50 * MEGABYTE)


def test_a_program_may_not_go_on_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(opcodes, "MOST_INSTRUCTIONS", 1000)
    path = tmp_path / "w.pth"
    assert "more than 1,000 instructions" in refusal(path, described(b"N" * 1000 + b"."))
    # A long list that is copied again and again.
    listed = b"](" + b"K\x01K\x02\x86" * 200 + b"eq\x00"
    copy = b"ccollections\nOrderedDict\nh\x00\x85R"
    assert "calls take more than 1,000 values" in refusal(path, described(listed + copy * 6 + b"."))


# Sizes ------------------------------------------------------------------------------------------


def reshaped(shape, strides, offset=0, length=54):
    """A file whose first tensor is such a view of a storage of 54 numbers."""
    new = iter([length, offset, *shape, *strides])

    def change(program):
        # The tensor's numbers are the first ones of the program, and stand in this order.
        return re.sub(rb"\x8a\x08(?s:.{8})", lambda _: number(next(new)), program, count=10)

    return weight_files.pytorch(change)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (10**6, 10**6, 1, 1), "strides": (0, 0, 0, 0)}, "become 4,000,000,"),
        ({"shape": (10**8, 1, 1, 1), "strides": (0, 0, 0, 0)}, "become 400,000,"),
        ({"shape": (2**62, 2**62, 2**62, 2**62), "strides": (0, 0, 0, 0)}, "become"),
        ({"shape": (-1, 3, 3, 3), "strides": (27, 9, 3, 1)}, "no whole number from 0"),
        ({"shape": (2, 3, 3, 3), "strides": (-27, 9, 3, 1)}, "no whole number from 0"),
        ({"shape": (2, 3, 3, 3), "strides": (27, 9, 3, 1), "offset": -1}, "no whole number from 0"),
        ({"shape": (2, 3, 3, 3), "strides": (27, 9, 3, 1), "offset": 1}, "beyond its storage"),
        ({"shape": (2, 3, 3, 3), "strides": (2**62, 9, 3, 1)}, "beyond its storage"),
        ({"shape": (2, 3, 3, 3), "strides": (27, 9, 3, 1), "length": 2**62}, "has 216 of"),
        ({"shape": (2, 3, 3, 3), "strides": (27, 9, 3, 1), "length": -1}, "length is no whole"),
    ],
)
def test_a_tensor_of_another_size_than_its_numbers_is_refused_unmade(tmp_path, changes, message):
    assert message in refusal(tmp_path / "w.pth", reshaped(**changes))


def test_a_view_that_repeats_a_few_numbers_is_read(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(reshaped((2, 3, 4, 5), (0, 1, 0, 0)))
    found = files.read_file(path)[0]["conv1.weight"]
    expected = np.broadcast_to(np.float32([0, 1, 2])[:, None, None], (2, 3, 4, 5))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_an_archive_that_would_fill_the_memory_is_refused_unread(tmp_path, suffix):
    bomb = {"archive/data.pkl": b"N.", "archive/data/0": bytes(70 * MEGABYTE)}
    content = zipped(bomb, zipfile.ZIP_DEFLATED)
    message = refusal(tmp_path / f"w.{suffix}", content)
    assert f"its {len(content):,} bytes would become 70,000,002, more than the" in message
    # The same with another length in its headers.
    lying = content.replace(struct.pack("<I", 70 * MEGABYTE), struct.pack("<I", 10))
    assert lying != content
    assert "is not a readable" in refusal(tmp_path / f"w.{suffix}", lying)


def test_an_archive_packed_by_a_method_without_bounds_is_refused(tmp_path):
    content = weight_files.npz(method=zipfile.ZIP_BZIP2)
    assert "packed by an unusual method" in refusal(tmp_path / "w.npz", content)


def test_two_tensors_of_the_same_name_are_refused(tmp_path):
    def change(program):
        short, long = b"X\x08\x00\x00\x00bn1.bias", b"X\x13\x00\x00\x00module.conv1.weight"
        assert short in program
        return program.replace(short, long)

    message = refusal(tmp_path / "w.pth", weight_files.pytorch(change))
    assert "two of its tensors have the same name" in message


def test_honest_files_stay_far_below_the_bound():
    for make in weight_files.WHOLE.values():
        size = len(make())
        made = sum(value.nbytes for value in weight_files.TENSORS.values())
        assert made < reading.limit(size) / 1000
    assert reading.limit(10**9) < 17 * 10**9
