"""The plan of the house: who may know whom, how long a file is, how a message reads.

The walls are contracts in pyproject.toml, drawn in docs/architecture.md. A file or a function that
has grown too long is split; its limit stays.
"""

import ast
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fgjax"
BASES = (PACKAGE, ROOT)
TOP = {"__init__.py", "main.py", "config.py", "vocabulary.py", "errors.py", "files.py"}
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"


def lint(folder):
    """Exit status and words of import-linter, without its drawing, for the fgjax in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"], cwd=folder, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_no_room_looks_through_a_wall():
    status, said = lint(ROOT)
    assert status == 0, said
    assert " 0 broken" in said


WRONG = {
    "ops/resize.py": "fgjax.errors",
    "errors.py": "fgjax.vocabulary",
    "data/decode.py": "fgjax.models.recognizer",
    "finetune/groups.py": "fgjax.data.pipeline",
    "models/layers.py": "fgjax.files",
    "training/logs.py": "fgjax.models.factory",
    "evaluation/metrics.py": "fgjax.models.layers",
    "show/plots.py": "fgjax.data.pipeline",
    "analysis/words.py": "fgjax.training.logs",
    "run/photos.py": "fgjax.main",
}


def test_every_arrow_that_is_drawn_the_wrong_way_is_seen(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "fgjax", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, other in WRONG.items():
        path = tmp_path / "fgjax" / file
        path.write_text(path.read_text() + f"\nimport {other}\n")
    (tmp_path / "fgjax" / "misc.py").touch()
    status, said = lint(tmp_path)
    assert status == 1
    for file, other in WRONG.items():
        module = "fgjax." + file.removesuffix(".py").replace("/", ".")
        assert f"{module} -> {other} " in said, f"{module} -> {other}"
    assert "fgjax.misc" in said


def test_at_the_top_lie_the_few_files_that_every_room_knows():
    assert {path.name for path in PACKAGE.glob("*.py")} == TOP


def test_the_page_on_the_house_names_what_is_there():
    page = (ROOT / "docs/architecture.md").read_text()
    drawn = set(re.findall(r"(\w+)\[", page[: page.index("## The contracts")]))
    assert drawn >= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    files = set(re.findall(r"`([a-z_/]+\.py)`", page))
    assert len(files) > 20
    assert not [file for file in files if not any((base / file).exists() for base in BASES)]
    tables = re.findall(r"`([A-Z]+)` in `([a-z_/]+\.py)`", page)
    assert len(tables) > 5
    assert not [
        (name, file) for name, file in tables if f"\n{name}: " not in (PACKAGE / file).read_text()
    ]


def sources():
    return {path.relative_to(ROOT): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def test_a_file_is_read_in_one_sitting():
    lengths = {str(path): len(text.splitlines()) for path, text in sources().items() if text}
    assert not {path: length for path, length in lengths.items() if length > 260}
    assert statistics.median(lengths.values()) <= 130


def code_lines(function, lines):
    """The lines of a function that are neither blank, nor comment, nor its docstring."""
    numbers = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function) is not None:
        numbers -= set(range(function.body[0].lineno, function.body[0].end_lineno + 1))
    texts = [lines[number - 1].strip() for number in numbers]
    return sum(not text.startswith("#") for text in texts if text)


def test_a_function_does_one_thing():
    lengths = {
        f"{path}:{node.name}": code_lines(node, text.splitlines())
        for path, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }
    assert not {name: length for name, length in lengths.items() if length > 60}
    assert statistics.median(lengths.values()) <= 8


def ends(message):
    """What a message begins and ends with, as far as its source tells; else an empty string."""
    match message:
        case ast.Constant(value=str(text)):
            return text, text
        case ast.JoinedStr(values=[first, *_] as parts):
            return ends(first)[0], ends(parts[-1])[1]
        case ast.BinOp(left=left, right=right):
            return ends(left)[0], ends(right)[1]
        case _:
            return "", ""


def fault(message):
    """Why a message is not in the style of the house: "cannot write PATH; choose another"."""
    first, last = ends(message)
    word = first.split(" ", 1)[0]
    # HRNet and TFDS are names, The and Cannot are not.
    if word[:1].isupper() and word[1:].islower():
        return f"begins with {word!r}"
    return f"ends with {last[-20:]!r}" if last.rstrip().endswith(".") else None


def messages(text):
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id="UserError"), args=[message, *_]):
                yield node.lineno, message


def test_messages_are_in_one_style():
    found = [(path, *message) for path, text in sources().items() for message in messages(text)]
    assert len(found) > 200
    faults = {f"{path}:{line}": fault(message) for path, line, message in found}
    assert not {place: why for place, why in faults.items() if why}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ('UserError("Cannot write; choose another folder")', "begins with 'Cannot'"),
        ('UserError(f"cannot write {path}.")', "ends with '.'"),
        ('UserError(f"{path} is " + ("no folder" if a else "no file"))', None),
        (
            'UserError(f"cannot write {path}" + "; choose another. ")',
            "ends with '; choose another. '",
        ),
        ('UserError(f"HRNet has no {level}")', None),
        ('UserError(f"{path}: {error}")', None),
    ],
)
def test_another_style_is_seen(source, why):
    [(_, message)] = messages(source)
    assert fault(message) == why
