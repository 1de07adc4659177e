"""What heads share."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fgjax.errors import UserError
from fgjax.models.context import Context

Maps = tuple[Float[Array, "b _h _w _c"], ...]
Pooled = Float[Array, "b d"]


class Head(nn.Module):
    """What heads share: an optional layer before the pooling, dropout, and the classes' directions.

    Attributes:
        classes: number of classes, k.
        dropout: rate at which pooled values are dropped in training.
        expand: layer on the map *before* the pooling, such as EfficientNet's 1x1 to 1280.
    """

    classes: int
    dropout: float = 0.0
    expand: nn.Module | None = None

    # Whether the scores are weights times the vector as it is: their gradient is as long as that.
    linear = False

    def stem(self, maps: Maps, ctx: Context) -> Maps:
        """The maps as the pooling is to see them."""
        if self.expand is None:
            return maps
        if len(maps) != 1:
            raise UserError(
                f"model.head.expand widens one map, and the pooling reads {len(maps)}: "
                "leave expand out or pool one level"
            )
        return (self.expand(maps[0], ctx.at("head")),)

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """Weights by which each example's pooled vector enters the score of its class."""
        raise NotImplementedError

    def _dropped(self, pooled: Pooled, ctx: Context) -> Pooled:
        if not (ctx.train and self.dropout):
            return pooled
        # A key for each example by its place in the global batch, on however many devices.
        place = jnp.arange(len(pooled))
        if ctx.axis_name is not None:
            place = place + len(pooled) * jax.lax.axis_index(ctx.axis_name)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng("dropout"), place)
        keep = 1 - self.dropout
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, keep, pooled.shape[1:]))(keys)
        return jnp.where(kept, pooled / keep, 0)
