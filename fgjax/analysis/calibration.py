"""How sure the network is, and how sure it should be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special


def temperature(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float:
    """The temperature that maximises the likelihood of the labels (Guo et al., 2017).

    For scores that are no logits, such as a ridge probe's, it makes probabilities of them.
    """

    def loss(log_temperature):
        log_p = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -log_p[np.arange(len(labels)), labels].mean()

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-7, 4), method="bounded").x))


def reliability(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], bins: int = 10
) -> list[dict[str, float]]:
    """Confidence, accuracy and count of each occupied bin of confidence, for a diagram."""
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
