import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from fgjax.errors import UserError
from fgjax.show import overlay, plots
from fgjax.tasks.classification import TASK

ROWS = [
    {"step": 1, "time": 0.0, "phase": "head", "loss": 3.0},
    {"step": 2, "time": 0.0, "phase": "head", "loss": None},
    {"step": 2, "time": 0.0, "validation/nll": 2.5},
    {"step": 3, "time": 0.0, "phase": "all $x$", "loss": 2.0},
    {"step": 4, "time": 0.0, "phase": "all $x$", "loss": 1.0},
]


def test_learning_curves_show_what_was_logged(tmp_path):
    figure = plots.learning_curves(ROWS, TASK.panels)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "Loss (nats)"
    training, validation = axes.get_lines()
    np.testing.assert_array_equal(training.get_xydata(), [(1, 3), (3, 2), (4, 1)])
    np.testing.assert_array_equal(validation.get_xydata(), [(2, 2.5)])
    assert [text.get_text() for text in axes.texts] == ["head", "all $x$"]
    (shade,) = (p for p in axes.patches if isinstance(p, Rectangle))
    assert (shade.get_x(), shade.get_width()) == (2, 2)
    overlay.save(figure, tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_empty_log_is_named():
    with pytest.raises(UserError, match="holds no metric to plot"):
        plots.learning_curves([], TASK.panels)
    with pytest.raises(UserError, match="holds no metric to plot"):
        plots.learning_curves([{"step": 1, "time": 0.0, "phase": "head"}], TASK.panels)


def test_confusion_bars_stack_both_directions(tmp_path):
    pairs = [
        dict(first="a_$b$_c", second="d", first_as_second=2, second_as_first=1),
        dict(first="e", second="f", first_as_second=0, second_as_first=1),
    ]
    figure = plots.confusion_bars(pairs)
    (axes,) = figure.axes
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [
        (0, 2),
        (0, 0),
        (2, 1),
        (0, 1),
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a_$b$_c / d", "e / f"]
    overlay.save(figure, tmp_path / "bars.png", dpi=40)
    assert all(tick == int(tick) for tick in axes.get_xticks())


def test_confusion_bars_of_a_perfect_network(tmp_path):
    overlay.save(plots.confusion_bars([]), tmp_path / "bars.png", dpi=40)
    assert (tmp_path / "bars.png").exists()


def test_result_grid_marks_errors_and_shares_one_scale(tmp_path):
    image = np.full((8, 8, 3), 100, np.uint8)
    weak, strong = np.full((2, 2), 0.1), np.full((2, 2), 1.0)
    figure = plots.result_grid(
        [
            plots.Example(image, weak, [("tern", 0.9), ("gull", 0.1)], "tern"),
            plots.Example(image, strong, [("gull", 0.6)], "wren"),
            plots.Example(image, weak, [("crow", 0.5)]),
        ]
    )
    titles = [axes.title for axes in figure.axes[:3]]
    assert [t.get_text() for t in titles] == ["tern\n90%", "gull\n60%, is wren", "crow\n50%"]
    assert [to_hex(t.get_color()).upper() for t in titles] == [plots.GREEN, plots.RED, plots.GREEN]
    heats = [axes.images[0].get_array() for axes in figure.axes[3:]]
    np.testing.assert_array_equal(heats[0], overlay.heat_overlay(image, weak, scale=1.0))
    np.testing.assert_array_equal(heats[1], overlay.heat_overlay(image, strong, scale=1.0))
    overlay.save(figure, tmp_path / "grid.png", dpi=40)
