"""Measures of single maps: energy inside the lungs, pointing game, similarity of two maps."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch.nn import functional

# Side of the grid of cells in which maps are compared and pixels are deleted.
GRID_SIDE = 16


def energy_shares(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of the positive values of each map that is inside of a mask.

    Parameters
    ----------
    maps : ndarray of shape (n, height, width)
    masks : ndarray of shape (n, height, width), dtype bool

    Returns
    -------
    ndarray of shape (n,)
        NaN for a map without positive values, and for an empty mask.
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    inside = (positive * masks).sum((1, 2))
    total = positive.sum((1, 2))
    is_defined = (total > 0) & masks.any((1, 2))
    return np.where(is_defined, inside / np.where(total > 0, total, 1), np.nan)


def is_hit(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return 1 for each map whose greatest value is inside of a mask, else 0.

    Parameters
    ----------
    maps : ndarray of shape (n, height, width)
    masks : ndarray of shape (n, height, width), dtype bool

    Returns
    -------
    ndarray of shape (n,)
        NaN for an empty mask. If several pixels have the greatest value, the share of these pixels
        that is inside.
    """
    greatest = maps == maps.max((1, 2), keepdims=True)
    share = (greatest & masks).sum((1, 2)) / greatest.sum((1, 2))
    return np.where(masks.any((1, 2)), share, np.nan)


def on_grid(maps: np.ndarray) -> np.ndarray:
    """Return the means of maps over the cells of a grid.

    Parameters
    ----------
    maps : ndarray of shape (n, height, width)

    Returns
    -------
    ndarray of shape (n, side, side)
        The side is 16, or that of the maps if it is less.
    """
    side = min(GRID_SIDE, *maps.shape[1:])
    cells = functional.adaptive_avg_pool2d(torch.from_numpy(maps)[:, None], side)
    return cells[:, 0].numpy()


def rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of the cells of each pair of maps.

    Parameters
    ----------
    first, second : ndarray of shape (n, height, width)

    Returns
    -------
    ndarray of shape (n,)
        0 if one of the maps is constant.
    """
    ranks = []
    for maps in (first, second):
        rank = rankdata(on_grid(maps).reshape(len(maps), -1), axis=1)
        rank = rank - rank.mean(axis=1, keepdims=True)
        length = np.linalg.norm(rank, axis=1, keepdims=True)
        ranks.append(rank / np.where(length > 0, length, 1))
    return (ranks[0] * ranks[1]).sum(axis=1)
