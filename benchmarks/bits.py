"""Does a change of the code change a bit of what it computes?

    python -m benchmarks.bits record before.json     # on the commit before the change
    python -m benchmarks.bits compare before.json    # on the commit after it

Runs the quick start and the ``tiny`` form of every config on one machine, analyses one of them,
and keeps ``results.json`` and ``report.json`` without times and rates. ``params_digest`` names the
last parameters bit for bit. A row is kept as soon as it is there: a stopped call goes on.

    --only NAME ...      some of the rows, such as cub_fpn:tiny; ``quickstart`` is the long one
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ANALYZED = "cub_fpn:tiny"  # the run whose report is compared as well
# What depends on the machine's load, not on the code.
TIMES = ("seconds", "images_per_second")


def rows() -> list[str]:
    """Every config in its tiny form but for that which needs photos, and the whole quick start."""
    names = sorted(path.stem for path in (ROOT / "configs").glob("[!_]*.py"))
    return [*(f"{name}:tiny" for name in names if not name.startswith("own_")), "quickstart"]


def measured(row: str) -> dict[str, Any]:
    """The figures of one run from its command line, times left out."""
    name, _, arguments = row.partition(":")
    config = f"configs/{name}.py" + (f":{arguments}" if arguments else "")
    with tempfile.TemporaryDirectory() as folder:
        _run("--config", config, "--workdir", folder)
        found = {"results": json.loads(Path(folder, "results.json").read_text())}
        if row == ANALYZED:
            _run("--mode", "analyze", "--workdir", folder)
            found["report"] = json.loads(Path(folder, "report", "report.json").read_text())
            del found["report"]["name"]  # that of the temporary folder
    return without_times(found)


def _run(*arguments: str) -> None:
    command = [sys.executable, "-m", "fgjax.main", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def without_times(value: Any) -> Any:
    """The same nested figures without those that a clock made."""
    if isinstance(value, Mapping):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Paths at which two nested figures differ, with both values; new figures do not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key, value in old.items()
            for line in differences(value, new.get(key), f"{path}/{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}/{i}")]
    return [] if old == new else [f"{path}: {old!r} is now {new!r}"]


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", default=None)
    chosen = parser.parse_args()
    kept = json.loads(chosen.file.read_text()) if chosen.file.exists() else {}
    wrong = 0
    for row in chosen.only or rows():
        if chosen.what == "record" and row not in kept:
            kept[row] = measured(row)
            chosen.file.write_text(json.dumps(kept, indent=1))
            print(f"{row}: recorded", flush=True)
        elif chosen.what == "compare":
            found = differences(kept[row], measured(row))
            wrong += bool(found)
            print(
                f"{row}: {'equal' if not found else 'DIFFERS'}", *found[:20], sep="\n  ", flush=True
            )
    raise SystemExit(min(wrong, 1))


if __name__ == "__main__":
    main()
