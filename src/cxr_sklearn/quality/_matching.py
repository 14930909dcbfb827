"""Pairs of images that may show the same in another framing: keypoints that agree on a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ._keypoints import IS_ODD, N_COMPONENTS, Keypoints

MIN_VOTES = 4
MIN_LIKENESS = 0.8  # cosine of two descriptors
_MAX_LOG_SCALE = 0.7  # octaves
_MAX_SHIFT = 0.35  # of the longer side
_SAME_SCALE = 0.4  # octaves
_SAME_SHIFT = 0.04  # of the longer side
_IMAGES = 512  # in a block: what bounds the memory
_ROWS = 4096  # keypoints in a product
_STIFFNESS = 0.05  # how much a map resists what is not a change of scale


@dataclass(frozen=True)
class Candidate:
    """Two images that may show the same, and how the one lies on the other.

    Attributes
    ----------
    first, second : int
        Rows.
    mirror, invert : bool
        Whether the second has to be mirrored, or inverted, to be like the first.
    votes : int
        Number of keypoints that agree.
    matrix : ndarray of shape (2, 3)
        Affine map of (y, x) of the first to those of the second, mirrored if need be, from their
        centres and in units of their longer sides.
    """

    first: int
    second: int
    mirror: bool
    invert: bool
    votes: int
    matrix: np.ndarray


@dataclass(frozen=True)
class _Table:
    """Keypoints of many images, one image after the other, sorted by their largest component."""

    image: np.ndarray  # (m,)
    where: np.ndarray  # (m, 3)
    descriptors: np.ndarray  # (m, 63)
    edges: np.ndarray  # (64,), the rows at which each component begins


def candidates(
    first: Sequence[Keypoints], second: Sequence[Keypoints], within: bool
) -> Iterator[Candidate]:
    """Yield pairs of images in which keypoints agree on how the one lies on the other.

    Keypoints are compared only where their largest component is the same one, which mirroring and
    inversion do not change: one comparison in seventeen. Each two that are alike propose a change
    of scale and a shift, and a pair is a candidate where four or more propose the same.

    Parameters
    ----------
    first, second : sequence of Keypoints
    within : bool
        Whether both are the same set: each pair comes once, the first row first.

    Yields
    ------
    Candidate
    """
    for i in range(0, len(first), _IMAGES):
        a = _table(first, i)
        for j in range(i if within else 0, len(second), _IMAGES):
            yield from _agreeing(a, _table(second, j), within)


def _table(keypoints: Sequence[Keypoints], start: int) -> _Table:
    some = keypoints[start : start + _IMAGES]
    image = np.repeat(np.arange(start, start + len(some)), [len(k.where) for k in some])
    where = np.concatenate([k.where for k in some])
    descriptors = np.concatenate([k.descriptors for k in some])
    cell = np.abs(descriptors).argmax(axis=1)
    order = np.argsort(cell, kind="stable")
    edges = np.searchsorted(cell[order], np.arange(N_COMPONENTS + 1))
    return _Table(image[order], where[order], descriptors[order], edges)


def _agreeing(a: _Table, b: _Table, within: bool) -> Iterator[Candidate]:
    i, j, mirror, invert = _alike(a, b)
    if within:
        ordered = a.image[i] < b.image[j]
        i, j, mirror, invert = (values[ordered] for values in (i, j, mirror, invert))
    p, q = a.where[i], b.where[j]
    q[mirror, 1] *= -1
    log_scale = q[:, 2] - p[:, 2]
    shift = q[:, :2] - 2 ** log_scale[:, None] * p[:, :2]
    kept = (np.abs(log_scale) <= _MAX_LOG_SCALE) & (np.abs(shift).max(axis=1) <= _MAX_SHIFT)
    kept = np.flatnonzero(kept)
    # one number for each pair of images, and each way of laying the one on the other
    key = a.image[i[kept]].astype(np.int64) * (b.image.max(initial=0) + 1) + b.image[j[kept]]
    key = 4 * key + 2 * mirror[kept] + invert[kept]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    for rows in np.split(kept[order], starts[1:]) if len(starts) else []:
        if len(rows) < MIN_VOTES:
            continue
        votes, agree = _consensus(i[rows], j[rows], log_scale[rows], shift[rows])
        if votes >= MIN_VOTES:
            one, those = rows[0], rows[agree]
            matrix = _fitted(p[those, :2], q[those, :2], log_scale[those], shift[those])
            pair = int(a.image[i[one]]), int(b.image[j[one]])
            yield Candidate(*pair, bool(mirror[one]), bool(invert[one]), votes, matrix)


def _alike(a: _Table, b: _Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of keypoints that are alike, and whether when mirrored, and when inverted."""
    none = np.zeros(0, dtype=int)
    found = [(none, none, none.astype(bool), none.astype(bool))]
    for cell in range(N_COMPONENTS):
        for start in range(a.edges[cell], a.edges[cell + 1], _ROWS):
            left = _scaled(a, start, cell)
            for other in range(b.edges[cell], b.edges[cell + 1], _ROWS):
                right = _scaled(b, other, cell)
                odd = left[:, IS_ODD] @ right[:, IS_ODD].T
                even = left[:, ~IS_ODD] @ right[:, ~IS_ODD].T
                for mirror, cosine in ((False, even + odd), (True, even - odd)):
                    i, j = np.nonzero(np.abs(cosine) >= MIN_LIKENESS)
                    found.append((start + i, other + j, np.full(len(i), mirror), cosine[i, j] < 0))
    first, second, mirrors, inverts = (np.concatenate(part) for part in zip(*found, strict=True))
    return first, second, mirrors, inverts


def _scaled(table: _Table, start: int, cell: int) -> np.ndarray:
    rows = table.descriptors[start : min(start + _ROWS, table.edges[cell + 1])]
    return rows.astype(np.float32) / 127


def _consensus(
    i: np.ndarray, j: np.ndarray, log_scale: np.ndarray, shift: np.ndarray
) -> tuple[int, np.ndarray]:
    """Return the most keypoints that propose the same map, and which of the rows do."""
    agree = np.abs(log_scale[:, None] - log_scale) <= _SAME_SCALE
    agree &= np.square(shift[:, None] - shift).sum(axis=2) <= _SAME_SHIFT**2
    fullest = np.argsort(-agree.sum(axis=1), kind="stable")[:5]
    # a keypoint that is like many others has one vote
    votes = [min(len(np.unique(i[agree[k]])), len(np.unique(j[agree[k]]))) for k in fullest]
    best = int(np.argmax(votes))
    return votes[best], agree[fullest[best]]


def _fitted(p: np.ndarray, q: np.ndarray, log_scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the affine map that takes `p` to `q` best, and is not far from a change of scale."""
    scale = 2 ** np.median(log_scale)
    prior = np.column_stack([scale * np.eye(2), np.median(shift, axis=0)])
    known = np.column_stack([p, np.ones(len(p))]).astype(float)
    normal = known.T @ known + np.diag([_STIFFNESS, _STIFFNESS, 1e-6])
    return prior + np.linalg.solve(normal, known.T @ (q - known @ prior.T)).T
