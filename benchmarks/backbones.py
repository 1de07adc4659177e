"""Backbones: training and inference against PyTorch and timm, on one machine in one run.

    python -m benchmarks.backbones [--models efficientnet_lite0,resnet18,resnet50] [--batch 16]
        [--sizes 224] [--threads 2] [--devices 1] [--rounds 7]

On CPU in float32, against timm's network in channels_last. On a GPU in bfloat16, at 224 and 448 px
and batch 128, against the same network under ``torch.compile`` and automatic mixed precision.
``--devices`` shares the cores out among so many simulated devices, over which the batch is spread
by ``pmap``.

Both sides start from the same tensors and read the same batch, and are refused unless they agree.
A training step is cross-entropy over 1000 classes, batch statistics, SGD with momentum; inference
gives the logits with running statistics. Speeds are medians of rounds in which every program takes
its turn, so that a busy machine slows all alike: the ratios are what counts.

Memory is what a process of its own holds at most while it takes training steps, less what it held
before it built the network: resident memory on CPU, the allocator's peak on a GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peers import import_torchvision
from benchmarks.timing import interleaved
from fgjax.models import weights
from fgjax.models.context import BATCH_NORM_MODES, Context
from fgjax.models.weights.parity import published_network
from fgjax.ops.preprocessing import Preprocessing
from fgjax.training import parallel
from fgjax.vocabulary import GROUPS

CLASSES, RATE, MOMENTUM = 1000, 1e-4, 0.9
BATCH_NORM = tuple((group, BATCH_NORM_MODES["train"]) for group in GROUPS)
HEADER = ("network", "px", "training, images/s", "PyTorch", "ratio", "inference", "PyTorch",
          "ratio", "memory, MiB", "PyTorch", "ratio", "compiled in")  # fmt: skip


class Setting(NamedTuple):
    """What is measured: a network at one size of image and batch."""

    model: str
    size: int
    batch: int
    threads: int
    devices: int

    @property
    def on_cpu(self) -> bool:
        """Whether JAX, and so either side, runs on the CPU; else on a GPU in half precision."""
        return jax.default_backend() == "cpu"


class Side(NamedTuple):
    """One library's programs; each call runs one batch to its end.

    Attributes:
        train: take a step; the loss before it.
        infer: the logits.
        compilation: seconds that compiling the training step took.
    """

    train: Callable[[], float]
    infer: Callable[[], np.ndarray]
    compilation: float = 0.0


def main() -> None:
    """Measure every setting and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default="efficientnet_lite0,resnet18,resnet50")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--sizes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args()
    torch = share_cores(flags.threads, flags.devices)
    on_cpu = jax.default_backend() == "cpu"
    batch = flags.batch or (16 if on_cpu else 128)
    sizes = flags.sizes or ("224" if on_cpu else "224,448")
    device = f"{platform.machine()} {jax.devices()[0].device_kind}, {flags.threads} threads"
    device += f", {jax.device_count()} JAX devices"
    print(f"jax {jax.__version__}, PyTorch {torch.__version__}, {device}, batch {batch}\n")
    print(f"| {' | '.join(HEADER)} |\n{'|---' * len(HEADER)}|")
    for model in flags.models.split(","):
        for size in map(int, sizes.split(",")):
            row = measure(Setting(model, size, batch, flags.threads, flags.devices), flags.rounds)
            print(f"| {model} | {size} | {' | '.join(row)} |", flush=True)


def measure(setting: Setting, rounds: int) -> list[str]:
    """One row of the table."""
    network = published(setting)
    sides = {"ours": ours(setting, network), "theirs": theirs(setting, network)}
    check_equal(sides, 1e-3 if setting.on_cpu else 0.1)
    runs = {
        (name, mode): getattr(sides[name], mode) for mode in ("train", "infer") for name in sides
    }
    seconds = interleaved(runs, rounds)
    row = []
    for mode in ("train", "infer"):
        a, b = (setting.batch / seconds[name, mode] for name in sides)
        row += [f"{a:.1f}", f"{b:.1f}", f"{a / b:.2f}"]
    a, b = (alone(peak_memory, name, setting) for name in sides)
    row += [f"{a:.0f}", f"{b:.0f}", f"{a / b:.2f}"]
    return [*row, f"{sides['ours'].compilation:.0f} s"]


