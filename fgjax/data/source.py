"""Random access to the decoded examples of one split."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from fgjax.data import decode
from fgjax.data.info import DatasetInfo, Examples

_GIB = 2**30


class Source:
    """The examples of one split, decoded when asked for.

    Images resized for training and evaluation are kept in memory up to a limit; what came first
    stays, since in a reshuffled epoch every image is asked for once and any other rule would
    throw away what is about to be needed. Caching changes no pixel.

    Attributes:
        labels: fine label of every example, Int[n].
        names: name of every image.
        skip_broken: whether unreadable images are left out instead of stopping the run.
        broken: name -> reason, of the unreadable images met so far.
    """

    def __init__(
        self,
        examples: Examples,
        info: DatasetInfo,
        *,
        cache_gib: float = 0.0,
        skip_broken: bool = False,
    ):
        self.info = info
        self.labels: Int[np.ndarray, " n"] = examples.labels
        self.names = examples.names
        self.skip_broken = skip_broken
        self.broken: dict[str, str] = {}
        self._examples = examples
        self._cache: dict[tuple, tuple] = {}
        self._room = int(cache_gib * _GIB)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Mapping:
        """The example at ``index``, its image at full size.

        Returns:
            image: uint8[h w 3]; label, coarse (-1 if the data have none), box, parts, index: see
            ``annotations``; name: str.

        Raises:
            BrokenImageError: the image cannot be decoded.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a source with {len(self)} examples")
        index = int(index) % len(self)
        image, _ = self._decode(index)
        return {"image": image, "name": self.names[index], **self.annotations(index)}

    def annotations(self, index: int) -> dict[str, Any]:
        """Label, coarse label, box, parts and index of an example, without reading its image."""
        label = self.labels[index]
        coarse = -1 if self.info.coarse_of is None else self.info.coarse_of[label]
        return {
            "label": np.int32(label),
            "coarse": np.int32(coarse),
            "box": self._examples.boxes[index],
            "parts": self._examples.parts[index],
            "index": np.int32(index),
        }

    def resized(
        self, index: int, short_side: int, interpolation: str
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, " 4"]]:
        """The image with its short side resized, and the map from the original to it.

        See ``fgjax.data.decode.decode`` for the map, and for what is kept of very long images.

        Raises:
            BrokenImageError: the image cannot be decoded.
        """
        key = (index, short_side, interpolation)
        if (kept := self._cache.get(key)) is not None:
            return kept
        result = self._decode(index, short_side, interpolation)
        with self._lock:
            if key not in self._cache and result[0].nbytes <= self._room:
                self._cache[key] = result
                self._room -= result[0].nbytes
        return result

    def report_broken(self, index: int, error: Exception) -> None:
        """Notes an unreadable image, and says so once."""
        with self._lock:
            known = self.names[index] in self.broken
            self.broken[self.names[index]] = str(error)
        if not known:
            logging.warning("Left out (%d so far): %s", len(self.broken), error)

    def _decode(self, index: int, *size) -> tuple[np.ndarray, np.ndarray]:
        name = f"{self.names[index]} of {self._examples.origin}"
        way_on = ", or set data.skip_broken=True to go on without it"
        try:
            return decode.decode(self._examples.read(index), name, *size)
        except OSError as error:
            raise decode.BrokenImageError(name, error.strerror or error, way_on) from error
        except decode.BrokenImageError as error:
            raise decode.BrokenImageError(name, error.reason, way_on) from error
