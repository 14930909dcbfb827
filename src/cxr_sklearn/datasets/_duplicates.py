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
        and ``correlation``, in the order of the rows. The first of several equal images stands for
        them: the others are paired with it, and with nothing else.
    """
    second = films if others is None else others
    mine, theirs = _representatives(films), _representatives(second)
    found = [_exact(films, others)]
    for mirror in (False, True):
        hashes = (second.mirrored if mirror else second.hashes)[theirs]
        for i, j, distance in _close(films.hashes[mine], hashes, within=others is None):
            i, j = mine[i], theirs[j]
            correlation = _correlation(films.thumbnails[i], second.thumbnails[j], mirror)
            values = {"first": i, "second": j, "kind": "mirrored" if mirror else "near"}
            values |= {"distance": distance, "correlation": correlation}
            found.append(pd.DataFrame(values)[correlation >= MIN_CORRELATION])
    # what is equal is near too, and a symmetric image is its own mirror image
    pairs = pd.concat([some for some in found if len(some)] or found[:1])
    pairs = pairs.drop_duplicates(["first", "second"])
    return pairs.sort_values(["first", "second"], ignore_index=True)


def _representatives(films: Films) -> np.ndarray:
    """Return the first row of each content: a thousand blank films are one, not a million pairs."""
    readable = films.frame.loc[films.readable, "digest"]
    return readable.drop_duplicates().index.to_numpy(dtype=int)


def _exact(films: Films, others: Films | None) -> pd.DataFrame:
    """Return the pairs of equal pixels, the first of them being the first row of that content."""
    second = films if others is None else others
    pairs = _copies(films, second)
    if others is None:
        pairs = pairs[pairs["first"] < pairs["second"]]
    else:  # across two sets every row of either stands in a pair
        back = _copies(second, films).rename(columns={"first": "second", "second": "first"})
        pairs = pd.concat([pairs, back]).drop_duplicates()
    return pairs.assign(kind="exact", distance=0, correlation=1.0)


def _copies(films: Films, second: Films) -> pd.DataFrame:
    """Return each row of the second that is in the first, with the first row of its content."""
    representatives = films.frame.loc[_representatives(films), "digest"]
    first = pd.Series(representatives.index, index=representatives.to_numpy())
    matched = second.frame.loc[second.readable, "digest"].map(first).dropna().astype(int)
    return pd.DataFrame({"first": matched.to_numpy(), "second": matched.index.to_numpy()})


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


def _close(
    a: np.ndarray, b: np.ndarray, within: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows of `a` and `b` whose hashes are close, with their distance, block by block.

    Within one set each pair comes once, the first row first.
    """
    signs_b = np.where(b, 1, -1).astype(np.float32)
    bits = a.shape[1]
    for start in range(0, len(a), _BLOCK):
        signs_a = np.where(a[start : start + _BLOCK], 1, -1).astype(np.float32)
        for other in range(start if within else 0, len(b), _BLOCK):
            # the product of signs counts equal bits less unequal ones
            distance = (bits - signs_a @ signs_b[other : other + _BLOCK].T) / 2
            close = distance <= MAX_DISTANCE
            if within and other == start:
                close = np.triu(close, 1)
            i, j = np.nonzero(close)
            yield i + start, j + other, distance[i, j].astype(int)


def _correlation(a: np.ndarray, b: np.ndarray, mirror: bool) -> np.ndarray:
    """Return the correlation of images pair by pair; 0 for an image of one grey."""
    if len(a) > _BLOCK:
        halves = zip(np.array_split(a, 2), np.array_split(b, 2), strict=True)
        return np.concatenate([_correlation(*half, mirror) for half in halves])
    if mirror:
        b = b[:, :, ::-1]
    flat = []
    for images in (a, b):
        values = images.reshape(len(images), THUMBNAIL_SIDE**2).astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        flat.append(values / np.where(length > 0, length, 1))
    return np.einsum("ij,ij->i", *flat)
