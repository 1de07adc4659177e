"""The embedded default data set as a TFDS builder that needs no TensorFlow.

Prepare it with ``DownloadConfig()`` and ``file_format="array_record"``, read it with
``as_data_source``. The parts that separate two species are in `fgjax.data.birds.separating_parts`.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fgjax.data import birds


@dataclasses.dataclass(eq=False)
class SyntheticBirdsConfig(tfds.core.BuilderConfig):
    """What the pictures depend on; the name spells it out, so that no two share a folder."""

    name: str = dataclasses.field(init=False)
    size: int = 192
    seed: int = 0
    difficulty: float = 0.5
    train_per_species: int = 40
    test_per_species: int = 20

    def __post_init__(self):
        self.name = (
            f"s{self.size}_d{self.difficulty:g}_seed{self.seed}"
            f"_train{self.train_per_species}_test{self.test_per_species}"
        )


class SyntheticBirds(tfds.core.GeneratorBasedBuilder):
    """Drawn birds of sixteen species in four families, with boxes, masks and parts."""

    VERSION = tfds.core.Version(f"{birds.VERSION}.0.0")

    def __init__(self, *, config: SyntheticBirdsConfig | None = None, **kwargs):
        super().__init__(config=config or SyntheticBirdsConfig(), **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
                    "mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(birds.NAMES)),
                    "coarse": tfds.features.ClassLabel(names=list(birds.FAMILIES)),
                    "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "parts": tfds.features.Tensor(shape=(len(birds.PARTS), 3), dtype=np.float32),
                    "index": np.int64,
                    "name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        config = self.builder_config
        return {
            "train": self._generate_examples(0, config.train_per_species),
            "test": self._generate_examples(1, config.test_per_species),
        }

    def _generate_examples(self, split: int, per_species: int) -> Iterator:
        def example(index: int) -> tuple[int, dict]:
            return index, _example(self.builder_config, split, index)

        # numpy, scipy and Pillow release the interpreter lock for most of the work.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(example, range(per_species * len(birds.NAMES)))


def _example(config: SyntheticBirdsConfig, split: int, index: int) -> dict:
    """Example `index` of a split; species take turns."""
    species = birds.SPECIES[index % len(birds.SPECIES)]
    scene = birds.render(species.name, (config.seed, split, index), config.size, config.difficulty)
    return {
        "image": _encode(scene.image, "JPEG", quality=95, subsampling=0),
        "mask": _encode(scene.mask.astype(np.uint8) * 255, "PNG"),
        "label": species.name,
        "coarse": species.family,
        "box": scene.box,
        "parts": scene.parts,
        "index": index,
        "name": f"{('train', 'test')[split]}/{species.name}/{index:05d}",
    }


def _encode(pixels: np.ndarray, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()
