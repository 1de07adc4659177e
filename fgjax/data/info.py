"""What a data set is to the rest of fgjax: its description and its annotated examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set.

    Attributes:
        name: as given in ``config.data.name``.
        classes: name of every class, in label order.
        fingerprint: hexadecimal digest of the source; other data have another one.
        coarse_classes: names of the coarse classes (families), or None.
        coarse_of: coarse label of every fine label, or None.
        part_names: name of every annotated part; empty where parts are not annotated.
        separating_parts: which parts tell two classes apart, where this is known by construction.
    """

    name: str
    classes: tuple[str, ...]
    fingerprint: str
    coarse_classes: tuple[str, ...] | None = None
    coarse_of: Int[np.ndarray, " k"] | None = None
    part_names: tuple[str, ...] = ()
    separating_parts: Mapping | None = None


@dataclasses.dataclass(frozen=True)
class Examples:
    """One split: annotations in memory, encoded images read when asked for.

    Attributes:
        origin: where the images come from, for messages.
        names: name of every image within ``origin``.
        labels: fine label of every image.
        boxes: (ymin, xmin, ymax, xmax) in pixels of the image; NaN where there is none.
        parts: (y, x, visible) of every part, in pixels of the image.
        read: index -> encoded bytes of the image.
    """

    origin: str
    names: Sequence[str]
    labels: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    parts: Float[np.ndarray, "n p 3"]
    read: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int[np.ndarray, " m"]) -> Examples:
        """The examples at ``indices``, in that order."""
        return dataclasses.replace(
            self,
            names=[self.names[i] for i in indices],
            labels=self.labels[indices],
            boxes=self.boxes[indices],
            parts=self.parts[indices],
            read=lambda i: self.read(int(indices[i])),
        )

    def join(self, other: Examples) -> Examples:
        """These examples followed by those of ``other``."""
        return dataclasses.replace(
            self,
            names=[*self.names, *other.names],
            labels=np.concatenate([self.labels, other.labels]),
            boxes=np.concatenate([self.boxes, other.boxes]),
            parts=np.concatenate([self.parts, other.parts]),
            read=lambda i: self.read(i) if i < len(self) else other.read(i - len(self)),
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that has been found; a split is read when its function is called.

    Attributes:
        info: the description.
        splits: "train", "validation" and "test", those that exist, each a function without
            arguments that reads the split.
        by_rule: those splits that are cut from the training data, so that other data cut others.
    """

    info: DatasetInfo
    splits: Mapping[str, Callable[[], Examples]]
    by_rule: frozenset[str] = frozenset()


def without_annotations(
    origin: str,
    names: Sequence[str],
    labels: Sequence[int],
    read: Callable[[int], bytes],
) -> Examples:
    """Examples of a data set that has labels but neither boxes nor parts."""
    count = len(labels)
    return Examples(
        origin=origin,
        names=names,
        labels=np.asarray(labels, np.int32).reshape(count),
        boxes=np.full((count, 4), np.nan, np.float32),
        parts=np.zeros((count, 0, 3), np.float32),
        read=read,
    )
