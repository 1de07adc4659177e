"""What every backbone is: an ordered tuple of stages, one a level."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.vocabulary import Hierarchy

Stages = dict[str, Any]  # stage -> map, or tuple of maps
Variants = Mapping[str, Mapping[str, Any]]  # name -> options of the family's builder


class Backbone(nn.Module):
    """A chain of stages, shallow to deep: images -> hierarchy {level: map}, fine to coarse.

    A stage is a group to train or freeze. In most families it gives the map of the level of its
    name as well; HRNet's stages each give several maps.

    Attributes:
        steps: the stages, in order; each is called as ``stage(x, ctx.at(stage.name))``.
        hidden: stages that give the hierarchy no map.
    """

    steps: tuple[nn.Module, ...]
    hidden: tuple[str, ...] = ()

    preserve_adopted_names = True  # Linen: a stage keeps its own name, its level

    @property
    def depths(self) -> tuple[str, ...]:
        """The names of the stages, shallow to deep."""
        return step_names(self.steps)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that a call gives, fine to coarse."""
        return tuple(name for name in self.depths if name not in self.hidden)

    @property
    def entries(self) -> tuple[str, ...]:
        """The stages at which a pass can go on from a stored hierarchy."""
        return tuple(
            name for before, name in itertools.pairwise(self.depths) if before not in self.hidden
        )

    def boundary(self, trained: Collection[str]) -> str | None:
        """Where a pass must start when the levels in ``trained`` train.

        The first of them, or the next stage before it at which the backbone can be entered;
        "merge" if the whole backbone is frozen, None if a pass must start from the images.
        """
        first = next((level for level in self.depths if level in trained), None)
        if first is None:
            return "merge"
        before = self.depths[: self.depths.index(first) + 1]
        return next((level for level in reversed(before) if level in self.entries), None)

    def before(self, start: str) -> tuple[str, ...]:
        """The levels that a pass from ``start`` on does not compute, fine to coarse."""
        if start == "merge":
            return self.levels
        computed = self.depths[self.depths.index(start) :]
        return tuple(level for level in self.levels if level not in computed)

    def stages(
        self, inputs: Float[Array, "b h w 3"] | Stages, ctx: Context, start: str | None = None
    ) -> Stages:
        """What each stage gives, by depth; see :meth:`__call__` for the arguments."""
        x: Any = inputs
        outputs: Stages = {}
        first = 0
        if start is not None:
            x, outputs = self.entry(x, start), dict(x)
            first = self.depths.index(start)
        for name, step in zip(self.depths[first:], self.steps[first:], strict=True):
            x = outputs[name] = step(x, ctx.at(name))
        return outputs

    def hierarchy(self, stages: Stages) -> Hierarchy:
        """The maps that stand for levels, of what :meth:`stages` gave."""
        return {name: x for name, x in stages.items() if name not in self.hidden}

    def __call__(
        self, inputs: Float[Array, "b h w 3"] | Stages, ctx: Context, start: str | None = None
    ) -> Hierarchy:
        """The hierarchy of normalised images; with ``start``, entered in the middle.

        Args:
            inputs: images; or, with ``start``, what :meth:`stages` gave, at least for the stage
                before it. For a ``start`` among :attr:`entries` a hierarchy will do.
            ctx: the context.
            start: the stage to compute first, e.g. "conv4" from a stored conv3.

        Raises:
            UserError: ``start`` is no later stage, or what it goes on from is not there.
        """
        return self.hierarchy(self.stages(inputs, ctx, start))

    def entry(self, inputs: Stages, start: str) -> Any:
        """What the stage ``start`` reads."""
        if start not in self.depths[1:]:
            raise UserError(
                f"a pass can start at {', '.join(self.depths[1:])} of this backbone, "
                f"not at {start!r}"
            )
        before = self.depths[self.depths.index(start) - 1]
        if before not in inputs:
            raise UserError(f"a pass from {start} on needs what {before} gave; it is not given")
        return inputs[before]


def step_names(steps: Sequence[nn.Module]) -> tuple[str, ...]:
    """The names of stages; each was made with one."""
    return tuple(str(step.name) for step in steps)


def truncate(steps: Sequence[nn.Module], last: str) -> tuple[nn.Module, ...]:
    """The stages up to and with ``last``."""
    known = step_names(steps)
    if last not in known:
        raise UserError(f"option last={last!r} must name one of the levels {', '.join(known)}")
    return tuple(steps[: known.index(last) + 1])


def scaled(width: int, multiplier: float) -> int:
    """``width`` times ``multiplier``, rounded to a multiple of 8 that is not 10 % too small."""
    if multiplier == 1.0:
        return width
    rounded = max(8, int(width * multiplier + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width * multiplier else rounded
