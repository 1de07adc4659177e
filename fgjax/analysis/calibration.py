"""How sure the network is, and how sure it should be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special


def temperature(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float:
    """The temperature T that maximizes the likelihood of the labels (Guo et al., 2017).

    ``softmax(scores / T)`` then makes probabilities of any scores, such as a ridge probe's.
    """

    def loss(log_temperature):
        log_p = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -log_p[np.arange(len(labels)), labels].mean()

    # In the logarithm the likelihood is smooth over all scales; exp(-7) to exp(4) is 0.001 to 55.
    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-7, 4), method="bounded").x))


def reliability(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], bins: int = 10
) -> list[dict[str, float]]:
    """Mean ``confidence``, ``accuracy`` and number ``n`` of the examples in each bin of confidence.

    Bins are equally wide; one without examples is left out.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[bin_of == b].mean()),
            "accuracy": float(correct[bin_of == b].mean()),
            "n": int(np.sum(bin_of == b)),
        }
        for b in np.unique(bin_of)
    ]