def ours(setting: Setting, network: Any) -> Side:
    """The network in fgjax, with the tensors of ``network``."""
    tensors = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    source = weights.PretrainedWeights(tensors, Preprocessing(), {}, "", "the benchmark")
    module, variables = published_network(setting.model, source, CLASSES)
    dtype = jnp.float32 if setting.on_cpu else jnp.bfloat16
    batch = tuple(map(jnp.asarray, draw(setting)))
    optimizer = optax.sgd(RATE, MOMENTUM)

    def loss(params, batch_stats, images, labels, axis_name):
        ctx = Context(train=True, bn=BATCH_NORM, axis_name=axis_name, dtype=dtype)
        outputs, moved = module.apply(
            {"params": params, "batch_stats": batch_stats}, images, ctx, mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels)
        return losses.mean(), moved["batch_stats"]

    def step(state, batch, axis_name):
        params, batch_stats, moments = state
        (value, batch_stats), gradients = jax.value_and_grad(loss, has_aux=True)(
            params, batch_stats, *batch, axis_name
        )
        if axis_name:
            value, gradients = jax.lax.pmean((value, gradients), axis_name)
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(params, updates), batch_stats, moments), value

    def predict(variables, images):
        return module.apply(variables, images, Context(dtype=dtype)).logits

    mesh = parallel.make_mesh()
    state = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    start = time.perf_counter()
    mode = "jit" if mesh.size == 1 else "pmap"
    step = parallel.compile_step(
        step, mode, mesh, shapes=jax.eval_shape(lambda *x: x, state, batch)
    )
    seconds = time.perf_counter() - start
    predict = parallel.compile_forward(predict, mesh)
    variables = jax.tree.map(jnp.copy, variables)  # the first step donates the others

    def train():
        nonlocal state
        state, value = step(state, batch)
        return float(value)

    return Side(train, lambda: np.asarray(predict(variables, batch[0])), seconds)


def theirs(setting: Setting, network: Any) -> Side:
    """timm's ``network`` itself, and a copy that stays as it is for inference."""
    import copy

    import torch

    device = "cpu" if setting.on_cpu else "cuda"
    frozen = copy.deepcopy(network).eval()
    trained, frozen = (
        module.to(device, memory_format=torch.channels_last) for module in (network, frozen)
    )
    optimizer = torch.optim.SGD(trained.parameters(), RATE, MOMENTUM)
    images, labels = (torch.from_numpy(array).to(device) for array in draw(setting))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    run, run_frozen = (
        (module if setting.on_cpu else torch.compile(module)) for module in (trained, frozen)
    )
    half = torch.autocast(device, torch.bfloat16, enabled=not setting.on_cpu)

    def train():
        optimizer.zero_grad()
        with half:
            loss = torch.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def infer():
        with torch.inference_mode(), half:
            return run_frozen(images).float().cpu().numpy()

    trained.train()
    return Side(train, infer)


def published(setting: Setting) -> Any:
    """timm's network, with random weights."""
    import timm
    import torch

    torch.manual_seed(0)
    name, options = setting.model, {"zero_init_last": False}
    if name.startswith("efficientnet_lite"):
        name, options = f"tf_{name}", {}
    return timm.create_model(name, num_classes=CLASSES, **options)


def draw(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(setting.batch, setting.size, setting.size, 3)).astype(np.float32)
    return images, rng.integers(0, CLASSES, setting.batch)


def check_equal(sides: dict[str, Side], tolerance: float) -> None:
    """Refuse to time sides whose logits, or losses in two steps, differ."""
    results = {
        name: np.array([*side.infer().ravel(), side.train(), side.train()])
        for name, side in sides.items()
    }
    gap = np.linalg.norm(results["ours"] - results["theirs"]) / np.linalg.norm(results["theirs"])
    losses = np.abs(results["ours"][-2:] / results["theirs"][-2:] - 1).max()
    if not max(gap, losses) < tolerance:
        raise SystemExit(f"logits differ by {gap:.1e}, losses by {losses:.1e}")


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def peak_memory(name: str, setting: Setting) -> float:
    """MiB that training steps of a side take, beyond what the libraries hold by themselves."""
    torch = share_cores(setting.threads, setting.devices)
    jnp.ones(8).block_until_ready()
    network = published(setting)
    before = resident("VmRSS")
    side = {"ours": ours, "theirs": theirs}[name](setting, network)
    side.train()
    if not setting.on_cpu:
        if name == "ours":
            return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20
        return torch.cuda.max_memory_allocated() / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what compilation has left behind
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    side.train()
    side.train()
    return resident("VmHWM") - before


def resident(kind: str) -> float:
    """MiB in memory now ("VmRSS") or at most ("VmHWM")."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def share_cores(threads: int, devices: int) -> Any:
    """PyTorch; it and JAX use ``threads`` cores, if JAX has not yet been asked to do anything."""
    import torch

    jax.config.update("jax_num_cpu_devices", devices)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    import_torchvision(torch)
    return torch


if __name__ == "__main__":
    main()
