import pytest

from configs import quickstart
from fgjax.analysis import diagnosis, trials
from fgjax.run import analyze, experiment

RATES = {"head": 0.01}
LEVELS = ("conv1", "conv2", "conv3", "conv4", "conv5")
ACCURACY = {
    "embedding": 0.7,
    "average": 0.7,
    "second_order": 0.8,
    "object": 0.75,
    "pyramid": 0.72,
    "shrunk": 0.6,
}
PLAIN = {part: {"name": "none"} for part in ("merge", "attention")} | {
    "pooling": {"name": "average"}
}


def test_a_head_that_no_run_trained_gets_a_rate():
    assert diagnosis.starting_rates({"conv5": 0.01}) == {"head": 1.0, "conv5": 0.01}
    assert diagnosis.starting_rates({"head": 0.3}) == {"head": 0.3}


def test_training_from_earlier_promises_at_least_as_much():
    together = {"conv3": 0.72, "conv4": 0.80, "conv5": 0.75}
    options = diagnosis.unfreezing(together, 0.7, RATES)
    assert [(o.name, o.gain) for o in options] == [
        ("train conv4 and what follows", pytest.approx(0.1)),
        ("train conv5 and what follows", pytest.approx(0.1)),
    ]
    assert "conv4" in options[1].reason
    assert "80.0\u00a0% against 70.0\u00a0%" in options[1].reason
    tuned = options[0].changes["schedule"][1]["train"]
    assert set(tuned) == {"conv4", "conv5", "head"}
    first = diagnosis.rank(options)[0]
    assert first.name == "train conv5 and what follows"  # the cheaper of equals


def test_what_a_run_trains_already_is_not_advised():
    rates = {"conv4": 0.01, "conv5": 0.01, "head": 1.0}
    together = dict(zip(LEVELS, (0.71, 0.75, 0.8, 0.8, 0.8), strict=True))
    options = diagnosis.unfreezing(together, 0.7, rates)
    # What conv4 and conv5 are given, conv3 and what follows, is made use of already.
    assert [o.name.split()[1] for o in options] == ["conv2", "conv3"]
    assert [o.gain for o in options] == pytest.approx([0.05, 0.05])
    head, tune = options[1].changes["schedule"]
    assert head["train"] == {"head": 1.0}
    assert tune["train"] == {"conv3": 0.002, "conv4": 0.01, "conv5": 0.01, "head": 0.3}
    schedule = [{"train": {"head": 1.0}}, {"train": {"head": 0.3, "conv5": {"rate": 0.01}}}]
    assert analyze.trained_rates(schedule) == {"head": 1.0, "conv5": 0.01}


def test_each_option_is_predicted_from_its_own_figures():
    options = diagnosis.architecture(ACCURACY, PLAIN, LEVELS, 224, RATES)
    gains = [o.gain for o in diagnosis.rank(options)]
    assert gains == pytest.approx([0.1, 0.05, 0.05, 0.02])
    resolution = next(o for o in options if "resolution" in o.name)
    assert resolution.changes["data.image_size"] == 336
    assert "10.0\u00a0%" in resolution.reason


def test_what_is_there_already_is_not_advised():
    model = {
        "pooling": {"name": "compact_bilinear"},
        "merge": {"name": "fpn"},
        "attention": {"name": "cbam"},
    }
    (only,) = diagnosis.architecture(ACCURACY, model, LEVELS, 224, RATES)
    assert "resolution" in only.name


def test_without_boxes_nothing_is_said_of_attention():
    options = diagnosis.architecture(ACCURACY | {"object": float("nan")}, PLAIN, LEVELS, 224, RATES)
    assert not any("attend" in o.name for o in options)


def test_every_option_is_a_config_that_builds(monkeypatch):
    config = quickstart.get_config("tiny")
    levels = ("conv1", "conv2", "conv3")
    options = diagnosis.unfreezing(dict.fromkeys(levels, 0.8), 0.7, RATES)
    options += diagnosis.architecture(
        ACCURACY, {"pooling": {"name": "average"}}, levels, config.data.image_size, RATES
    )
    seen = []

    def train(changed, folder):
        experiment.build_model(changed, 16).initialize(0)
        seen.append(changed)
        return {"validation": {"top1": 0.5}}

    monkeypatch.setattr("fgjax.run.train.train", train)
    result = trials.check(options, analyze.short_trainings(config), {"schedule": ()})
    assert len(seen) == len(options) + 1
    assert result["baseline"] == 0.5
    assert result["tau"]["value"] == 0  # all gains alike
    assert all(c.protocol == "develop" for c in seen)
    assert config.protocol == "final"  # the run's own config is as it was
