"""Pairwise confusion: pull the predictions for two images of different classes together."""

from __future__ import annotations

from fgjax.ops import losses
from fgjax.training.objectives.base import Aux, Measure, Objective, unmeasured


def pairwise_confusion(measure: Measure = unmeasured, /, *, weight: float = 10.0) -> Objective:
    """Cross-entropy and ``weight`` times pairwise confusion (Dubey et al., ECCV 2018).

    Pairs are neighbours in the batch. An example whose neighbour is padding is not confused.
    """

    def loss(apply, params, batch, key, axis_name=None):
        del key, axis_name
        outputs, batch_stats = apply(params, batch["inputs"])
        partner = batch["mask"].reshape(-1, 2)[:, ::-1].reshape(-1)
        confusion = partner * losses.pairwise_confusion(outputs.logits, batch["label"])
        values = losses.cross_entropy(outputs.logits, batch["targets"]) + weight * confusion
        metrics = measure(outputs.logits, batch["targets"]) | {"confusion": confusion}
        return values, Aux(batch_stats, metrics, batch["carried"])

    return Objective(loss)
