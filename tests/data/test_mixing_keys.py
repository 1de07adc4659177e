"""What mixing draws has nothing to do with what the rest of the augmentation draws."""

import jax
import jax.numpy as jnp
import numpy as np

from fgjax.data import augment
from fgjax.data.augment import Augmentation

N, SIDE = 2000, 16


def test_where_the_rectangle_of_cutmix_lies_does_not_follow_the_brightness():
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(N))
    settings = Augmentation(brightness=0.4, contrast=0.4, cutmix=1.0)
    grey = np.full((N, SIDE, SIDE, 3), 100, np.uint8)
    grey[:, ::2] = 80  # so that contrast has something to change
    affine = np.tile(np.float32([1, 1, 0, 0]), (N, 1))
    jittered, _ = augment.apply(grey, affine, keys, settings, SIDE)
    brightness = np.asarray(jittered.mean((1, 2, 3)))
    contrast = np.asarray(jittered.std((1, 2, 3))) / brightness

    own = np.tile([0.0, 1.0], N // 2)[:, None, None, None] * np.ones((1, SIDE, SIDE, 1))
    mixed, _ = augment.mix(jnp.asarray(own), jnp.zeros((N, 2)), keys, settings)
    replaced = np.abs(np.asarray(mixed)[..., 0] - own[..., 0]) > 0.5
    seen = (replaced.mean((1, 2)) > 0.02) & (replaced.mean((1, 2)) < 0.6)
    place = np.arange(SIDE)
    rows = (replaced.any(2) * place).sum(1)[seen] / replaced.any(2).sum(1)[seen]
    columns = (replaced.any(1) * place).sum(1)[seen] / replaced.any(1).sum(1)[seen]
    for drawn in (brightness[seen], contrast[seen]):
        for where in (rows, columns):
            # Of so many independent pairs, a correlation of 0.1 is beyond four deviations.
            assert abs(np.corrcoef(drawn, where)[0, 1]) < 0.1
    assert seen.sum() > 1000
