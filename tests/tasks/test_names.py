"""What a task calls its figures is known to the task alone."""

from pathlib import Path

import fgjax


def test_what_trains_and_runs_knows_no_figure_of_a_task_by_name():
    package = Path(fgjax.__file__).parent
    named = [
        f"{path.relative_to(package)} says {word}"
        for room in ("training", "run", "data", "finetune", "models")
        for path in sorted((package / room).rglob("*.py"))
        for word in ("top1", "accuracy")
        if word in path.read_text()
    ]
    assert named == []
