"""What trains when, and how fast; the proof that it was so."""

from fgjax.finetune.partition import partitioned
from fgjax.finetune.schedule import resolve

__all__ = ["partitioned", "resolve"]
