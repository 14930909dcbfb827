"""Images that are there twice, exactly or nearly, mirrored or not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ._films import THUMBNAIL_SIDE, Films

# Of 256 bits. With the correlation it had no false pair in 723,000; 64-bit hashes find other
# patients: at most 8 of 64 bits apart were 164 pairs of ChestX-ray14, 149 of different patients.
MAX_DISTANCE = 24
MIN_CORRELATION = 0.95
_BLOCK = 4096


def find_duplicates(films: Films, others: Films | None = None) -> pd.DataFrame:
    """Find pairs of images of equal or nearly equal content.

    A pair is exact if the decoded pixels are equal. It is a near-duplicate if the 256-bit
    perceptual hashes differ in at most 24 bits and the thumbnails of 32 by 32 pixels correlate by
    0.95 or more, the one as it is with the other as it is or mirrored.

    Parameters
    ----------
    films : Films
    others : Films, default=None
        Where to find the second of each pair; by default in `films`, each pair once.

    Returns
    -------
    pairs : DataFrame
        ``first``, ``second`` (rows), ``kind`` ("exact", "near" or "mirrored"), ``distance`` (bits)
        and ``correlation``, in the order of the rows.
    """
    second = films if others is None else others
    mine, theirs = np.flatnonzero(films.readable), np.flatnonzero(second.readable)
    found = []
    for mirror in (False, True):
        hashes = (second.mirrored if mirror else second.hashes)[theirs]
        for i, j, distance in _close(films.hashes[mine], hashes):
            i, j = mine[i], theirs[j]
            if others is None:
                i, j, distance = i[i < j], j[i < j], distance[i < j]
            correlation = _correlation(films.thumbnails[i], second.thumbnails[j], mirror)
            exact = _equal(films, i, second, j) & (not mirror)
            close = exact | (correlation >= MIN_CORRELATION)
            kind = np.where(exact, "exact", "mirrored" if mirror else "near")
            values = {"first": i, "second": j, "kind": kind, "distance": distance}
            found.append(pd.DataFrame(values | {"correlation": correlation})[close])
    columns = ["first", "second", "kind", "distance", "correlation"]
    pairs = pd.concat(found) if found else pd.DataFrame(columns=columns)
    # a symmetric image is its own mirror image
    pairs = pairs.drop_duplicates(["first", "second"])
    return pairs.sort_values(["first", "second"], ignore_index=True)


def duplicate_groups(pairs: pd.DataFrame, n: int) -> np.ndarray:
    """Return the number of each image's group: images linked by pairs share one.

    Parameters
    ----------
    pairs : DataFrame
        Of :func:`find_duplicates`, within one set.
    n : int
        Number of images.

    Returns
    -------
    ndarray of shape (n,), dtype int
    """
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=(n, n))
    return connected_components(links, directed=False)[1]


def _close(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows of `a` and `b` whose hashes are close, with their distance, block by block."""
    signs_b = np.where(b, 1, -1).astype(np.float32)
    bits = a.shape[1]
    for start in range(0, len(a), _BLOCK):
        signs_a = np.where(a[start : start + _BLOCK], 1, -1).astype(np.float32)
        for other in range(0, len(b), _BLOCK):
            # the product of signs counts equal bits less unequal ones
            distance = (bits - signs_a @ signs_b[other : other + _BLOCK].T) / 2
            i, j = np.nonzero(distance <= MAX_DISTANCE)
            yield i + start, j + other, distance[i, j].astype(int)


def _correlation(a: np.ndarray, b: np.ndarray, mirror: bool) -> np.ndarray:
    """Return the correlation of images pair by pair; 0 for an image of one grey."""
    if mirror:
        b = b[:, :, ::-1]
    flat = []
    for images in (a, b):
        values = images.reshape(len(images), THUMBNAIL_SIDE**2).astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        flat.append(values / np.where(length > 0, length, 1))
    return np.einsum("ij,ij->i", *flat)


def _equal(films: Films, i: np.ndarray, others: Films, j: np.ndarray) -> np.ndarray:
    return films.frame["digest"].to_numpy()[i] == others.frame["digest"].to_numpy()[j]
