"""From ``config.model`` to a recogniser: its parts made, and checked against each other."""

from __future__ import annotations

from fgjax.checking.options import named
from fgjax.errors import UserError
from fgjax.models import attention, backbones, heads, merges, pooling, scales
from fgjax.models.backbones.hrnet import ClassificationHead, HRNet
from fgjax.models.recognizer import Recognizer


def build(model, classes: int, **backbone_options) -> Recognizer:
    """The recogniser that ``config.model`` describes, for ``classes`` classes.

    Args:
        model: mapping with the parts' options, each with its ``name``, and ``scales``; see
            ``fgjax.config``.
        classes: number of classes.
        **backbone_options: what the pretrained weights ask of the backbone.

    Raises:
        UserError: an unknown part or option, or parts that do not fit each other.
    """

    def create(part, make, **given):
        name, options = named(f"model.{part}", model.get(part))
        if part == "backbone":
            options.pop("weights", None)
        if "classes" in options:
            raise UserError(f"model.{part} has no option classes: the data say them; leave it out")
        return make(name, **options | given)

    built = Recognizer(
        backbone=create("backbone", backbones.create, **backbone_options),
        merge=create("merge", merges.create),
        attention=create("attention", attention.create),
        pooling=create("pooling", pooling.create),
        head=create("head", heads.create, classes=classes),
        scales=scales.resolve(model.get("scales", (1.0,))),
    )
    _check_fit(built)
    return built


def _check_fit(built: Recognizer) -> None:
    """Raise a UserError for parts that would go together and mean nothing."""
    head, pool = built.head, built.pooling
    if pool is None or head is None:
        raise UserError(
            "model.pooling and model.head cannot be none: the classes are told by a pooled vector"
        )
    if isinstance(built.merge, ClassificationHead) and not isinstance(built.backbone, HRNet):
        raise UserError(
            "model.merge hrnet_head is the published head of the HRNets, and this is another "
            "backbone; choose another merge, such as fpn"
        )
    if isinstance(built.attention, attention.BilinearAttention) and not pool.reads_attention:
        raise UserError(
            "model.attention bilinear_attention makes part maps that this pooling does not read; "
            "set model.pooling.name to bilinear_attention, or model.pooling.attend to True"
        )
    if isinstance(head, heads.LowRankBilinear) and not pool.gives_gram:
        raise UserError(
            "model.head low_rank_bilinear reads the Gram matrix of one level, and this pooling "
            "gives none; set model.pooling.name to low_rank_bilinear"
        )
    if isinstance(head, heads.MultiGranularity) and not isinstance(pool, pooling.FirstOrder):
        raise UserError(
            "model.head multi_granularity classifies level by level, and this pooling mixes "
            "levels; set model.pooling.name to max, average or gem"
        )
