"""The nine words that every part of fgjax shares.

Five levels name the resolution stages of a backbone; a group is what is trained or frozen as one.
The same words are the top-level keys of the parameter tree, the words of a schedule, the rows of
the report and the arguments of every probe.
"""

from jaxtyping import Array, Float

LEVELS = ("conv1", "conv2", "conv3", "conv4", "conv5")
GROUPS = (*LEVELS, "merge", "attention", "pooling", "head")

EARLY = ("conv1", "conv2")
MIDDLE = ("conv3", "conv4")
LATE = ("conv5", "merge", "attention", "pooling", "head")

# Feature maps by level, fine to coarse; a pyramid may add conv6 and conv7.
Hierarchy = dict[str, Float[Array, "b h w c"]]
