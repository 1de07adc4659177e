"""Compact bilinear pooling: sketches of the Gram matrix."""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jaxtyping import Array

from fgjax.models.pooling.base import Part, require
from fgjax.models.pooling.second_order import SecondOrder, check_algorithm
from fgjax.ops.factorized import draw_random_maclaurin, factorized
from fgjax.ops.sketch import TensorSketch, draw_tensor_sketch, tensor_sketch

_ALGORITHMS = {"tensor": ("gram", "fft", "auto"), "maclaurin": ("gram", "locations", "auto")}


class CompactBilinear(SecondOrder):
    """Compact bilinear pooling (Gao et al. 2016), d values for each pair of maps.

    The hashes and signs come from ``seed`` and are kept in the collection ``constants``, saved with
    the model and never trained; levels share them on their common channels.

    Attributes:
        d: values for each pair of maps.
        sketch: "tensor" (Tensor Sketch) or "maclaurin" (Random Maclaurin).
        algorithm: "gram", "fft" (Tensor Sketch) or "locations" (Random Maclaurin), or "auto".
        seed: of hashes and signs.
    """

    d: int = 8192
    sketch: str = "tensor"
    algorithm: str = "auto"
    seed: int = 0

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        known = ", ".join(_ALGORITHMS)
        require(self.sketch in _ALGORITHMS, f"sketch is {self.sketch!r}: choose one of {known}")
        check_algorithm(self.algorithm, _ALGORITHMS[self.sketch])

    def part(self, name: str, x: Array, y: Array | None) -> Part:
        """See :class:`SecondOrder`."""
        shape = x.shape[-1], (x if y is None else y).shape[-1], self.d
        if self.sketch == "maclaurin":
            u, v = self._constants(name, ("u", "v"), draw_random_maclaurin, shape)
            scale = self.d**-0.5

            def statistic(w):
                return scale * factorized(x, y, u, v, w, algorithm=self.algorithm)
        else:
            fields = self._constants(name, TensorSketch._fields, draw_tensor_sketch, shape)
            hashes = TensorSketch(*fields)

            def statistic(w):
                return tensor_sketch(x, y, hashes, w, algorithm=self.algorithm)

        return Part(statistic, self.normalized)

    def _constants(self, pair, fields, draw, shape) -> list[Array]:
        """The arrays of ``draw(seed, *shape)``, drawn only where the model does not have them."""
        drawn = functools.cache(lambda: draw(self.seed, *shape))

        def variable(index, field):
            start = lambda: jnp.asarray(drawn()[index])  # noqa: E731
            return self.variable("constants", f"{pair}_{field}", start).value

        return [variable(index, field) for index, field in enumerate(fields)]
