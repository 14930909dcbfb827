"""Deletion and insertion: how the probability changes when cells are hidden or shown in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from .._images.images import Images
from .._models.base import BaseResNet
from .._trunk.context import RunContext
from .._trunk.counter import PassCounter
from ._explained_images import resized_images
from ._explained_score import Question, explained_score
from ._map_measures import on_grid

# Shares of the cells that are hidden. The first and the last are the image and the blurred image.
_SHARES = np.linspace(0, 1, 11)

# Standard deviation of the blur that hides a cell, as a share of the side of the image.
_BLUR = 0.1


@dataclass(frozen=True, eq=False)
class DeletionAreas:
    """Areas under the curves of the probability by the share of hidden or shown cells.

    Attributes
    ----------
    deletion, insertion : ndarray of shape (n,)
        Small, or large, if the cells of the greatest values matter most.
    random_deletion, random_insertion : ndarray of shape (n,)
        The same for maps that are moved to a random place.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray


def deletion_areas(
    model: BaseResNet,
    images: Images,
    maps: np.ndarray,
    target: np.ndarray,
    context: RunContext,
    rng: np.random.Generator,
) -> DeletionAreas:
    """Hide and show the cells of images in the order of their maps, and of moved maps.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    images : Images
    maps : ndarray of shape (n, side, side)
    target : ndarray of shape (n,), dtype int
        Class whose probability is observed.
    context : RunContext
    rng : numpy.random.Generator
        For the random places.

    Returns
    -------
    DeletionAreas

    References
    ----------
    Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models",
    BMVC 2018.
    """
    cells = on_grid(maps)
    moved = np.stack([_moved(one, rng) for one in cells])
    shown = resized_images(model, images)
    sigma = _BLUR * shown.shape[1]
    blurred = np.stack([gaussian_filter(image, sigma, mode="nearest") for image in shown])

    def probabilities(is_hidden: np.ndarray) -> np.ndarray:
        pixels = np.where(is_hidden, blurred, shown).reshape(len(shown), -1)
        changed = Images(pixels, None, shown.shape[1:], images.standardised)
        return _probabilities(model, changed, target, context)

    values = [_areas(order, shown.shape[1], probabilities) for order in (cells, moved)]
    (deletion, insertion), (random_deletion, random_insertion) = values
    return DeletionAreas(deletion, insertion, random_deletion, random_insertion)


def _moved(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a map that is shifted and mirrored at random.

    Cells in random order would be no baseline: hiding many small places damages an image more than
    hiding a few large ones, wherever these are.
    """
    shifted = np.roll(cells, rng.integers(cells.shape), axis=(0, 1))
    return shifted[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def _areas(
    cells: np.ndarray, side: int, probabilities: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas of deletion and of insertion.

    Parameters
    ----------
    cells : ndarray of shape (n, rows, columns)
        Values by which the cells are ordered.
    side : int
        Side of the images.
    probabilities : callable
        Function from the mask of hidden pixels to the probability of each image.
    """
    # Rank 0 is the cell of the greatest value. Equal values are ordered by place.
    order = np.argsort(-cells.reshape(len(cells), -1), axis=1, kind="stable")
    ranks = _enlarged(np.argsort(order, axis=1).reshape(cells.shape), side) / order.shape[1]
    deletion = [probabilities(ranks < share) for share in _SHARES]
    insertion = [probabilities(ranks >= share) for share in _SHARES]
    return np.trapezoid(deletion, _SHARES, axis=0), np.trapezoid(insertion, _SHARES, axis=0)


def _enlarged(ranks: np.ndarray, side: int) -> np.ndarray:
    """Return the rank of the cell of each pixel."""
    index = np.arange(side) * ranks.shape[1] // side
    return ranks[:, index[:, None], index]


def _probabilities(
    model: BaseResNet, images: Images, target: np.ndarray, context: RunContext
) -> np.ndarray:
    """Return the probability of the target of changed images, without storing activations."""
    outputs = [model._outputs(rows, context) for rows in _rows(model, images, context)]
    return explained_score(model, np.concatenate(outputs), Question(target, None)).probabilities


def _rows(model: BaseResNet, images: Images, context: RunContext) -> list[np.ndarray]:
    """Return the activations of images, batch by batch."""
    runner = model._runner
    if runner.is_empty:
        return [block for _, _, block in runner.blocks(images, context, PassCounter())]
    blocks = runner.part_blocks(runner.module, runner.trainable, images, context)
    return [_as_array(block) for block in blocks]


def _as_array(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array
