"""A run of plain files with every stage of a real one, killed by ``benchmarks.kills``.

python killed_toy.py careful|careless|half FOLDER COUNT: prints JSON. In a process of its own, as
forking one that runs JAX is not safe.
"""

import hashlib
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks import killing, kills

STEPS = 6


def run(folder, setting, careless=False):
    """Six steps, each a hash of the one before; a careless run forgets what a checkpoint holds."""
    saved = folder / "checkpoints"
    saved.mkdir(parents=True, exist_ok=True)
    (folder / "run.lock").open("w").close()
    replace(folder / "config.json", "{}")
    start = max([int(path.name) for path in saved.iterdir() if path.name.isdigit()], default=0)
    known = start and not careless
    value = (saved / str(start) / "value").read_text() if known else setting.split(", ")[1]
    store(folder, setting)
    for step in range(start + 1, STEPS + 1):
        sys.audit(killing.STEP)
        value = hashlib.sha256(f"{value}{step}".encode()).hexdigest()
        sys.audit(killing.STEPPED)
        if step % 2 == 0:
            save(saved, step, value)
    replace(folder / "results.json", json.dumps({"params_digest": value, "test": {"top1": 0.5}}))


def store(folder, setting):
    if setting.startswith("disk"):
        (folder / "features" / "trunk").mkdir(parents=True, exist_ok=True)
        (folder / "features" / "trunk" / "conv3.npy").write_bytes(b"maps")
        (folder / "features" / "trunk" / "complete").touch()


def save(saved, step, value):
    temporary = saved / f"{step}.orbax-checkpoint-tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    (temporary / "value").write_text(value)
    temporary.rename(saved / str(step))
    shutil.rmtree(saved / str(step - 2), ignore_errors=True)


def replace(path, text):
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
    temporary.unlink(missing_ok=True)


def half(folder):
    moment = killing.Moment("results.json is written", where="within", share=0.5)
    killing.kill(run, folder / "run", "memory, final", moment)
    return {path.name: path.stat().st_size for path in (folder / "run").iterdir()}


def main():
    what, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    if what == "half":
        print(json.dumps(half(scratch)))
        return
    toy = partial(run, careless=what == "careless")
    rows = kills.make_missing(toy, scratch, folder / "kills.jsonl", range(count), seed=0, jobs=2)
    print(json.dumps({"rows": rows, "table": kills.markdown(rows)}))


if __name__ == "__main__":
    main()
