"""Every formulation of a convolution against the library's own, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from fgjax.ops.convolution import convolve, explicit_padding

# Kernel, strides, padding, dilation, and height and width that leave remainders.
DEPTHWISE = [
    ((3, 3), (1, 1), "SAME", (1, 1), (6, 7)),
    ((3, 3), (2, 2), "SAME", (1, 1), (7, 6)),
    ((5, 5), (2, 2), 2, (1, 1), (9, 8)),
    ((7, 7), (1, 1), 3, (1, 1), (5, 6)),
    ((3, 3), (1, 1), 2, (2, 2), (6, 6)),
    ((3, 2), (2, 1), ((1, 0), (0, 2)), (1, 2), (7, 5)),
    ((3, 3), (2, 2), "VALID", (1, 1), (8, 9)),
]
# 1×1, unpadded and padded, strided; a dense 3×3; a grouped one; one input channel to many.
DENSE = [
    ((1, 1, 4, 5), (1, 1), "SAME", 1),
    ((1, 1, 4, 5), (2, 2), "VALID", 1),
    ((1, 1, 4, 5), (3, 2), "SAME", 1),
    ((1, 1, 4, 5), (2, 2), 1, 1),
    ((3, 3, 4, 5), (2, 2), "SAME", 1),
    ((3, 3, 2, 6), (1, 1), 1, 2),
    ((1, 1, 1, 4), (1, 1), "SAME", 4),
    ((3, 3, 1, 8), (1, 1), "SAME", 4),
]


def reference(x, kernel, strides, padding, groups=1, dilation=(1, 1)):
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    )  # fmt: skip


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def assert_equal(ours, theirs, x, kernel):
    """Values, and the gradients that one random cotangent pulls back."""
    y, pull = jax.vjp(ours, x, kernel)
    want, want_pull = jax.vjp(theirs, x, kernel)
    (cotangent,) = draw(want.shape)
    pairs = zip((y, *pull(cotangent)), (want, *want_pull(cotangent)), strict=True)
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("window", "strides", "padding", "dilation", "size"), DEPTHWISE)
def test_depthwise_equals_the_library(window, strides, padding, dilation, size):
    x, kernel = draw((2, *size, 3), (*window, 1, 3))
    assert_equal(
        lambda x, k: convolve(x, k, strides, padding, 3, dilation),
        lambda x, k: reference(x, k, strides, padding, 3, dilation),
        x, kernel,
    )  # fmt: skip


@pytest.mark.parametrize(("shape", "strides", "padding", "groups"), DENSE)
def test_dense_equals_the_library(shape, strides, padding, groups):
    x, kernel = draw((2, 7, 6, shape[2] * groups), shape)
    assert_equal(
        lambda x, k: convolve(x, k, strides, padding, groups),
        lambda x, k: reference(x, k, strides, padding, groups),
        x, kernel,
    )  # fmt: skip


@pytest.mark.parametrize(("window", "strides", "padding", "dilation", "size"), DEPTHWISE[:5])
def test_hand_written_gradients_equal_differences(window, strides, padding, dilation, size):
    x, kernel = draw((1, *size, 2), (*window, 1, 2))
    # A convolution is linear in either argument: a wide difference is exact, and drowns rounding.
    check_grads(
        lambda x, k: convolve(x, k, strides, padding, 2, dilation),
        (x, kernel), order=1, modes=["rev"], atol=1e-3, rtol=1e-3, eps=0.5,
    )  # fmt: skip


def test_gradients_of_a_half_precision_kernel_are_summed_in_float32():
    x, kernel = (a.astype(jnp.bfloat16) for a in draw((4, 32, 32, 2), (3, 3, 1, 2)))
    (weights,) = (a.astype(jnp.bfloat16) for a in draw((4, 32, 32, 2)))

    def gradient(dtype):
        def loss(kernel):
            y = convolve(x.astype(dtype), kernel.astype(dtype), groups=2)
            return jnp.sum((y * weights).astype(jnp.float32))

        return jax.grad(loss)(kernel.astype(jnp.float32))

    exact, half = gradient(jnp.float32), gradient(jnp.bfloat16)
    # One rounding of the result; a bfloat16 sum of 4096 products loses far more.
    assert jnp.linalg.norm(half - exact) < 2**-8 * jnp.linalg.norm(exact)


@pytest.mark.parametrize(
    ("shape", "groups", "library"),
    [((3, 3, 1, 3), 3, False), ((1, 1, 3, 2), 1, False), ((3, 3, 3, 2), 1, True)],
    ids=["depthwise", "1×1", "dense"],
)
def test_formulations_are_chosen_by_backend(shape, groups, library):
    x, kernel = draw((1, 4, 4, 3), shape)
    program = str(jax.make_jaxpr(lambda kernel: convolve(x, kernel, groups=groups))(kernel))
    on_cpu = jax.default_backend() == "cpu"
    assert ("conv_general_dilated" in program) == (library or not on_cpu)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("SAME", ((0, 1), (1, 1))),
        ("VALID", ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
    ],
)
def test_explicit_padding(padding, expected):
    assert explicit_padding(padding, (8, 7), (3, 3), (2, 2), (1, 1)) == expected


def test_unknown_padding_is_named():
    with pytest.raises(ValueError, match="'same'"):
        explicit_padding("same", (8, 8), (3, 3), (1, 1), (1, 1))
