"""What every test shares: eight simulated devices, and real data where there is some."""

import os
from pathlib import Path

import pytest

# Before any test starts a JAX backend.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()


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
