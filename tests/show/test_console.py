import io

import numpy as np
import pytest
from rich.console import Console

from fgjax.evaluation import confusions, metrics
from fgjax.show import console
from fgjax.show.console import Training

FAMILY = np.array([0, 0, 1, 1])
NAMES = ("Common [x] Tern", "Arctic Tern", "Winter Wren", "House Wren")


def rendered(table, width=80):
    out = Console(file=io.StringIO(), width=width)
    out.print(table)
    lines = out.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [" ".join(line.split()) for line in lines]


def test_schedule_table_shows_who_trains_when():
    groups = [("conv1", 900), ("conv5", 2_000_100), ("merge", 0), ("head", 1_000)]
    phases = [
        ("warm [b] up", 1, {"head": Training(1.0, 0.0, None, 1_000)}),
        (
            "all",
            2240,
            {
                "conv5": Training(2e-3, 1e-4, "frozen", 2_000_000),
                "head": Training(0.3, 0, None, 1_000),
            },
        ),
    ]
    lines = rendered(console.schedule_table(groups, phases))
    assert "warm [b] up all" in lines
    assert "Group Parameters 1 step, decay 0 2,240 steps" in lines
    assert "conv1 900 frozen frozen" in lines
    assert "conv5 2,000,100 frozen 0.002 BN frozen decay 0.0001" in lines
    assert "head 1,000 1 0.3 decay 0" in lines
    assert "total 2,002,000 1,000 (0%) 2,001,000 (100%)" in lines
    assert not any("merge" in line for line in lines)


@pytest.fixture(scope="module")
def outcome():
    labels = np.repeat(np.arange(4), 5)
    predicted = labels.copy()
    predicted[[0, 1, 5]] = [1, 1, 0]
    predicted[10] = 0
    return np.eye(4)[predicted] * 3, labels, predicted


def test_results_table_shows_each_accuracy_with_its_interval(outcome):
    logits, labels, _ = outcome
    lines = rendered(console.results_table(metrics.summarize(logits, labels, FAMILY), "test"))
    assert "test: 20 images" in lines
    (top1,) = (line for line in lines if line.startswith("Top-1"))
    assert top1.startswith("Top-1 80.0 % 58.4 – 91.9 % 25.0 % ████")
    (family,) = (line for line in lines if line.startswith("Family"))
    assert family.startswith("Family 95.0 % 76.4 – 99.1 % 50.0 %")
    assert any("calibration error" in line for line in lines)


def test_results_table_without_families_has_no_such_row(outcome):
    logits, labels, _ = outcome
    lines = rendered(console.results_table(metrics.summarize(logits, labels), "validation"))
    assert not any(line.startswith("Family") for line in lines)
    assert any(line.startswith("Mean per class 80.0 %") for line in lines)


def test_confusions_table_shows_both_directions(outcome):
    _, labels, predicted = outcome
    table = console.confusions_table(
        confusions.most_confused(labels, predicted, NAMES, coarse_of=FAMILY),
        confusions.errors_within_family(labels, predicted, FAMILY),
    )
    lines = rendered(table)
    assert "Common [x] Tern Arctic Tern 2 1 3 of 10" in lines
    assert "Common [x] Tern Winter Wren 0 1 1 of 10" in lines
    assert "75.0 % of 4 errors within the family (30.1 % – 95.4 %)" in lines
    assert rendered(console.confusions_table([])) == ["No two classes were confused."]


def test_predictions_table_ranks_the_classes_of_each_image():
    ranked = [("Arctic Tern", 0.9), ("Winter Wren", 0.1)]
    lines = rendered(console.predictions_table([("a[1].jpg", ranked), ("long" * 30, ranked)]))
    assert any(line.startswith("a[1].jpg Arctic Tern 90.0 % ██") for line in lines)
    assert any(line.startswith("Winter Wren 10.0 %") for line in lines)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def run_progress(terminal, steps, seconds_per_step=1.0, total=30):
    clock = Clock()
    out = Console(
        file=io.StringIO(), width=100, force_terminal=terminal, get_time=clock, color_system=None
    )
    with console.TrainingProgress(total, batch_size=8, console=out) as progress:
        for step in steps:
            clock.now += seconds_per_step
            progress.update(
                step, "head" if step <= 10 else "all", loss=1 / step, figures={"acc": 0.5}
            )
    return out.file.getvalue()


def test_plain_lines_come_at_intervals_phase_changes_and_the_end():
    lines = run_progress(terminal=False, steps=range(1, 31)).splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["head", "step 1/30"],
        ["all", "step 11/30"],
        ["all", "step 21/30"],
        ["all", "step 30/30"],
    ]
    assert lines[2].endswith("loss 0.048  acc 50.0%  8.0 images/s  ETA 0:00:09")
    assert lines[3].endswith("8.0 images/s  ETA 0:00:00")


def test_rate_leaves_out_the_first_step_of_a_phase_and_earlier_runs():
    lines = run_progress(terminal=False, steps=[21, 22, 23], seconds_per_step=10).splitlines()
    assert lines[0].endswith("acc 50.0%  ETA -:--:--")
    assert lines[1].endswith("0.8 images/s  ETA 0:01:20")


def test_terminal_gets_a_bar_that_ends_at_the_last_step():
    text = run_progress(terminal=True, steps=range(1, 31))
    last = text.split("\r")[-1]
    assert "━━━━" in last
    assert "30/30" in last
    assert "loss 0.033  acc 50.0%  8.0 images/s  ETA 0:00:00" in last


@pytest.mark.parametrize("terminal", [True, False])
def test_tracked_yields_the_same_batches(terminal):
    out = Console(file=io.StringIO(), force_terminal=terminal)
    assert list(console.tracked(iter("abc"), 3, "Scoring", out)) == ["a", "b", "c"]
    assert ("Scoring" in out.file.getvalue()) == terminal


def test_scoring_in_the_middle_of_a_run_keeps_both_bars():
    out = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with console.TrainingProgress(2, batch_size=8, console=out) as progress:
        progress.update(1, "head", loss=1.0, figures={"acc": 0.5})
        assert list(console.tracked(range(3), 3, "Scoring", out)) == [0, 1, 2]
        progress.update(2, "head", loss=0.5, figures={"acc": 0.75})
    text = out.file.getvalue()
    assert "Scoring" in text
    assert "2/2 loss 0.500  acc 75.0%" in text
