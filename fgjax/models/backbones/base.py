"""What every backbone is: an ordered tuple of stages, one a level."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.vocabulary import Hierarchy


class Backbone(nn.Module):
    """A chain of stages whose names are their levels: images -> {level: map}.

    Attributes:
        steps: the stages, in order; each is called as ``stage(x, ctx.at(stage.name))``.
    """

    steps: tuple[nn.Module, ...]

    preserve_adopted_names = True  # Linen: a stage keeps its own name, its level

    @property
    def depths(self) -> tuple[str, ...]:
        """The names of the stages, shallow to deep."""
        return tuple(step.name for step in self.steps)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that a call gives, fine to coarse."""
        return self.depths

    def stages(
        self, inputs: Float[Array, "b h w 3"] | Hierarchy, ctx: Context, start: str | None = None
    ) -> Hierarchy:
        """What each stage gives, by depth; see :meth:`__call__` for the arguments."""
        x, outputs, steps = inputs, {}, self.steps
        if start is not None:
            first = self._position(start)
            steps, outputs = steps[first:], dict(inputs)
            x = outputs[self.depths[first - 1]]
        for step in steps:
            x = outputs[step.name] = step(x, ctx.at(step.name))
        return outputs

    def __call__(
        self, inputs: Float[Array, "b h w 3"] | Hierarchy, ctx: Context, start: str | None = None
    ) -> Hierarchy:
        """The hierarchy of normalised images; with ``start``, entered in the middle.

        Args:
            inputs: images or, with ``start``, what :meth:`stages` gave for the level before it.
            ctx: the context.
            start: the level to compute first, e.g. "conv4" from a stored conv3.
        """
        return self.stages(inputs, ctx, start)

    def _position(self, start: str) -> int:
        if start not in self.depths[1:]:
            raise UserError(
                f"A pass can start at {', '.join(self.depths[1:])} of this backbone, "
                f"not at {start!r}."
            )
        return self.depths.index(start)


def truncate(steps: list[nn.Module], last: str) -> tuple[nn.Module, ...]:
    """The stages up to and with ``last``."""
    names = [step.name for step in steps]
    if last not in names:
        raise UserError(f"Option last={last!r} must name one of the levels {', '.join(names)}.")
    return tuple(steps[: names.index(last) + 1])


def scaled(width: int, multiplier: float) -> int:
    """``width`` times ``multiplier``, rounded to a multiple of 8 that is not 10 % too small."""
    if multiplier == 1.0:
        return width
    rounded = max(8, int(width * multiplier + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width * multiplier else rounded
