"""The few layers that everything is made of: convolution, batch norm, their fusion, dense, pools.

Parameters and statistics are float32; activations have the dtype of the context. Kernels are
(height, width, in / groups, out).
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fgjax.models.context import Context
from fgjax.ops import max_pool as pooling
from fgjax.ops.convolution import Padding, convolve, explicit_padding

Images = Float[Array, "b h w c"]
Activation = Callable[[Array], Array]

# He initialisation by fan-in, which counts one input channel in a depthwise kernel.
_KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def relu6(x: Float[Array, ...]) -> Float[Array, ...]:
    """min(max(x, 0), 6)."""
    return jnp.clip(x, 0, 6)


class Conv(nn.Module):
    """Two-dimensional convolution; ``padding=1`` pads like PyTorch, "SAME" like TensorFlow."""

    features: int
    kernel_size: int | tuple[int, int] = 1
    strides: int | tuple[int, int] = 1
    padding: Padding = "SAME"
    groups: int = 1
    dilation: int = 1
    use_bias: bool = False

    @nn.compact
    def parameters(self, channels: int) -> tuple[Array, Array | None]:
        """Kernel and bias for an input of ``channels``."""
        shape = (*_pair(self.kernel_size), channels // self.groups, self.features)
        kernel = self.param("kernel", _KERNEL_INIT, shape)
        bias = (
            self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        )
        return kernel, bias

    def __call__(
        self,
        x: Images,
        ctx: Context,
        affine: tuple[Float[Array, " o"], Float[Array, " o"]] | None = None,
    ) -> Float[Array, "b hh ww o"]:
        """The convolution, then ``affine``, (scale, shift), folded into kernel and bias."""
        kernel, bias = self.parameters(x.shape[-1])
        if affine is not None:
            scale, shift = affine
            kernel = kernel * scale
            bias = shift if bias is None else bias * scale + shift
        y = convolve(
            x.astype(ctx.dtype),
            kernel.astype(ctx.dtype),
            _pair(self.strides),
            self.padding,
            self.groups,
            _pair(self.dilation),
        )
        return y if bias is None else y + bias.astype(ctx.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation, as the context's :class:`BatchNormMode` of the current group says.

    PyTorch's convention: the running variance follows the *unbiased* variance of the batch, the
    normalisation uses the biased one. ``momentum`` is what the running value keeps, 0.9 = 1 - 0.1
    of PyTorch. Statistics are shared over ``ctx.axis_name``.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def tensors(self, features: int):
        """Parameters scale and bias, variables mean and var, each [features]."""
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        var = self.variable("batch_stats", "var", jnp.ones, (features,))
        return scale, bias, mean, var

    def running_affine(self, features: int) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """The map ``scale * x + shift`` that the layer is when it uses running statistics."""
        scale, bias, mean, var = self.tensors(features)
        factor = scale * lax.rsqrt(var.value + self.epsilon)
        return factor, bias - mean.value * factor

    def __call__(self, x: Images, ctx: Context) -> Images:
        """Normalised ``x``; moves the running statistics where the mode says so."""
        mode = ctx.bn_mode
        if not (mode.batch or mode.update):
            scale, shift = self.running_affine(x.shape[-1])
            return (x * scale + shift).astype(ctx.dtype)
        scale, bias, mean, var = self.tensors(x.shape[-1])
        batch_mean, batch_var, count = _moments(x, mean.value, ctx.axis_name)
        if mode.batch:
            factor = scale * lax.rsqrt(batch_var + self.epsilon)
            y = (x * factor + (bias - batch_mean * factor)).astype(ctx.dtype)
        else:
            factor, shift = self.running_affine(x.shape[-1])
            y = (x * factor + shift).astype(ctx.dtype)
        if mode.update and not self.is_initializing():
            keep = self.momentum
            unbiased = batch_var * (count / max(count - 1, 1))
            mean.value = keep * mean.value + (1 - keep) * lax.stop_gradient(batch_mean)
            var.value = keep * var.value + (1 - keep) * lax.stop_gradient(unbiased)
        return y


def _moments(x, about, axis_name):
    """Mean, biased variance and sample count of each channel.

    ``about`` is subtracted first: of values far from zero the variance would cancel.
    """
    centred = x.astype(jnp.float32) - about
    first, second = jnp.mean(centred, (0, 1, 2)), jnp.mean(jnp.square(centred), (0, 1, 2))
    count = x.size / x.shape[-1]
    if axis_name is not None:
        first, second = lax.pmean((first, second), axis_name)
        count = count * lax.axis_size(axis_name)
    return about + first, jnp.maximum(second - jnp.square(first), 0.0), count


class ConvBN(nn.Module):
    """Convolution, batch norm, activation; with running statistics the norm costs no pass."""

    features: int
    kernel_size: int | tuple[int, int] = 1
    strides: int | tuple[int, int] = 1
    padding: Padding = "SAME"
    groups: int = 1
    dilation: int = 1
    use_bias: bool = False
    activation: Activation | None = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Images, ctx: Context) -> Float[Array, "b hh ww o"]:
        """Activation of the normalised convolution."""
        conv = Conv(
            self.features, self.kernel_size, self.strides, self.padding,
            self.groups, self.dilation, self.use_bias, name="conv",
        )  # fmt: skip
        norm = BatchNorm(epsilon=self.epsilon, name="bn")
        mode = ctx.bn_mode
        if mode.batch or mode.update:
            y = norm(conv(x, ctx), ctx)
        else:
            y = conv(x, ctx, norm.running_affine(self.features))
        return y if self.activation is None else self.activation(y)


class LayerNorm(nn.Module):
    """Layer normalisation over channels, in float32."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "... c"], ctx: Context) -> Float[Array, "... c"]:
        """``scale * (x - mean) / sqrt(var + epsilon) + bias``."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y - jnp.mean(y, -1, keepdims=True)
        y = y * lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + self.epsilon)
        return (y * scale + bias).astype(ctx.dtype)


class Dense(nn.Module):
    """Linear map of the last axis."""

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "... i"], ctx: Context) -> Float[Array, "... o"]:
        """``x @ kernel + bias``."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = x.astype(ctx.dtype) @ kernel.astype(ctx.dtype)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(ctx.dtype)
        return y


def max_pool(
    x: Images,
    window: int,
    strides: int | None = None,
    padding: Padding = "VALID",
) -> Images:
    """Maximum over ``window`` × ``window`` pixels, every ``strides`` (default: ``window``)."""
    step = _pair(window if strides is None else strides)
    pads = explicit_padding(padding, x.shape[1:3], _pair(window), step, (1, 1))
    return pooling.max_pool(x, _pair(window), step, pads)


def average_pool(x: Images) -> Float[Array, "b c"]:
    """Mean over all locations, in float32."""
    return jnp.mean(x, (1, 2), dtype=jnp.float32)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width
