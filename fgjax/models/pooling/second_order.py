"""Second-order pooling: every kind reads one Gram matrix, or one for each pair of maps.

One level is pooled with itself; several levels are pooled pairwise (hierarchical bilinear pooling),
each pair normalised by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.layers import Conv, ConvBN
from fgjax.models.pooling.base import Maps, NormalizedPooling, Part, attention_maps, require
from fgjax.ops.attribution import secant
from fgjax.ops.factorized import factorized
from fgjax.ops.gram import gram, triangle
from fgjax.ops.matrix_sqrt import damp, matrix_log, matrix_power, newton_schulz, root_residual


class SecondOrder(NormalizedPooling):
    """Pooling of products of features.

    Attributes:
        project: width of a 1x1 convolution on each map first; None for none.
        project_relu: follow that convolution by batch norm and ReLU.
    """

    project: int | None = None
    project_relu: bool = True

    @nn.compact
    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [self.part(*pair) for pair in self._pairs(self._projected(maps, ctx))]

    def part(self, name: str, x: Array, y: Array | None) -> Part:
        """The stretch of the pooled vector of one pair; y is None for a map with itself."""
        raise NotImplementedError

    def _pairs(self, maps: Maps) -> list[tuple[str, Array, Array | None]]:
        if len(maps) == 1:
            return [(self.levels[0], maps[0], None)]
        named = zip(self.levels, maps, strict=True)
        return [
            (f"{level_x}_{level_y}", x, y)
            for (level_x, x), (level_y, y) in itertools.combinations(named, 2)
        ]

    def _projected(self, maps: Maps, ctx: Context) -> Maps:
        if self.project is None:
            return maps
        names = [f"project_{level}" for level in self.levels]
        if self.project_relu:
            layers: list[nn.Module] = [
                ConvBN(self.project, activation=jax.nn.relu, name=name) for name in names
            ]
        else:
            layers = [Conv(self.project, name=name) for name in names]
        return tuple(layer(x, ctx) for layer, x in zip(layers, maps, strict=True))


class Bilinear(SecondOrder):
    """Bilinear pooling (Lin et al. 2015): the Gram matrix, c² values or c (c + 1) / 2.

    With a matrix function before the elementwise steps it is improved B-CNN (Lin & Maji 2017),
    iSQRT-COV (Li et al. 2018) or log-Euclidean pooling. ``root_residual``, sown in the collection
    ``intermediates``, tells how far Newton-Schulz is from convergence.

    Attributes:
        triangle: keep only the upper triangle.
        center: subtract the mean first: the covariance.
        root: matrix function: None, "newton_schulz" (square root), "power" or "log".
        iterations: steps of Newton-Schulz; fewer damp the small eigenvalues more.
        root_exponent: of root="power", by diagonalisation.
        damping: share of the mean eigenvalue that is added to every eigenvalue before ``root``.
    """

    triangle: bool = False
    center: bool = False
    root: str | None = None
    iterations: int = 5
    root_exponent: float = 0.5
    damping: float = 0.0

    @property
    def gives_gram(self) -> bool:
        """See :class:`Pooling`."""
        return len(self.levels) == 1 and not self.triangle

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        known = (None, "newton_schulz", "power", "log")
        require(self.root in known, f"root is {self.root!r}: choose one of {known}")
        require(self.root is not None or not self.damping, "damping acts before a root: choose one")
        symmetric = self.triangle or self.root is not None
        require(not symmetric or len(self.levels) == 1, "triangle and root need exactly one level")

    def part(self, name: str, x: Array, y: Array | None) -> Part:
        """See :class:`SecondOrder`."""
        return Part(lambda w: gram(x, y, w, center=self.center), self._finish, self._hold)

    def _finish(self, matrix: Float[Array, "b c e"]) -> Float[Array, "b d"]:
        return self.normalized(self._flat(self._function(matrix)))

    def _function(self, matrix: Array) -> Array:
        if self.root is None:
            return matrix
        matrix = damp(matrix, self.damping)
        if self.root == "log":
            return matrix_log(matrix)
        if self.root == "power":
            return matrix_power(matrix, self.root_exponent)
        root, inverse = newton_schulz(matrix, self.iterations)
        self.sow("intermediates", "root_residual", root_residual(root, inverse).mean())
        return root

    def _hold(self, matrix: Array) -> Callable[[Array], Array]:
        """Freezes the root's factor M, f(Σ) = Σ M, and the factors of the elementwise steps.

        What remains is linear in the weights of the locations. M has the eigenvectors of Σ.
        """
        flat = self._flat(self._function(matrix))
        elementwise = secant(flat, self.normalized(flat))
        if self.root is None:
            return lambda z: elementwise(self._flat(z))
        inverse = self._inverse(damp(matrix, self.damping))

        def held(z):
            half = damp(z, self.damping) @ inverse
            return elementwise(self._flat((half + half.mT) / 2))

        return held

    def _inverse(self, matrix: Array) -> Array:
        if self.root == "newton_schulz":
            return newton_schulz(matrix, self.iterations)[1]
        if self.root == "power":
            return matrix_power(matrix, self.root_exponent - 1)
        raise UserError(
            "a matrix logarithm is not linear in the locations, so a score has no shares: "
            'pool with root "newton_schulz" or "power" to attribute it'
        )

    def _flat(self, matrix: Array) -> Array:
        return triangle(matrix) if self.triangle else matrix.reshape(matrix.shape[0], -1)


class Factorized(SecondOrder):
    """Bilinear pooling by learned rank-one forms, Σ_p (uᵀ x_p)(vᵀ y_p), d values for each pair.

    One level: MLB (Kim et al. 2017) and, with ``factors`` > 1, MFB (Yu et al. 2017), whose values
    are sums of that many forms. Several levels: hierarchical bilinear pooling (Yu et al. 2018),
    one projection for each level and every pair of levels. Without bias or nonlinearity, as HBP's
    published networks.

    Attributes:
        d: values for each pair of maps.
        factors: rank-one forms summed into each value.
        algorithm: see ``ops.factorized``.
    """

    d: int = 1024
    factors: int = 1
    algorithm: str = "auto"

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        check_algorithm(self.algorithm, ("gram", "locations", "auto"))

    @nn.compact
    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        sides = dict(zip(self.levels, self._projected(maps, ctx), strict=True))
        if len(sides) == 1:
            ((level, x),) = sides.items()
            sides = {f"{level}_x": x, f"{level}_y": x}
        width, start = self.d * self.factors, nn.initializers.lecun_normal()
        kernels = {
            name: self.param(f"kernel_{name}", start, (x.shape[-1], width))
            for name, x in sides.items()
        }
        return [
            self._part(sides[a], None if sides[b] is sides[a] else sides[b], kernels[a], kernels[b])
            for a, b in itertools.combinations(sides, 2)
        ]

    def _part(self, x: Array, y: Array | None, u: Array, v: Array) -> Part:
        def statistic(w):
            forms = factorized(x, y, u, v, w, algorithm=self.algorithm)
            return forms.reshape(-1, self.d, self.factors).sum(-1)

        return Part(statistic, self.normalized)


class BilinearAttention(NormalizedPooling):
    """Bilinear attention pooling (WS-DAN, Hu et al. 2019): one mean feature for each part map.

    The product of the attention maps of the level, in place of a second feature map, with its
    features; m · c values.

    Attributes:
        scale: what the normalised vector is multiplied by.
    """

    scale: float = 100.0

    reads_attention = True

    @property
    def unit_length(self) -> bool:
        """See :class:`Pooling`."""
        return super().unit_length and self.scale == 1

    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [
            self._part(x, attention_maps(attention, level, x.shape[1:3]))
            for level, x in zip(self.levels, maps, strict=True)
        ]

    def _part(self, x: Array, maps: Float[Array, "b h w m"]) -> Part:
        def statistic(w):
            return gram(maps, x, w).reshape(x.shape[0], -1)

        return Part(statistic, lambda z: self.scale * self.normalized(z))


def check_algorithm(algorithm: str, known: tuple[str, ...]) -> None:
    """Raise a UserError for an unknown algorithm."""
    require(algorithm in known, f"algorithm is {algorithm!r}: choose one of {', '.join(known)}")
