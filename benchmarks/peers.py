"""What the library is compared with, made to import."""

from __future__ import annotations

import sys
from typing import Any


def import_torchvision(torch: Any) -> Any:
    """torchvision, also where it was built for another ``torch``.

    Such a one has no compiled operators, and its import stops at the first that it wants to
    describe. Neither it nor timm calls them for what is compared: declaring them is enough.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )
        import torchvision
    return torchvision
