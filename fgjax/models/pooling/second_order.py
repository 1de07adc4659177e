"""Second-order pooling: every kind reads one Gram matrix, or one for each pair of maps.

One level is pooled with itself; several levels are pooled pairwise (hierarchical bilinear pooling),
each pair normalised by itself.
"""

from __future__ import annotations

import functools
import itertools

import flax.linen as nn
from jaxtyping import Array

from fgjax.models.context import Context
from fgjax.models.pooling.base import Maps, NormalizedPooling, Part, require
from fgjax.ops.gram import gram, triangle
from fgjax.ops.sketch import TensorSketch, draw_tensor_sketch, tensor_sketch


class SecondOrder(NormalizedPooling):
    """Pooling of products of features."""

    def pairs(self, maps: Maps) -> list[tuple[str, Array, Array | None]]:
        """(name, x, y) of what is multiplied; y is None for a map with itself."""
        if len(maps) == 1:
            return [(self.levels[0], maps[0], None)]
        named = zip(self.levels, maps, strict=True)
        return [
            (f"{level_x}_{level_y}", x, y)
            for (level_x, x), (level_y, y) in itertools.combinations(named, 2)
        ]


class Bilinear(SecondOrder):
    """Full bilinear pooling (Lin et al. 2015): the Gram matrix, c² or c (c + 1) / 2 values.

    Attributes:
        triangle: keep only the upper triangle.
        center: subtract the mean first: the covariance.
    """

    triangle: bool = False
    center: bool = False

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        require(not self.triangle or len(self.levels) == 1, "a triangle needs exactly one level")

    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [
            Part(lambda w, x=x, y=y: self._flat(gram(x, y, w, center=self.center)), self.normalized)
            for _, x, y in self.pairs(maps)
        ]

    def _flat(self, matrix: Array) -> Array:
        return triangle(matrix) if self.triangle else matrix.reshape(matrix.shape[0], -1)


class CompactBilinear(SecondOrder):
    """Compact bilinear pooling (Gao et al. 2016), d values for each pair of maps.

    The hashes come from ``seed`` and are kept in the collection ``constants``, saved with the model
    and never trained; levels share them on their common channels.
    """

    d: int = 8192
    algorithm: str = "auto"
    seed: int = 0

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        require(self.d > 0, f"d is {self.d}: a sketch needs at least one dimension")
        known = ("gram", "fft", "auto")
        require(
            self.algorithm in known,
            f"algorithm is {self.algorithm!r}: choose one of {', '.join(known)}",
        )

    @nn.compact
    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [self._part(*pair) for pair in self.pairs(maps)]

    def _part(self, name: str, x: Array, y: Array | None) -> Part:
        channels_y = (x if y is None else y).shape[-1]
        draw = functools.cache(
            lambda: draw_tensor_sketch(self.seed, x.shape[-1], channels_y, self.d)
        )
        sketch = TensorSketch(
            *(
                self.variable(
                    "constants", f"{name}_{field}", lambda field=field: getattr(draw(), field)
                ).value
                for field in TensorSketch._fields
            )
        )
        return Part(
            lambda w: tensor_sketch(x, y, sketch, w, algorithm=self.algorithm), self.normalized
        )
