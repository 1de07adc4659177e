"""Multiply-adds of a traced program, counted loop by loop.

XLA's own figure counts the body of a loop once; here a body counts as often as it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval


def multiply_adds(fn: Callable, *args: Any) -> int:
    """Multiply-adds of ``fn(*args)``, without running it; ``args`` may be ShapeDtypeStructs.

    Counted are matrix products, convolutions and, because a depthwise convolution may be written
    as a sum over taps, elementwise products of arrays. Of the branches of a ``cond`` the dearest
    counts. What nothing depends on is not counted, as the compiler removes it too.

    Raises:
        ValueError: the program has a ``while`` loop, whose trip count is not in the trace.
    """
    closed = jax.make_jaxpr(fn)(*args)
    live, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return _count(live)


def _count(jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contract, _), _ = params["dimension_numbers"]
        lhs = equation.invars[0].aval.shape
        return equation.outvars[0].aval.size * math.prod(lhs[axis] for axis in contract)
    if name == "conv_general_dilated":
        return _count_convolution(equation)
    if name == "mul":
        return equation.outvars[0].aval.size
    inner = [_count(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "while":
        raise ValueError("a while loop's trip count is not in the trace; use scan or fori_loop")
    if name == "cond":
        return max(inner)
    return params.get("length", 1) * sum(inner) if name == "scan" else sum(inner)


def _count_convolution(equation) -> int:
    """Multiply-adds of a convolution, without those by the zeros of a dilated input."""
    kernel = equation.invars[1].aval.shape
    dimensions = equation.params["dimension_numbers"]
    _, features, *window = (kernel[axis] for axis in dimensions.rhs_spec)
    taps = math.prod(window) * features
    return equation.outvars[0].aval.size * taps // math.prod(equation.params["lhs_dilation"])


def _jaxprs(params):
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
