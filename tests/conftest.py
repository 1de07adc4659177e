"""What every test shares: eight simulated devices, tiny data, and real data where there is some."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before any test starts a JAX backend.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()


def pytest_configure(config):
    """One folder of compiled programs for the session: its workers, and what tests start.

    Workers inherit the variables of the controller, which is configured first and removes the
    folder in the end.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="fgjax-compiled-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    # With a limit, JAX locks the folder while it reads and writes: no worker meets half a program.
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 * 2**30)


TINY_CLASSES = ("Dusky_Finch", "House_Finch", "Ivory_Gull", "Slaty_backed_Gull", "Winter_Wren")
TINY_COLORS = ("firebrick", "orangered", "steelblue", "navy", "olivedrab")


@pytest.fixture(scope="session")
def real_data():
    """Folder with real data: $FGJAX_TEST_DATA, else ``../shared/data`` beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FGJAX_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name its folder in $FGJAX_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def cub30(real_data):
    """Thirty classes of CUB-200-2011 in the layout of its archive."""
    if not (real_data / "cub30").is_dir():
        pytest.skip(f"no folder cub30 in {real_data}")
    return real_data / "cub30"


@pytest.fixture
def tiny_cub(tmp_path):
    """A folder in the layout of CUB_200_2011: five classes in three families.

    Every class has five images, the first three of them for training. Boxes, parts and their
    visibility are random; ids count from 1, as in the archive.
    """
    folder, rng = tmp_path / "CUB_200_2011", np.random.default_rng(0)
    names = [
        f"{label:03d}.{name}/{name}_{number:04d}_{number}.jpg"
        for label, name in enumerate(TINY_CLASSES, start=1)
        for number in range(1, 6)
    ]
    locations = rng.integers(0, (32, 32, 2), (len(names), 15, 3))
    tables = {
        "images.txt": [(name,) for name in names],
        "classes.txt": [(f"{i:03d}.{name}",) for i, name in enumerate(TINY_CLASSES, start=1)],
        "image_class_labels.txt": [(int(name[:3]),) for name in names],
        "train_test_split.txt": [(int(i % 5 < 3),) for i in range(len(names))],
        "bounding_boxes.txt": rng.integers(1, 20, (len(names), 4)) + 0.5,
        "parts/parts.txt": [("left wing" if p == 9 else f"part{p}",) for p in range(1, 16)],
    }
    (folder / "parts").mkdir(parents=True)
    for name, rows in tables.items():
        _write_table(folder / name, [(i, *row) for i, row in enumerate(rows, start=1)])
    _write_table(
        folder / "parts" / "part_locs.txt",
        [
            (image, part, x, y, visible)
            for image, rows in enumerate(locations, start=1)
            for part, (x, y, visible) in enumerate(rows, start=1)
        ],
    )
    for i, name in enumerate(names):
        _save_photo(folder / "images" / name, TINY_COLORS[i // 5], (40 + i % 3, 32 + i % 4), rng)
    return folder


@pytest.fixture
def tiny_photos(tmp_path):
    """The user's own photos: ``train``, ``val`` and ``test`` folders of three classes."""
    folder, rng = tmp_path / "photos", np.random.default_rng(1)
    for split, count in {"train": 8, "val": 2, "test": 4}.items():
        for name, color in zip(("finch", "gull", "wren"), TINY_COLORS[::2], strict=True):
            for i in range(count):
                _save_photo(folder / split / name / f"{i}.jpg", color, (80 + i, 64), rng)
    return folder


def _write_table(path, rows):
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def _save_photo(path, color, size, rng):
    """A coloured picture of so many (width, height) pixels, with noise that makes it unique."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(Image.new("RGB", size, color)) * 0.7
    noise = rng.uniform(0, 70, (*pixels.shape[:2], 1))
    Image.fromarray((pixels + noise).astype(np.uint8)).save(path, quality=90)
