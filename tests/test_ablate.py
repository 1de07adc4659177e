"""The tables of ``benchmarks/ablate.py``: which cells train, and what the finished ones say."""

import numpy as np
import pytest

from benchmarks import ablate
from fgjax.errors import UserError
from fgjax.evaluation import predictions, results
from fgjax.run import train

TABLE = '''"""Which head is better.

Words that are not the title.
"""
from fgjax.config import default

ROWS = {"plain": {}, "with decay, 2x": {"train.ema": 0.9, "schedule": ()}}
get_config = default
'''
RIGHT = {"plain": [1, 1, 0, 0], "with decay, 2x": [1, 1, 1, 0]}


@pytest.fixture
def table(tmp_path):
    (tmp_path / "table.py").write_text(TABLE)
    return ablate.read_table(tmp_path / "table.py", {"train.epochs": 2.0})


def finish(workdir, row, seed, right):
    """A cell as training leaves it: four examples, ``right`` says which are told."""
    folder = ablate.cell_folder(workdir, row, seed)
    labels = np.zeros(4, np.int64)
    logits = np.stack([np.asarray(right), 1 - np.asarray(right)], 1).astype(np.float32)
    folder.mkdir(parents=True)
    predictions.save(
        predictions.Predictions(logits, labels, np.arange(4)),
        folder / "predictions_validation.npz",
    )
    phases = {"head": {"optimizer_bytes": 1_000_000}, "tune": {"optimizer_bytes": 2_500_000}}
    score = {"top1": float(np.mean(right))}
    results.update(folder, {"validation": score, "seconds": 60.0 + seed, "phases": phases})


def test_finished_cells_become_a_table_of_paired_differences(table, tmp_path):
    for seed in (0, 1):
        for row, right in RIGHT.items():
            finish(tmp_path, row, seed, right)
    *_, plain, decay = ablate.markdown(table, tmp_path, [0, 1, 2]).strip().split("\n")
    assert plain == "| plain | 50.0 ± 0.0 |  | 60 | 2.5 |"
    name, score, difference, *_ = decay.strip("| ").split(" | ")
    assert (name, score) == ("with decay, 2x", "75.0 ± 0.0")
    value, low, _, high = difference.replace("(", "").replace(")", "").split()
    assert value == "+25.0"
    assert 0 <= float(low) < 25 < float(high)
    *_, plain, decay = (
        ablate.markdown(table, tmp_path, [0, 1], "with decay, 2x").strip().split("\n")
    )
    assert "| 50.0 ± 0.0 | -25.0 (" in plain
    assert "| 75.0 ± 0.0 |  |" in decay
    with pytest.raises(UserError, match="no row 'plian'; choose one of plain; with decay, 2x"):
        ablate.check_row(table, "plian")


def test_only_missing_cells_train_each_with_its_row_and_seed(table, tmp_path, monkeypatch):
    finish(tmp_path, "plain", 0, RIGHT["plain"])
    trained = []
    monkeypatch.setattr(train, "train", lambda config, folder: trained.append((config, folder)))
    ablate.train_missing(table, tmp_path, [0, 1], limit=2)
    (first, folder), (second, _) = trained
    assert folder == str(tmp_path / "with-decay-2x" / "0")
    assert (first.seed, first.train.ema, first.schedule) == (0, 0.9, ())
    assert (second.seed, second.train.ema) == (1, table.config.train.ema)
    assert (first.train.epochs, first.protocol) == (2.0, "develop")


def test_overrides_are_literals_or_words_and_their_keys_exist(table):
    assert ablate.parse_override("train.epochs=3.0") == ("train.epochs", 3.0)
    assert ablate.parse_override("data.dir=a/b=c") == ("data.dir", "a/b=c")
    with pytest.raises(UserError, match="no key 'trian.epochs'"):
        ablate.overridden(table.config, {"trian.epochs": 1})
