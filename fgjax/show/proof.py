"""The audit of a phase as a table: who trained, how fast, how far it moved, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table


def audit_table(record: Mapping[str, Any]) -> Group:
    """What ``fgjax.finetune.audit`` found at the end of a phase.

    Args:
        record: of the phase, as ``WORKDIR/results.json`` holds it.
    """
    first, last = record["start"] + 1, record["stop"]
    table = Table(
        title=f"{record['name']}: steps {first} to {last}",
        title_justify="left",
    )
    table.add_column("Group", style="bold")
    table.add_column("Rate", justify="right")
    table.add_column("Moved by", justify="right")
    for group, rate in record["rates"].items():
        if group in record["moved"]:
            moved = record["moved"][group]
            table.add_row(group, f"{rate:.3g}", "from zero" if moved is None else f"{moved:.2%}")
    for group in record["frozen"]:
        table.add_row(group, "frozen", "not by a bit")
    return Group(table, _cost(record))


def _cost(record: Mapping[str, Any]) -> str:
    text = f"optimiser {record['optimizer_bytes'] / 1e6:.1f} MB"
    if found := record["multiply_adds"]:
        step, forward, full = (found[name] for name in ("step", "forward", "full"))
        text += f", step {step / 1e6:,.0f} M multiply-adds an image: {step / forward:.2f} x forward"
        text += f", {step / full:.0%} of full training"
    return text
