"""The straight line from images to logits, assembled from its parts.

images -> backbone -> hierarchy -> merge -> attention -> pooling -> head -> outputs

Of an image pyramid every scale goes that way up to the pooling, with the same weights.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import flax.struct
from jaxtyping import Array, Float, Int

from fgjax.errors import UserError
from fgjax.models import heads, scales
from fgjax.models.backbones.base import Backbone, Stages
from fgjax.models.context import Context
from fgjax.vocabulary import Hierarchy


@flax.struct.dataclass
class Outputs:
    """The logits and everything that was met on the way, so that no analysis reaches inside.

    Attributes:
        logits: class scores, float32.
        embedding: what the head reads.
        hierarchy: the backbone's feature maps by level.
        stages: what the backbone's stages gave by depth, where that is not the hierarchy's map
            of the same name: HRNet's branches, ConvNeXt's conv2; else empty.
        merged: the same after merge and attention.
        maps: attention maps by level, empty without attention.
        rescaled: the backbone's feature maps at the scales other than 1, by level and scale such
            as "conv5@0.5"; the maps of the other fields are those of scale 1.
    """

    logits: Float[Array, "b k"]
    embedding: Float[Array, "b d"]
    hierarchy: Hierarchy
    stages: Stages
    merged: Hierarchy
    maps: dict[str, Float[Array, "b h w m"]]
    rescaled: Hierarchy


class Seen(NamedTuple):
    """What is made of one scale, up to the pooling; see :class:`Outputs`."""

    hierarchy: Hierarchy
    stages: Stages
    merged: Hierarchy
    maps: dict[str, Float[Array, "b h w m"]]


class Recognizer(nn.Module):
    """backbone -> merge -> attention -> pooling -> head; ``merge`` and ``attention`` may be None.

    The backbone's levels stand at the top of the parameter tree, beside the other groups.

    Batch norm that trains normalises each of several ``scales`` by statistics of its own, and each
    moves the running ones in turn: these become an average over the scales.

    Attributes:
        scales: sizes at which the image is looked at, as multiples of its own: 1 and others.
    """

    backbone: Backbone
    pooling: nn.Module
    head: nn.Module
    merge: nn.Module | None = None
    attention: nn.Module | None = None
    scales: tuple[float, ...] = (1.0,)

    def setup(self):
        """Put the backbone's levels at the top of the parameter tree."""
        nn.share_scope(self, self.backbone)

    def __call__(
        self, inputs: Float[Array, "b h w 3"] | Hierarchy, ctx: Context, start: str | None = None
    ) -> Outputs:
        """Recognise normalised images, or go on from a stored hierarchy.

        Args:
            inputs: images; or, with ``start``, the levels computed before it (HRNet: the stages),
                at every scale.
            ctx: how the pass is made.
            start: the first level to compute; "merge" enters behind the whole backbone.
        """
        seen = self._seen(inputs, ctx, start)
        selected, maps = self._selected(seen, ctx)
        embedding = self.pooling(selected, ctx.at("pooling"), maps)
        logits = self.head(embedding, ctx.at("head"))
        rescaled = scales.named([one.hierarchy for one in seen[1:]], self.scales[1:])
        return Outputs(logits, embedding, *seen[0], rescaled)

    def features(self, images: Float[Array, "b h w 3"], ctx: Context) -> Hierarchy:
        """The backbone alone, at every scale: what a frozen trunk computes and a cache stores."""
        each = [self.backbone(scales.resized(images, scale), ctx) for scale in self.scales]
        return scales.named(each, self.scales)

    def kept_levels(self, start: str) -> tuple[str, ...]:
        """The maps before ``start`` that the rest of the recognizer reads, at every scale.

        A merge, attention, pooling or head names what it reads by ``levels``; one that does not
        reads all.
        """
        before = self.backbone.before(start)
        entry = () if start == "merge" else before[-1:]
        read = {level for part in self._readers() for level in getattr(part, "levels", before)}
        kept = [level for level in before if level in read or level in entry]
        return tuple(scales.name(level, scale) for scale in self.scales for level in kept)

    def _readers(self) -> list[nn.Module]:
        """The parts that read levels of the hierarchy."""
        parts = (self.merge, self.attention, self.pooling)
        return [part for part in parts if part is not None]

    def reclassify(
        self,
        inputs: tuple[Hierarchy, dict[str, Float[Array, "b h w m"]]],
        ctx: Context,
        start: str | None = None,
    ) -> Float[Array, "b k"]:
        """The logits of (merged maps, attention maps): what other attention would have decided.

        Raises:
            UserError: there are several scales, of which the maps of one are given.
        """
        del start
        if len(self.scales) > 1:
            raise UserError(
                "the objective 'cal' compares attention maps of one scale, and there are "
                f"{len(self.scales)}; set model.scales to (1.0,)"
            )
        merged, maps = inputs
        chosen = self.head.stem(self._pooled(merged), ctx.at("head"))
        embedding = self.pooling(chosen, ctx.at("pooling"), maps)
        return self.head(embedding, ctx.at("head"))

    def granularities(
        self, inputs: Float[Array, "b h w 3"] | Hierarchy, ctx: Context, start: str | None = None
    ) -> tuple[Float[Array, "b k"], ...]:
        """The logits of each classifier of the head "multi_granularity", as PMG trains them.

        Raises:
            UserError: another head.
        """
        if not isinstance(self.head, heads.MultiGranularity):
            raise UserError(
                "the objective 'pmg' trains a classifier for each level, and this head has one for "
                "all; set model.head.name to multi_granularity"
            )
        selected, maps = self._selected(self._seen(inputs, ctx, start), ctx)
        return self.head.each(self.pooling(selected, ctx.at("pooling"), maps), ctx.at("head"))

    def contributions(
        self,
        inputs: Float[Array, "b h w 3"] | Hierarchy,
        classes: Int[Array, " b"],
        ctx: Context,
        others: Int[Array, " b"] | None = None,
        start: str | None = None,
    ) -> Float[Array, "b h w"]:
        """Each location's exact share of the score of ``classes``, or of its lead over ``others``.

        The shares sum to the score less the head's bias (see ``pooling.contributions``). Those of
        other scales are laid over the locations of scale 1.
        """
        seen = self._seen(inputs, ctx, start)
        selected, maps = self._selected(seen, ctx)
        embedding = self.pooling(selected, ctx.at("pooling"), maps)
        direction = self.head.direction(embedding, classes)
        if others is not None:
            direction = direction - self.head.direction(embedding, others)
        shares = self.pooling.contributions(selected, direction, ctx.at("pooling"), maps)
        if len(seen) == 1:
            return shares
        aligned = [self.pooling.align(self._pooled(one.merged)) for one in seen]
        return scales.on_first_grid(shares, [maps[0].shape[1:3] for maps in aligned])

    def _seen(self, inputs, ctx, start) -> list[Seen]:
        """Every scale by itself."""
        if start is None:
            return [self._look(scales.resized(inputs, one), ctx, None) for one in self.scales]
        return [self._look(scales.at(inputs, one), ctx, start) for one in self.scales]

    def _look(self, inputs, ctx, start) -> Seen:
        hierarchy, stages = inputs, {}
        if start != "merge":
            stages = self.backbone.stages(inputs, ctx, start)
            hierarchy = self.backbone.hierarchy(stages)
            stages = {name: x for name, x in stages.items() if hierarchy.get(name) is not x}
        merged, maps = hierarchy, {}
        if self.merge is not None:
            merged = self.merge(merged, ctx.at("merge"))
        if self.attention is not None:
            merged, maps = self.attention(merged, ctx.at("attention"))
        return Seen(hierarchy, stages, merged, maps)

    def _selected(self, seen, ctx):
        """The maps to pool, of all scales together, and the attention maps on their grid."""
        each = [(self._pooled(one.merged), one.maps) for one in seen]
        selected, maps = scales.union(self.pooling.align, each)
        return self.head.stem(selected, ctx.at("head")), maps

    def _pooled(self, merged: Hierarchy) -> tuple[Float[Array, "b _h _w _c"], ...]:
        levels = self.pooling.levels
        if missing := [level for level in levels if level not in merged]:
            raise UserError(
                f"model.pooling.levels is ({', '.join(levels)}), but backbone and merge give "
                f"{', '.join(merged)}; name levels among those instead of {', '.join(missing)}"
            )
        return tuple(merged[level] for level in levels)
