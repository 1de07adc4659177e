"""Functions that are linear in some of their arguments, with transposes written by hand.

They are differentiated in either mode, as often as wanted, and vectorised. ``jax.custom_vjp`` takes
hand-written gradients too, but forbids forward mode (``jax.jvp``, ``jacfwd``, ``hessian``);
``jax.custom_jvp`` leaves the transpose to JAX; ``jax.custom_derivatives.linear_call`` has neither a
rule for ``vmap`` nor derivatives by what is not transposed. A primitive of its own has all of it:
the derivative of a linear function is the function itself, so that only the transpose is new.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

# (cotangent, *arguments, **static) -> gradient; in the place of the argument whose gradient it is
# stands its ShapeDtypeStruct.
Pull = Callable[..., Any]


def linear_in(pulls: Mapping[int, Pull]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of ``function(*arrays, **static) -> array``, linear in some of its arrays.

    Args:
        pulls: {place of an array: the function that pulls a cotangent back to it}. By the other
            arrays no derivative is taken: they are integers.
    """

    def decorate(function):
        primitive = _primitive(function.__name__, function.__code__.co_argcount, tuple(pulls))

        @functools.wraps(function)
        def call(*arrays, **static):
            own = {place: functools.partial(pull, **static) for place, pull in pulls.items()}
            return _bind(primitive, functools.partial(function, **static), own, arrays)

        return call

    return decorate


def _bind(primitive, function, pulls, arrays):
    # The trace goes with the primitive, so that whoever reads a program can look inside.
    traced = jax.make_jaxpr(function)(*arrays)
    return primitive.bind(*arrays, traced=traced, function=function, pulls=tuple(pulls.items()))


def _primitive(name: str, arrays: int, linear: tuple[int, ...]) -> core.Primitive:
    primitive = core.Primitive(name)
    primitive.def_impl(_evaluated)
    primitive.def_abstract_eval(lambda *_, traced, **__: traced.out_avals[0])
    mlir.register_lowering(primitive, mlir.lower_fun(_evaluated, multiple_results=False))
    rules = [_derivative(primitive, place) if place in linear else None for place in range(arrays)]
    ad.defjvp(primitive, *rules)
    ad.primitive_transposes[primitive] = _transposed
    batching.primitive_batchers[primitive] = functools.partial(_batched, primitive)
    return primitive


def _evaluated(*arrays, traced, **_):
    return core.jaxpr_as_fun(traced)(*arrays)[0]


def _derivative(primitive, place):
    def along(tangent, *arrays, **params):
        return primitive.bind(*arrays[:place], tangent, *arrays[place + 1 :], **params)

    return along


def _transposed(cotangent, *arrays, pulls, **_):
    (place,) = (n for n, array in enumerate(arrays) if ad.is_undefined_primal(array))
    aval = arrays[place].aval
    gradients: list[Any] = [None] * len(arrays)
    if type(cotangent) is ad.Zero:
        gradients[place] = ad.Zero(aval)
    else:
        struct = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        given = (*arrays[:place], struct, *arrays[place + 1 :])
        gradients[place] = dict(pulls)[place](cotangent, *given)
    return gradients


def _batched(primitive, arrays, dims, *, function, pulls, **_):
    """One call of the vectorised function, whose transposes are the vectorised transposes."""
    own = {place: functools.partial(_batched_pull, pull, place, dims) for place, pull in pulls}
    return _bind(primitive, jax.vmap(function, dims), own, arrays), 0


def _batched_pull(pull, place, dims, cotangent, *arrays):
    struct, axis = arrays[place], dims[place]
    if axis is not None:
        shape = struct.shape[:axis] + struct.shape[axis + 1 :]
        struct = jax.ShapeDtypeStruct(shape, struct.dtype)

    def one(cotangent, *others):
        return pull(cotangent, *others[:place], struct, *others[place:])

    others, along = ((*of[:place], *of[place + 1 :]) for of in (arrays, dims))
    gradients = jax.vmap(one, (0, *along), axis or 0)(cotangent, *others)
    return gradients.sum(0) if axis is None else gradients
