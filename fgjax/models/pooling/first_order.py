"""First-order baselines: average, maximum and generalised-mean pooling."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.models.context import Context
from fgjax.models.pooling.base import Maps, Part, Pooling, Weights, require
from fgjax.ops.peak import maximum_over_places
from fgjax.ops.resize import resize_nearest


class FirstOrder(Pooling):
    """A pooling whose vector is one stretch after the other, of each level by itself."""


class Average(FirstOrder):
    """Mean over locations of each map, concatenated."""

    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [Part(functools.partial(weighted_sum, x), lambda z: z) for x in maps]


class Max(FirstOrder):
    """Maximum over the locations of each map, concatenated.

    In the exact attribution, the location that holds a maximum gets the whole share; of several
    that hold it, the first.
    """

    reduce: str = "sum"

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        require(self.reduce == "sum", f"reduce is {self.reduce!r}: a maximum has no mean, leave it")
        require(not self.attend, "a maximum does not weigh locations: leave attend out")

    def align(self, maps: Maps) -> Maps:
        """The maps on the finest grid by repetition: interpolation would flatten their peaks."""
        finest = max(x.shape[1:3] for x in maps)
        return tuple(resize_nearest(x, finest) for x in maps)

    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [self._part(x) for x in maps]

    def _part(self, x: Array) -> Part:
        x = x.astype(jnp.float32)

        def statistic(w):
            if w is None:
                return maximum_over_places(x)
            flat = x.reshape(x.shape[0], -1, x.shape[-1])
            held = jax.nn.one_hot(flat.argmax(1), flat.shape[1], axis=1)
            return weighted_sum(x * held.reshape(x.shape), w)

        return Part(statistic, lambda z: z)


class GeM(FirstOrder):
    """Generalised mean (Σ_p max(x_p, ε)^q / n)^(1/q) of each map, after Radenović et al. 2018.

    Attributes:
        power: q, 1 for the average and large for the maximum; where training starts.
        trainable: learn q, one for all channels of a map.
    """

    power: float = 3.0
    trainable: bool = True
    epsilon: float = 1e-6

    @nn.compact
    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """See :class:`Pooling`."""
        return [self._part(x, level) for x, level in zip(maps, self.levels, strict=True)]

    def _part(self, x: Array, level: str) -> Part:
        power: float | Array = self.power
        if self.trainable:
            power = self.param(f"power_{level}", nn.initializers.constant(self.power), ())
        x = jnp.maximum(x.astype(jnp.float32), self.epsilon)
        # Of degree 1 in x: powers of x / largest cannot overflow, and its gradient cancels.
        largest = jax.lax.stop_gradient(x.max((1, 2)))
        relative = x / largest[:, None, None]
        return Part(
            lambda w: weighted_sum(relative**power, w),
            lambda z: largest * jnp.maximum(z, jnp.finfo(z.dtype).tiny) ** (1 / power),
        )


def weighted_sum(x: Float[Array, "b h w c"], weights: Weights | None) -> Float[Array, "b c"]:
    """Σ_p w_p x_p in float32."""
    x = x.astype(jnp.float32)
    return (x if weights is None else x * weights[..., None]).sum((1, 2))
