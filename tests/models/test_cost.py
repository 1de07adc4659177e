"""Multiply-adds counted in traced programs, and what a frozen prefix saves of them."""

import functools

import jax
import jax.numpy as jnp
import pytest
import toy
from jax import lax

from fgjax.models import backbones, heads, pooling, recognizer
from fgjax.models.context import Context
from fgjax.models.cost import multiply_adds
from fgjax.training.state import initial_state
from fgjax.training.step import train_step
from fgjax.vocabulary import LEVELS

SIZE, BATCH = 64, 16  # the update itself, a few operations a parameter, is small beside 16 images


def zeros(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("fn", "shapes", "expected"),
    [
        (jnp.matmul, [(3, 5), (5, 7)], 3 * 5 * 7),
        (jnp.multiply, [(3, 5), (3, 5)], 15),
        (lambda x, w: jax.jit(jnp.matmul)(x, w), [(3, 5), (5, 7)], 3 * 5 * 7),
        (lambda x: lax.fori_loop(0, 9, lambda i, x: x * x, x), [(4,)], 9 * 4),
        (lambda x: lax.scan(lambda c, r: (c @ r, c), jnp.eye(2), x), [(6, 2, 2)], 6 * 8),
        (lambda x: lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x * x, x), [(4, 4)], 64),
        (lambda x, w: [x @ w, jnp.zeros(3)][1], [(3, 5), (5, 7)], 0),  # nothing depends on it
        (lambda x: jax.grad(lambda x: (x @ jnp.ones((5, 7))).sum())(x), [(3, 5)], 3 * 5 * 7),
    ],
    ids=["matmul", "mul", "jit", "fori", "scan", "cond", "dead", "grad"],
)
def test_programs_are_counted(fn, shapes, expected):
    assert multiply_adds(fn, *(zeros(*shape) for shape in shapes)) == expected


@pytest.mark.parametrize(
    ("groups", "strides", "expected"),
    [(1, 1, 64 * 9 * 4 * 6), (2, 1, 64 * 9 * 2 * 6), (1, 2, 16 * 9 * 4 * 6)],
)
def test_convolutions_are_counted(groups, strides, expected):
    def convolve(x, w):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, w, (strides, strides), "SAME", dimension_numbers=layout, feature_group_count=groups
        )

    x, w = zeros(1, 8, 8, 4), zeros(3, 3, 4 // groups, 6)
    assert multiply_adds(convolve, x, w) == expected
    # Either gradient of a convolution multiplies as often as the convolution, padding apart.
    for argument in (0, 1):
        gradient = jax.grad(lambda *args: convolve(*args).sum(), argument)
        assert multiply_adds(gradient, x, w) == pytest.approx(expected, rel=0.3)


def test_an_open_loop_is_refused():
    with pytest.raises(ValueError, match="trip count is not in the trace"):
        multiply_adds(lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: 2 * x, x), zeros(3))


MODULE = recognizer.Recognizer(
    backbones.create("resnet50"), pooling.create("average"), heads.Linear(toy.CLASSES)
)
IMAGES = zeros(BATCH, SIZE, SIZE, 3)


@functools.cache
def shapes_of_variables():
    return jax.eval_shape(lambda x: MODULE.init(jax.random.key(0), x, Context()), IMAGES)


def forward(start=None):
    """Multiply-adds of a forward pass; with ``start``, of what comes before it."""

    def run(variables, images):
        outputs = MODULE.apply(variables, images, Context())
        return outputs.hierarchy["conv3"] if start == "conv4" else outputs.logits

    return multiply_adds(run, shapes_of_variables(), IMAGES)


def step(*groups, inputs=IMAGES, start=None):
    """Multiply-adds of the training step that trains ``groups``."""

    def run(variables, inputs):
        state = initial_state({"constants": {}} | variables, False, {})
        schedule = [dict(name="only", train=dict.fromkeys(groups, 0.1))]
        settings, state = toy.settings(MODULE, state, schedule, start=start)
        settings = settings._replace(prepare=lambda batch, keys: (inputs, jnp.eye(BATCH, 4)))
        batch = {"label": jnp.zeros(BATCH, jnp.int32), "mask": jnp.ones(BATCH)}
        return train_step(state, batch, settings=settings, axis_name=None)

    return multiply_adds(run, shapes_of_variables(), inputs)


def test_a_step_of_the_head_alone_costs_its_forward_pass():
    assert forward() <= step("head") <= 1.05 * forward()


def test_training_late_levels_computes_no_gradient_of_the_earlier_ones():
    groups = "conv4", "conv5", "head"
    stored = {"conv3": zeros(BATCH, SIZE // 8, SIZE // 8, 512)}
    # From images the step costs the early levels' forward pass more than from stored conv3.
    early = step(*groups) - step(*groups, inputs=stored, start="conv4")
    assert early == pytest.approx(forward("conv4"), rel=1e-3)
    assert step(*groups) > 1.5 * forward()


def test_training_everything_costs_three_forward_passes():
    assert 2.7 * forward() <= step(*LEVELS, "head") <= 3.2 * forward()
