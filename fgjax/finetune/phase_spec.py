"""A phase of a schedule as a config writes it, and what its fields may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fgjax.checking.options import Kind, Kinds, fitted, number, plain, shown, whole
from fgjax.errors import UserError

AUTO = ("rgn", "snr")


@dataclasses.dataclass(frozen=True)
class PhaseSpec:
    """A phase as the config writes it; see ``fgjax.finetune.schedule``."""

    name: str
    train: Mapping[str, Any]
    share: float | None = None
    epochs: float | None = None
    steps: int | None = None
    shape: str = "cosine"
    warmup: float = 0.0
    clock: str = "phase"
    decay: float = 0.0
    bn: str | None = None
    views: Sequence[str] | None = None
    size: int | None = None
    auto: str | None = None
    batches: int = 5
    patience: int | None = None
    restore_best: bool = False

    def __post_init__(self):
        where = f"phase {self.name!r}"
        lengths = [key for key in ("share", "epochs", "steps") if getattr(self, key) is not None]
        if not self.train:
            raise UserError(f"{where} freezes every group; name one under `train`")
        if len(lengths) > 1:
            raise UserError(f"{where} has {' and '.join(lengths)}; give it one of them")
        if self.views is not None and not self.views:
            raise UserError(f"{where} has no views; name at least one, or leave `views` out")
        if self.auto is not None and self.auto not in AUTO:
            raise UserError(f"{where} has auto {self.auto!r}; choose one of {', '.join(AUTO)}")


RATE = number(0, 1e38, above=True)
_RATES = Kind("rates by group, such as {'head': 1.0}", lambda value: isinstance(value, Mapping))
# What a phase's fields may be, where their type does not say it.
KINDS: Kinds = {
    "batches": whole(1, 1000),
    "decay": number(0, 1e38),
    "epochs": number(0, 1e6, above=True),
    "name": Kind("a name", lambda value: isinstance(value, str) and bool(value.strip())),
    "share": number(0, 1e9, above=True),
    "size": whole(32, 4096),
    "steps": whole(1, 10**9),
    "train": _RATES,
    "warmup": number(0, 1),
}


def phase_spec(index: int, entry: Mapping[str, Any] | PhaseSpec) -> PhaseSpec:
    """The phase that an entry of a schedule describes.

    Args:
        index: its place, for messages.
        entry: what the config says.

    Raises:
        UserError: it is no phase, or a field is unknown or of a wrong kind.
    """
    if isinstance(entry, PhaseSpec):
        return entry
    key, entry = f"schedule[{index}]", plain(entry)
    if not isinstance(entry, Mapping) or not {"name", "train"} <= set(entry):
        known = [field.name for field in dataclasses.fields(PhaseSpec)]
        raise UserError(
            f"{key} is {shown(entry)}; expected a phase, which has a name, `train`, and of these: "
            f"{', '.join(known)}"
        )
    return PhaseSpec(**fitted(key, "", PhaseSpec, entry, KINDS, given=()))
