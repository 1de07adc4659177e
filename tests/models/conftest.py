import sys

import pytest


@pytest.fixture(scope="session")
def timm():
    """timm, for parity tests; skips where the extra ``parity`` is not installed."""
    torch = pytest.importorskip("torch")
    _import_torchvision(torch)
    return pytest.importorskip("timm")


@pytest.fixture(scope="session")
def torchvision(timm):
    """torchvision, for parity tests."""
    return sys.modules["torchvision"]


def _import_torchvision(torch):
    try:
        import torchvision
    except ImportError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        # A torchvision built for another torch has no compiled operators, and its import stops at
        # the first that it wants to describe. Nothing here calls them: declaring them is enough.
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        torch.library.define(
            "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        torch.library.define(
            "torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        import torchvision  # noqa: F401
