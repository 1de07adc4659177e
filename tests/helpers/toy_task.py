"""A task of one's own: is the number of the class odd?"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from rich.text import Text

from fgjax.evaluation import intervals, predictions
from fgjax.ops import losses
from fgjax.tasks import classification
from fgjax.tasks.base import Task
from fgjax.training import objectives


def parity(batch):
    return batch["label"] % 2


def measure(logits, targets):
    return {"odd": (logits.argmax(-1) == targets.argmax(-1)).astype(jnp.float32)}


def summarize(found, info):
    right = found.logits.argmax(-1) == found.labels % 2
    share = intervals.share(right)._asdict()
    return {"summary": {"n": len(right), "parity": share, "chance": {"parity": 0.5}}}


TASK = Task(
    annotations=lambda config: {"label": jax.ShapeDtypeStruct((), np.int32)},
    targets=lambda info, batch, affine: losses.one_hot(parity(batch), 2),
    finish=lambda config, targets: targets,
    monitor="parity",
    progress={"odd": "parity"},
    outputs=lambda info: 2,
    chance=lambda info: math.log(2),
    objectives=lambda config, data: objectives.create("cross_entropy", measure),
    scores=classification.scores,
    summarize=summarize,
    tables=lambda figures, title: (Text(f"{title}: {figures['summary']['parity']['value']}"),),
    save=predictions.save,
    decode=lambda logits, info, top: [[("odd", float(row[1] > row[0]))] for row in logits],
    explain=classification.explain,
    listing=classification.TASK.listing,
    write=classification.TASK.write,
    panels={},
)
