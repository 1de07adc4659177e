import sys

import pytest

from benchmarks.peers import import_torchvision


@pytest.fixture(scope="session")
def timm():
    """timm, for parity tests; skips where the extra ``parity`` is not installed."""
    torch = pytest.importorskip("torch")
    try:
        import_torchvision(torch)
    except ImportError:
        pytest.skip("torchvision is not installed")
    return pytest.importorskip("timm")


@pytest.fixture(scope="session")
def torchvision(timm):
    """torchvision, for parity tests."""
    return sys.modules["torchvision"]
