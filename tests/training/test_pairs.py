"""Batches of which examples are left without a neighbour are refused before training."""

import pytest

from configs import quickstart
from fgjax.errors import UserError
from fgjax.run import plan
from fgjax.training import inputs, parallel


def config(**changes):
    c = quickstart.get_config("tiny")
    c.update(changes)
    return c


def check(c, devices=1):
    plan.check_batch(c, parallel.make_mesh(devices))


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_an_odd_batch_is_refused_where_images_are_mixed(mixing):
    c = config(data={"batch_size": 15})
    check(c)
    c.train.augment = {mixing: 0.2}
    with pytest.raises(UserError, match=rf"batch_size is 15, and {mixing} takes .* multiple of 2$"):
        check(c)
    # Stored features are not mixed.
    c.schedule = tuple(phase | {"views": ("center",)} for phase in c.schedule)
    check(c)


def test_parts_that_divide_pairs_are_refused_where_the_loss_needs_them():
    c = config(data={"batch_size": 12}, train={"accumulate": 4})
    check(c)
    c.train.augment = {"mixup": 0.2}  # mixed before the batch is divided
    check(c)
    c.train.objective = {"name": "pairwise_confusion"}
    with pytest.raises(
        UserError, match="pairwise_confusion .* multiple of 8, 2 for each of 4 part"
    ):
        check(c)


def test_devices_divide_the_batch_only_under_pmap():
    c = config(data={"batch_size": 6}, train={"augment": {"mixup": 0.2}})
    check(c, devices=2)
    c.train.parallel = "pmap"
    with pytest.raises(UserError, match="multiple of 4"):
        check(c, devices=2)


def test_what_uses_no_pairs_takes_any_batch():
    inputs.check_pairs(15, 1, 1, "")
