"""What an objective is made of: a loss, and what it carries at the start."""

import pytest

from fgjax.training import objectives


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_an_objective_says_itself_what_it_carries_at_the_start(name):
    made = objectives.create(name)
    assert all(isinstance(objective, objectives.Objective) for objective in made)
    carried = objectives.carried_at_start(made, 4, 6)
    shapes = {key: value.shape for key, value in carried.items()}
    assert shapes == ({"centers": (4, 6)} if name in ("center_loss", "wsdan", "cal") else {})


def test_an_option_may_not_take_the_place_of_what_the_task_measures():
    with pytest.raises(objectives.UserError, match="has no option measure"):
        objectives.create("cross_entropy", measure=1)
