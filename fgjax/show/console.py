"""What a run prints: progress, who trains when, results and predictions (80 columns suffice).

The tables are functions of plain data that return a ``rich`` table; print them with
``rich.print`` or any ``rich.console.Console``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import rich
from rich import box
from rich.bar import Bar
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, track
from rich.table import Table
from rich.text import Text

from fgjax.vocabulary import LEVELS

ESTIMATES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "mean_per_class": "Mean per class",
    "coarse": "Family",
}


class Training(NamedTuple):
    """How a group trains in a phase.

    Attributes:
        rate: base learning rate.
        decay: weight decay.
        bn: batch-norm mode, or None for a group without batch norm.
        parameters: how many of the group's parameters train.
    """

    rate: float
    decay: float
    bn: str | None
    parameters: int


class TrainingProgress:
    """Progress bar of a training run; plain lines where the output is not a terminal.

    Args:
        total: steps of the whole run.
        batch_size: images in a step.
        console: where to draw; standard output by default.
        every: seconds between two plain lines. Phase changes and the last step always get one.
    """

    def __init__(
        self, total: int, batch_size: int, console: Console | None = None, every: float = 10.0
    ):
        self._total, self._batch_size, self._every = total, batch_size, every
        self._console = console or rich.get_console()
        self._phase, self._begun, self._printed = "", (0, 0.0), 0.0
        self._bar = Progress(
            TextColumn("[bold]{task.fields[phase]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, phase="")

    def update(self, step: int, phase: str, loss: float, figures: Mapping[str, float]) -> None:
        """Show the state after ``step`` steps; ``figures`` are fractions by their labels."""
        now = self._console.get_time()
        changed = phase != self._phase
        if changed:
            # The phase's first step holds its compilation; the rate is measured from its end.
            self._phase, self._begun = phase, (step, now)
        shown = "".join(f"{label} {value:.1%}  " for label, value in figures.items())
        status = f"loss {loss:.3f}  {shown}{self._pace(step, now)}"
        self._bar.update(self._task, completed=step, phase=phase, description=status)
        due = changed or step == self._total or now - self._printed >= self._every
        if due and not self._console.is_terminal:
            self._printed = now
            self._console.print(
                f"{phase}  step {step}/{self._total}  {status}", highlight=False, soft_wrap=True
            )

    def _pace(self, step: int, now: float) -> str:
        """Speed in this phase, and the time that is left if all that remains goes as fast."""
        steps, seconds = step - self._begun[0], now - self._begun[1]
        if steps <= 0 or seconds <= 0:
            return "ETA -:--:--"
        left = timedelta(seconds=round((self._total - step) * seconds / steps))
        return f"{steps * self._batch_size / seconds:.1f} images/s  ETA {left}"

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()


def tracked(batches: Iterable, total: int, what: str, console: Console | None = None) -> Iterable:
    """The same batches, with a bar that vanishes at the end; silent without a terminal."""
    console = console or rich.get_console()
    return track(
        batches, what, total, console=console, transient=True, disable=not console.is_terminal
    )


def schedule_table(
    groups: Sequence[tuple[str, int]],
    phases: Sequence[tuple[str, int, Mapping[str, Training]]],
) -> Table:
    """Start-up table: the groups with their parameter counts, and who trains when.

    Args:
        groups: (name, number of parameters), in the order of the rows; empty groups are left out.
        phases: (name, number of steps, the groups that train and how); all others are frozen.
    """
    groups = [(name, count) for name, count in groups if count]
    table = _table("Who trains when")
    table.add_column("Group", style="bold")
    table.add_column("Parameters", justify="right")
    for name, steps, training in phases:
        shared = _shared_decay(training)
        decay = "" if shared is None else f", decay {shared:g}"
        note = Text(f"\n{_count(steps, 'step')}{decay}", "not bold dim")
        table.add_column(Text(name).append_text(note))
    for name, count in groups:
        cells = (_training_cell(training, name) for _, _, training in phases)
        table.add_row(name, f"{count:,}", *cells, end_section=name == LEVELS[-1])
    table.add_section()
    total = sum(count for _, count in groups)
    trained = (sum(t.parameters for t in training.values()) for _, _, training in phases)
    table.add_row("total", f"{total:,}", *(f"{n:,} ({n / total:.0%})" for n in trained))
    return table


def results_table(summary: dict, title: str) -> Table:
    """Final table of a split: each accuracy with its 95 % interval and the level of chance.

    Args:
        summary: what ``evaluation.metrics.summarize`` returned.
        title: e.g. "validation, step 101 of 162 (best)".
    """
    table = _table(f"{title}: {_count(summary['n'], 'image')}")
    for header in ("", "Accuracy", "95 % interval", "Chance"):
        table.add_column(header, justify="left" if not header else "right")
    table.add_column("", width=20)
    for name, label in ESTIMATES.items():
        if name in summary:
            value, low, high = (summary[name][bound] for bound in ("value", "low", "high"))
            interval = f"{100 * low:.1f} – {_percent(high)}"
            chance = Text(_percent(summary["chance"][name]), "dim")
            bar = Bar(1.0, 0.0, value, width=20, color="green")
            table.add_row(label, Text(_percent(value), "bold"), interval, chance, bar)
    table.caption = (
        f" negative log-likelihood {summary['nll']:.3f} nats, "
        f"calibration error {_percent(summary['expected_calibration_error'])}"
    )
    return table


def confusions_table(pairs: Sequence[dict], within_family: dict | None = None) -> Table | Text:
    """The most confused pairs of classes.

    Args:
        pairs: what ``evaluation.confusions.most_confused`` returned.
        within_family: what ``evaluation.confusions.errors_within_family`` returned.

    Pairs whose classes belong to two families are yellow.
    """
    if not pairs:
        return Text("No two classes were confused.")
    table = _table("Most confused pairs")
    table.add_column("A")
    table.add_column("B")
    for header in ("A taken\nfor B", "B taken\nfor A", "Errors of\nimages"):
        table.add_column(header, justify="right", no_wrap=True)
    for pair in pairs:
        counts = (str(pair["first_as_second"]), str(pair["second_as_first"]))
        errors = f"[bold]{pair['errors']}[/] of {pair['examples']}"
        # Classes of two families are not a fine-grained confusion: the pair stands out.
        style = None if pair.get("same_family", True) else "yellow"
        table.add_row(Text(pair["first"]), Text(pair["second"]), *counts, errors, style=style)
    if within_family:
        share, low, high = (_percent(within_family[key]) for key in ("value", "low", "high"))
        table.caption = (
            f" {share} of {_count(within_family['n'], 'error')} within the family ({low} – {high})"
        )
    return table


def predictions_table(predictions: Iterable[tuple[str, Sequence[tuple[str, float]]]]) -> Table:
    """Top classes of the user's photos.

    Args:
        predictions: (path, [(class, probability), ...] from most to least probable).
    """
    table = _table("Predictions")
    table.add_column("Image", overflow="fold", ratio=2)
    table.add_column("Class", ratio=2)
    table.add_column("Probability", justify="right")
    table.add_column("", width=12)
    for path, ranked in predictions:
        styles = ["bold"] + ["dim"] * (len(ranked) - 1)
        names = (
            Text(name, style, no_wrap=True, overflow="ellipsis")
            for (name, _), style in zip(ranked, styles, strict=True)
        )
        values = (Text(_percent(p), style) for (_, p), style in zip(ranked, styles, strict=True))
        bars = (Bar(1.0, 0.0, p, width=12, color="green") for _, p in ranked)
        table.add_row(Text(path), Group(*names), Group(*values), Group(*bars), end_section=True)
    return table


def _table(title: str) -> Table:
    return Table(
        title=f"\n {title}",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.HORIZONTALS,
    )


def _training_cell(training: Mapping[str, Training], group: str) -> str:
    if group not in training:
        return "[blue]frozen"
    how = training[group]
    bn = f" BN {how.bn}" if how.bn else ""
    own = f" decay {how.decay:g}" if _shared_decay(training) is None else ""
    return f"[green]{how.rate:g}[/][dim]{bn}{own}"


def _shared_decay(training: Mapping[str, Training]) -> float | None:
    decays = {how.decay for how in training.values()}
    return decays.pop() if len(decays) == 1 else None


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
