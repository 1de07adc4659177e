"""Hand-written transposes under every transformation: forward, reverse, again, and vectorised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.models import backbones
from fgjax.models.context import Context
from fgjax.ops import convolution, max_pool, sketch
from fgjax.ops.linear import linear_in

PADS = ((1, 1), (0, 2))
GEOMETRY = dict(strides=(2, 1), pads=PADS, dilation=(1, 1))


def library(x, kernel, groups=1):
    return convolution._library(x, kernel, *GEOMETRY.values(), groups)


PAIRS = {
    "depthwise": (
        lambda x, k: convolution.depthwise(x, k, **GEOMETRY),
        lambda x, k: library(x, k, 3),
        (3, 3, 1, 3),
    ),
    "dense": (lambda x, k: convolution.dense(x, k, **GEOMETRY), library, (3, 3, 3, 4)),
    "1×1": (convolution.pointwise, lambda x, k: x @ k, (3, 4)),
}


def draw(*shapes, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def assert_close(found, wanted):
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert jnp.linalg.norm(got - want) <= 1e-5 * jnp.linalg.norm(want)


def transformations(f):
    """Functions of (x, kernel) that a user may ask for."""

    def curved(x, k):
        return jnp.sum(jnp.sin(f(x, k)) ** 2)

    def slope(x, k):
        return jnp.sum(jnp.sin(jax.grad(curved, 1)(x, k)))

    def by_kernel(k, x):
        return jax.grad(curved, (0, 1))(x, k)

    return {
        "forward": lambda x, k: jax.jvp(f, (x, k), (jnp.cos(x), jnp.cos(k))),
        "forward over reverse": lambda x, k: jax.jvp(
            lambda k: jax.grad(curved, (0, 1))(x, k), (k,), (jnp.cos(k),)
        ),
        "reverse over reverse": lambda x, k: jax.grad(slope, (0, 1))(x, k),
        "many kernels": lambda x, k: jax.vmap(by_kernel, (0, None))(jnp.stack([k, 2 * k]), x),
        "many images": lambda x, k: jax.vmap(by_kernel, (None, 0))(k, jnp.stack([x, 2 * x])),
        "both": lambda x, k: jax.vmap(by_kernel)(jnp.stack([k, -k]), jnp.stack([x, 2 * x])),
    }


@pytest.mark.parametrize("kind", PAIRS)
def test_convolutions_are_differentiated_in_either_mode_and_vectorised(kind):
    ours, theirs, shape = PAIRS[kind]
    x, kernel = draw((2, 5, 6, 3), shape)
    wanted = transformations(theirs)
    for name, transformed in transformations(ours).items():
        found = jax.jit(transformed)(x, kernel)
        assert_close(found, jax.jit(wanted[name])(x, kernel))


def test_max_pooling_and_sketches_have_a_forward_mode():
    (x, dx) = draw((2, 7, 6, 3), (2, 7, 6, 3))
    window = (3, 3), (2, 2), PADS

    def forward(f):
        return jax.jvp(f, (x,), (dx,))

    assert_close(
        forward(lambda x: max_pool._pool_by_taps(x, *window)),
        forward(lambda x: max_pool._pool(x, *window)),
    )
    hashes = sketch.draw_tensor_sketch(0, 3, 3, 16)
    direct = forward(lambda x: sketch.tensor_sketch(x, None, hashes, algorithm="gram"))
    spectral = forward(lambda x: sketch.tensor_sketch(x, None, hashes, algorithm="fft"))
    assert_close(direct, spectral)


def test_a_network_has_a_jacobian_by_forward_mode():
    network = backbones.create("efficientnet_lite0", width=0.25, last="conv2")
    (x, dx) = draw((1, 16, 16, 3), (1, 16, 16, 3))
    variables = network.init(jax.random.key(0), x, Context())

    def last(x):
        return network.apply(variables, x, Context())["conv2"]

    y, dy = jax.jit(lambda x, dx: jax.jvp(last, (x,), (dx,)))(x, dx)
    pulled = jax.jit(lambda x, y: jax.vjp(last, x)[1](y)[0])(x, y)
    np.testing.assert_allclose(jnp.vdot(y, dy), jnp.vdot(pulled, dx), rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_depthwise_sums_lose_no_more_than_the_librarys(dtype):
    x, kernel = draw((1, 28, 28, 8), (7, 7, 1, 8), dtype=dtype)
    x = jnp.abs(x) + 1
    geometry = dict(strides=(1, 1), pads=((3, 3), (3, 3)), dilation=(1, 1))

    def gradients(f, *arrays):
        y, pull = jax.vjp(f, *arrays)
        return [a.astype(jnp.float32) for a in (y, *pull(jnp.ones_like(y)))]

    def theirs(x, k):
        return convolution._library(x, k, *geometry.values(), 8)

    exact = gradients(theirs, x.astype(jnp.float32), kernel.astype(jnp.float32))
    found = gradients(lambda x, k: convolution.depthwise(x, k, **geometry), x, kernel)
    usual = gradients(theirs, x, kernel)
    for got, other, want in zip(found, usual, exact, strict=True):
        ours = jnp.linalg.norm(got - want)
        assert ours <= 1.01 * jnp.linalg.norm(other - want) + 1e-6 * jnp.linalg.norm(want)


def test_a_program_can_be_looked_into():
    twice = linear_in({0: lambda g, x: 2 * g})(lambda x: 2 * x)
    assert " mul " in str(jax.make_jaxpr(twice)(1.0))
    assert jax.grad(twice)(3.0) == 2.0
