"""One rule for which weights count, whoever asks: the best by validation, or the last."""

import json

import numpy as np
import pytest
import small_run

import fgjax
from fgjax import analysis
from fgjax.errors import UserError
from fgjax.evaluation import predictions
from fgjax.evaluation.results import params_digest
from fgjax.run import analyze, chosen, evaluate, experiment, scoring, train, workdir
from fgjax.training import checkpoints, logs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained on three devices, which cannot share the 64 images of an evaluation equally."""
    where = tmp_path_factory.mktemp("develop")
    folder = small_run.photos(where / "photos", 10)
    train.train(small_run.config(folder), str(where / "run"))
    return where / "run"


def results(where):
    return json.loads((where / "results.json").read_text())


def validated(where):
    return {
        row["step"]: row["validation/top1"] for row in logs.read(where) if "validation/top1" in row
    }


def test_after_training_the_best_step_by_validation_is_what_is_recorded(run):
    scores = validated(run)
    best = max(scores, key=lambda step: (scores[step], step))
    found = results(run)["validation"]
    assert found["step"] == best < max(scores)
    assert found["weights"] == "best"
    assert found["top1"] == scores[best] > scores[max(scores)]


def test_evaluate_and_load_read_the_weights_that_were_recorded(run, capsys):
    before = results(run)["validation"]
    after = evaluate.evaluate(str(run), "validation")["validation"]
    assert {k: v for k, v in after.items() if k != "images_per_second"} == {
        k: v for k, v in before.items() if k != "images_per_second"
    }
    assert (
        f"validation, step {after['step']} of {max(validated(run))} (best)"
        in capsys.readouterr().out
    )
    head = chosen.read(run, "develop", "top1").variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(fgjax.load(run).variables["params"]["head"]["kernel"], head)


def test_a_run_whose_scoring_failed_goes_on_and_ends_like_one_that_did_not(
    run, tmp_path, monkeypatch
):
    config = small_run.config(run.parent / "photos")

    def failing(*_):
        raise OSError("the photos are gone")

    with monkeypatch.context() as patched:
        patched.setattr(scoring, "predict_split", failing)
        with pytest.raises(OSError, match="the photos are gone"):
            train.train(config, str(tmp_path))
    assert checkpoints.steps(tmp_path) == [min(validated(run))]
    train.train(config, str(tmp_path))
    for name in ("step", "top1", "nll"):
        assert results(tmp_path)["validation"][name] == results(run)["validation"][name]
    assert results(tmp_path)["params_digest"] == results(run)["params_digest"]
    assert validated(tmp_path) == validated(run)


def test_the_digest_is_that_of_the_last_step(run):
    items = checkpoints.read(run, checkpoints.steps(run)[-1])
    assert results(run)["params_digest"] == params_digest(items["params"], items["batch_stats"])


def test_each_photo_is_predicted_as_it_was_scored(run):
    scored = predictions.load(run / "predictions_validation.npz")
    recogniser = fgjax.load(run)
    names = experiment.load_data(workdir.read_config(run), "validation").validation.names
    folder = run.parent / "photos"
    rows = np.stack([recogniser.probabilities(recogniser.read(folder / n)[None])[0] for n in names])
    np.testing.assert_allclose(np.log(rows), scored.logits, rtol=1e-4, atol=1e-5)


def test_the_test_split_of_a_run_in_develop_is_opened_scored_and_counted(run, capsys):
    evaluate.evaluate(str(run), "test")
    found = evaluate.evaluate(str(run), "test")
    assert found["evaluations"]["test"] == 2
    assert found["test"]["n"] == 6
    assert found["test"]["step"] == found["validation"]["step"]
    said = " ".join(capsys.readouterr().out.split())
    assert "(best by validation)" in said
    assert "the test split was scored 2 times by this run; its weights were chosen on" in said


def test_other_views_may_be_asked_for_when_a_run_is_scored(run):
    config = small_run.config(run.parent / "photos")
    config.evaluate.views = ("center", "flip")
    found = evaluate.evaluate(str(run), "validation", config)
    assert found["validation"]["views"] == ["center", "flip"]


def test_a_run_on_more_devices_than_there_are_is_scored_on_those(run):
    path = run / "config.json"
    kept = path.read_text()
    elsewhere = json.loads(kept)
    elsewhere["train"]["devices"] = 64
    path.write_text(json.dumps(elsewhere))
    try:
        assert evaluate.evaluate(str(run), "validation")["validation"]["n"] == 6
    finally:
        path.write_text(kept)


def test_a_report_counts_the_split_that_it_scores(run, monkeypatch):
    def report(*_, **__):
        return {"data": {"split": "validation"}}

    monkeypatch.setattr(analysis, "report", report)
    monkeypatch.setattr(analysis, "console_summary", str)
    monkeypatch.setattr(analyze, "twins", lambda *_: {})
    before = results(run)["evaluations"]["validation"]
    analyze.analyze_runs([str(run)], None, check=False)
    assert results(run)["evaluations"]["validation"] == before + 1


def test_a_split_that_cannot_be_there_is_refused_with_the_way_out(run):
    with pytest.raises(UserError, match=r"no validation split: .*'final' .* score --split test"):
        evaluate._opened(small_run.config("x", "final"), run, "validation")
    config = small_run.config(run.parent / "photos")
    config.data.test_share = 0.0
    with pytest.raises(
        UserError, match=r"photos has no test images; add a folder test, or name one in"
    ):
        evaluate._opened(config, run, "test")
