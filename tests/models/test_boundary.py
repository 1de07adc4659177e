"""Where a pass starts behind a frozen trunk, and which levels are kept for the rest of it."""

import flax.linen as nn
import toy

from fgjax.models import attention, backbones, merges
from fgjax.models.backbones.base import Backbone
from fgjax.models.layers import ConvBN


def test_a_pass_starts_at_the_first_level_that_trains():
    backbone = toy.build().backbone
    assert backbone.boundary({"conv2", "head"}) == "conv2"
    assert backbone.boundary({"head", "conv3"}) == "conv3"
    assert backbone.boundary({"head"}) == "merge"
    assert backbone.boundary({"conv1"}) is None


def test_a_pass_starts_earlier_where_the_backbone_cannot_be_entered():
    convnext = backbones.create("convnext_tiny")  # gives no conv2 to go on from
    assert convnext.boundary({"conv3"}) == "conv2"
    hrnet = backbones.create("hrnet_w18")  # its hierarchy is none of its stages
    assert hrnet.boundary({"conv5"}) is None
    assert hrnet.boundary({"head"}) == "merge"


def test_kept_are_the_levels_that_the_rest_reads():
    module = toy.build(levels=("conv3",))
    assert module.kept_levels("merge") == ("conv3",)
    assert module.kept_levels("conv3") == ("conv2",)
    cross = toy.build("bilinear", levels=("conv1", "conv3"))
    assert cross.kept_levels("conv3") == ("conv1", "conv2")


def test_attention_on_one_level_keeps_that_level_alone():
    module = toy.build().clone(attention=attention.create("se", levels=("conv3",)))
    assert module.kept_levels("merge") == ("conv3",)
    other = toy.build().clone(attention=attention.create("se", levels=("conv2",)))
    assert other.kept_levels("merge") == ("conv2", "conv3")


def test_a_part_that_names_no_levels_keeps_them_all():
    module = toy.build().clone(merge=Sum(parent=None))
    assert module.kept_levels("merge") == ("conv1", "conv2", "conv3")


def test_the_published_head_of_hrnets_keeps_what_it_widens():
    trunk = backbones.create("hrnet_w18")
    module = toy.build().clone(backbone=trunk, merge=merges.create("hrnet_head"))
    assert module.kept_levels("merge") == ("conv2", "conv3", "conv4", "conv5")


class Sum(nn.Module):
    """A merge that says nothing of what it reads."""

    def __call__(self, hierarchy, ctx):
        return hierarchy


def test_levels_are_ordered_by_depth_and_not_by_name():
    names = ("conv8", "conv9", "conv10")
    steps = tuple(ConvBN(4, 3, 2, name=name, parent=None) for name in names)
    module = toy.build(levels=names).clone(backbone=Backbone(steps))
    assert module.kept_levels("conv10") == ("conv8", "conv9")
    assert module.kept_levels("conv9") == ("conv8",)
    assert module.backbone.boundary({"conv10"}) == "conv10"
