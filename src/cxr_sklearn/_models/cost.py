"""Cost of the training of a model, in forward passes and training steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .hyperparameters import Hyperparameters

# Number of augmented views per image below a cut if augment=True.
_N_VIEWS = 4


class TrainingCost(NamedTuple):
    """Cost of the training of a model.

    Attributes
    ----------
    n_passes : int
        Number of forward passes through the trunk, if nothing is in the cache.
    n_uses : int
        Number of times that the tails train on an image, with all epochs.
    n_tails : int
        Number of trained networks in the fitted model.
    n_views : int
        Number of augmented views per image that pass the trunk.
    """

    n_passes: int
    n_uses: int
    n_tails: int
    n_views: int


def n_augmented_views(model: Hyperparameters) -> int:
    """Return the number of augmented views of each image that pass the trunk.

    Without a trunk (``trainable="all"``), images are varied in each epoch instead.
    """
    if not model.augment or model.trainable == "all":
        return 0
    if isinstance(model.augment, (bool, np.bool_)):
        return _N_VIEWS
    return int(model.augment)


def training_cost(model: Any, n_images: int, n_classes: int) -> TrainingCost:
    """Compute the cost of the training of a model.

    Parameters
    ----------
    model : classifier
    n_images, n_classes : int
        Size of the training set.

    Returns
    -------
    TrainingCost
        All images are assumed to be in the training part, and no training to stop early.
    """
    n_views = n_augmented_views(model)
    n_passes = 0 if model.trainable == "all" else n_images * (1 + n_views)
    n_uses = model._uses_per_epoch(n_classes) * n_images * model.max_epochs
    return TrainingCost(n_passes, round(n_uses), model._n_tails(n_classes), n_views)
