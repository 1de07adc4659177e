"""Compact bilinear pooling: the Gram path against what a user would pick instead.

    python -m benchmarks.pooling [--rounds 7] [--shapes 8x28x28x512,...]

For every shape, in one run: Tensor Sketch (d = 8192, summed over locations, before any
normalisation) by the Gram matrix and in the frequency domain as fgjax computes them, against

    (a) sketch and inverse transform at every location, then sum, in JAX: the usual formulation;
    (b) the same in PyTorch (count sketch, ``torch.fft``, sum), where PyTorch is installed;
    (c) the bare Gram matrix, the floor of anything that reads it.

Times are medians of rounds in which every formulation takes its turn, so that a busy machine slows
all alike; the ratios are what counts. Memory is XLA's own figure for the temporaries of the
compiled program.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import interleaved
from fgjax.ops.gram import gram
from fgjax.ops.sketch import (
    TensorSketch,
    draw_tensor_sketch,
    gram_is_cheaper,
    tensor_sketch,
    tensor_sketch_map,
)

D = 8192
SHAPES = "8x28x28x512,8x14x14x512,8x14x14x1024,8x14x14x2048"


class Measured(NamedTuple):
    """A formulation: how to run it once, and its temporary memory in MiB where XLA tells."""

    run: Callable[[], None]
    memory: float | None


def main() -> None:
    """Measure every shape and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", default=SHAPES)
    flags = parser.parse_args()
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {device.platform} ({device.device_kind}), ", end="")
    print(f"{platform.machine()}, d = {D}, float32\n")
    for shape in flags.shapes.split(","):
        compare(tuple(map(int, shape.split("x"))), flags.rounds)


def compare(shape: tuple[int, ...], rounds: int) -> None:
    """Print the table of one shape (batch, height, width, channels)."""
    rng = np.random.default_rng(0)
    x = rng.random(shape, np.float32)
    sketch = draw_tensor_sketch(0, shape[-1], shape[-1], D)
    check_equal(jnp.asarray(x[:1]), sketch)
    forward, backward = {}, {}
    for name, function in FORMULATIONS.items():
        forward[name] = compiled(function, x, sketch)
        backward[name] = compiled(gradient(function), x, sketch)
    if importlib.util.find_spec("torch"):
        forward["(b) per location, PyTorch"] = Measured(torch_run(x, sketch, False), None)
        backward["(b) per location, PyTorch"] = Measured(torch_run(x, sketch, True), None)
    choice = "gram" if gram_is_cheaper(shape[1] * shape[2], shape[-1], shape[-1], D) else "fft"
    print(f"### {' x '.join(map(str, shape))}: auto picks {choice}\n")
    print("| | forward | MiB | forward + backward | MiB | times the Gram path's time |")
    print("|---|---|---|---|---|---|")
    times = [
        interleaved({name: one.run for name, one in measured.items()}, rounds)
        for measured in (forward, backward)
    ]
    for name in forward:
        cells = []
        for measured, time_ in zip((forward, backward), times, strict=True):
            memory = measured[name].memory
            cells += [f"{1e3 * time_[name]:.1f} ms", "" if memory is None else f"{memory:.1f}"]
        ratios = " / ".join(f"{t[name] / t['Gram path']:.2f}" for t in times)
        print(f"| {name} | {' | '.join(cells)} | {ratios} |")
    print(flush=True)


def per_location(x: jax.Array, sketch: TensorSketch) -> jax.Array:
    """The usual formulation: count sketches by scatter, transforms at every location, a sum."""

    def count_sketch(hashes, signs):
        return jnp.zeros((*x.shape[:-1], D)).at[..., hashes].add(x * signs)

    spectra = jnp.fft.rfft(count_sketch(sketch.hashes_x, sketch.signs_x)) * jnp.fft.rfft(
        count_sketch(sketch.hashes_y, sketch.signs_y)
    )
    return jnp.fft.irfft(spectra, n=D).sum((1, 2))


FORMULATIONS: dict[str, Callable[[jax.Array, TensorSketch], jax.Array]] = {
    "Gram path": lambda x, sketch: tensor_sketch(x, None, sketch, algorithm="gram"),
    "frequency path": lambda x, sketch: tensor_sketch(x, None, sketch, algorithm="fft"),
    "(a) per location": per_location,
    "(c) bare Gram matrix": lambda x, sketch: gram(x),
}


def torch_run(x: np.ndarray, sketch: TensorSketch, backward: bool) -> Callable[[], None]:
    """The usual formulation in PyTorch, with ``index_add_`` for the count sketch."""
    import torch

    features = torch.tensor(x, requires_grad=backward)
    hashes = [torch.tensor(np.array(h)).long() for h in sketch[:2]]
    signs = [torch.tensor(np.array(s)) for s in sketch[2:4]]

    def pooled():
        sketches = [
            torch.zeros(*x.shape[:-1], D).index_add(-1, h, features * s)
            for h, s in zip(hashes, signs, strict=True)
        ]
        spectra = torch.fft.rfft(sketches[0]) * torch.fft.rfft(sketches[1])
        return torch.fft.irfft(spectra, n=D).sum((1, 2))

    def run():
        if backward:
            features.grad = None
            pooled().square().sum().backward()
        else:
            with torch.no_grad():
                pooled()

    return run


def check_equal(x: jax.Array, sketch: TensorSketch) -> None:
    """Refuse to time formulations that do not compute the same."""
    want = tensor_sketch_map(x, None, sketch).sum((1, 2))
    for name, function in FORMULATIONS.items():
        if "bare" not in name:
            error = jnp.linalg.norm(function(x, sketch) - want) / jnp.linalg.norm(want)
            if not error < 1e-5:
                raise SystemExit(f"{name} differs by {error:.1e}")


def gradient(function: Callable) -> Callable:
    """Value and gradient of the squared length of ``function``'s result."""
    return jax.value_and_grad(lambda x, sketch: jnp.square(function(x, sketch)).sum())


def compiled(function: Callable, x: np.ndarray, sketch: TensorSketch) -> Measured:
    """``function`` compiled for ``x``, with the memory of its temporaries."""
    x = jnp.asarray(x)
    program = jax.jit(function, keep_unused=True).lower(x, sketch).compile()
    return Measured(
        lambda: jax.block_until_ready(program(x, sketch)),
        program.memory_analysis().temp_size_in_bytes / 2**20,
    )


if __name__ == "__main__":
    main()
