"""A second folder of photos, which a run that was trained without it scores and goes on with."""

import json
import sys

import pytest
import small_run

from fgjax import main
from fgjax.errors import UserError
from fgjax.evaluation import predictions
from fgjax.run import evaluate, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained in "develop" on a train folder; photos of the same classes lie in another one."""
    where = tmp_path_factory.mktemp("test_dir")
    small_run.photos(where / "photos" / "train", 10)
    small_run.photos(where / "later", 4)
    train.train(config(where), str(where / "run"))
    return where


def config(where, **changes):
    c = small_run.config(where / "photos")
    c.schedule = c.schedule[:1]
    c.train.epochs = 2.0
    c.data.update(changes)
    return c


def scored(where):
    found = json.loads((where / "run" / "results.json").read_text())
    return found["test"]["n"], predictions.load(where / "run" / "predictions_test.npz")


def test_a_test_folder_is_scored_by_a_run_that_knew_none(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    flags = ("--mode=evaluate", "--split=test", f"--workdir={run / 'run'}")
    with pytest.raises(UserError, match=r"add a folder test, or name one in data\.test_dir"):
        main.main(["fgjax", *flags])
    main.main(["fgjax", *flags, f"--config.data.test_dir={run / 'later'}"])
    count, found = scored(run)
    assert count == 12
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert json.loads((run / "run" / "config.json").read_text())["data"]["test_dir"] is None


def test_a_run_goes_on_with_another_test_folder(run):
    before = json.loads((run / "run" / "results.json").read_text())["params_digest"]
    again = train.train(config(run, test_dir=str(run / "later")), str(run / "run"))
    assert again["params_digest"] == before
    evaluate.evaluate(str(run / "run"), "test")
    assert scored(run)[0] == 12


def test_a_run_of_an_earlier_version_knows_no_test_folder(run):
    path = run / "run" / "config.json"
    record = json.loads(path.read_text())
    del record["data"]["test_dir"]
    path.write_text(json.dumps(record))
    assert "validation" in evaluate.evaluate(str(run / "run"), "validation")
    train.train(config(run), str(run / "run"))
    assert json.loads(path.read_text())["data"]["test_dir"] is None


def test_the_protocol_final_scores_the_test_folder(run, tmp_path):
    c = config(run, test_dir=str(run / "later"))
    c.protocol = "final"
    found = train.train(c, str(tmp_path / "run"))
    assert found["test"]["n"] == 12
