"""Candidates for reframed duplicates: image pairs with keypoints that agree on an affine map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ._keypoints import IS_ODD, N_COMPONENTS, Keypoints

MIN_VOTES = 4  # keypoints that must agree
MIN_COSINE = 0.8  # of two descriptors that match

# Limits of the change of framing: zoom in octaves, and shift in units of the longer side.
_MAX_LOG_SCALE = 0.7
_MAX_SHIFT = 0.35

# Two matches agree if their maps differ by no more than this.
_SAME_LOG_SCALE = 0.4  # octaves
_SAME_SHIFT = 0.04  # of the longer side

# Number of matches with the most agreement that are tried as the centre of a consensus.
_N_CENTRES = 5

# Sizes of blocks, which limit the memory: images in a table, and keypoints in a matrix product.
_IMAGES_PER_TABLE = 512
_ROWS_PER_PRODUCT = 4096

# Weight of the prior when a map is fitted: high values allow little but zoom and shift.
_STIFFNESS = 0.05


@dataclass(frozen=True)
class Candidate:
    """Two images that may show the same exposure, and the map between them.

    Attributes
    ----------
    first, second : int
        Row numbers of the images.
    mirror, invert : bool
        Whether the second image has to be mirrored, or inverted, to resemble the first.
    votes : int
        Number of keypoints that agree.
    matrix : ndarray of shape (2, 3)
        Affine map from (y, x) of the first image to (y, x) of the second image, which is mirrored
        before if `mirror`. Coordinates start at the centres, in units of the longer sides.
    """

    first: int
    second: int
    mirror: bool
    invert: bool
    votes: int
    matrix: np.ndarray


@dataclass(frozen=True)
class _KeypointTable:
    """Keypoints of many images, sorted by their largest component.

    Attributes
    ----------
    image : ndarray of shape (m,)
        Row number of each keypoint's image.
    positions : ndarray of shape (m, 3)
    descriptors : ndarray of shape (m, 63)
    starts : ndarray of shape (64,)
        Rows at which the keypoints of each largest component begin, and the end of the last.
    """

    image: np.ndarray
    positions: np.ndarray
    descriptors: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class _Matches:
    """Pairs of similar keypoints.

    Attributes
    ----------
    first, second : ndarray of shape (m,), dtype int
        Rows in two tables of keypoints.
    mirror, invert : ndarray of shape (m,), dtype bool
        Whether the second image has to be mirrored, or inverted.
    """

    first: np.ndarray
    second: np.ndarray
    mirror: np.ndarray
    invert: np.ndarray

    def select(self, rows: np.ndarray) -> _Matches:
        """Return some of the matches."""
        return _Matches(self.first[rows], self.second[rows], self.mirror[rows], self.invert[rows])


def find_candidates(
    first: Sequence[Keypoints], second: Sequence[Keypoints], is_within: bool
) -> Iterator[Candidate]:
    """Yield image pairs in which keypoints agree on the map between the images.

    Each pair of similar keypoints proposes a zoom and a shift. Two images are a candidate if four
    or more pairs propose the same.

    Parameters
    ----------
    first, second : sequence of Keypoints
        Keypoints of two sets of images.
    is_within : bool
        Whether both are the same set. Each pair is then yielded once, the lower row first.

    Yields
    ------
    Candidate
    """
    for i in range(0, len(first), _IMAGES_PER_TABLE):
        first_table = _make_table(first, i)
        start = i if is_within else 0
        for j in range(start, len(second), _IMAGES_PER_TABLE):
            second_table = _make_table(second, j)
            yield from _candidates_of_tables(first_table, second_table, is_within)


def _make_table(keypoints: Sequence[Keypoints], start: int) -> _KeypointTable:
    """Return the keypoints of up to 512 images as a table."""
    block = keypoints[start : start + _IMAGES_PER_TABLE]
    n_keypoints = [len(k.positions) for k in block]
    image = np.repeat(np.arange(start, start + len(block)), n_keypoints)
    positions = np.concatenate([k.positions for k in block])
    descriptors = np.concatenate([k.descriptors for k in block])
    # Mirroring and inversion change the sign of components, but not which one is the largest.
    # Comparing only keypoints with the same largest component saves 16 of 17 comparisons.
    largest = np.abs(descriptors).argmax(axis=1)
    order = np.argsort(largest, kind="stable")
    starts = np.searchsorted(largest[order], np.arange(N_COMPONENTS + 1))
    return _KeypointTable(image[order], positions[order], descriptors[order], starts)


def _candidates_of_tables(
    first: _KeypointTable, second: _KeypointTable, is_within: bool
) -> Iterator[Candidate]:
    """Yield the candidates among the images of two tables."""
    matches = _match_keypoints(first, second)
    if is_within:
        # A pair of images is searched in one direction only, and no image with itself.
        is_ordered = first.image[matches.first] < second.image[matches.second]
        matches = matches.select(is_ordered)
    p, q = first.positions[matches.first], second.positions[matches.second]
    q[matches.mirror, 1] *= -1
    log_scale = q[:, 2] - p[:, 2]
    shift = q[:, :2] - 2 ** log_scale[:, None] * p[:, :2]
    is_possible = np.abs(log_scale) <= _MAX_LOG_SCALE
    is_possible &= np.abs(shift).max(axis=1) <= _MAX_SHIFT
    for rows in _rows_by_pair(first, second, matches, np.flatnonzero(is_possible)):
        if len(rows) < MIN_VOTES:
            continue
        votes, agrees = _consensus(matches.select(rows), log_scale[rows], shift[rows])
        if votes < MIN_VOTES:
            continue
        agreeing = rows[agrees]
        yield Candidate(
            first=int(first.image[matches.first[rows[0]]]),
            second=int(second.image[matches.second[rows[0]]]),
            mirror=bool(matches.mirror[rows[0]]),
            invert=bool(matches.invert[rows[0]]),
            votes=votes,
            matrix=_fit_map(p[agreeing, :2], q[agreeing, :2], log_scale[agreeing], shift[agreeing]),
        )


def _rows_by_pair(
    first: _KeypointTable, second: _KeypointTable, matches: _Matches, rows: np.ndarray
) -> list[np.ndarray]:
    """Divide rows of matches by image pair, and by mirroring and inversion."""
    if not len(rows):
        return []
    # One integer identifies a pair of images, and one of the four ways to lay them on each other.
    n_second = second.image.max(initial=0) + 1
    key = first.image[matches.first[rows]].astype(np.int64) * n_second
    key += second.image[matches.second[rows]]
    key = 4 * key + 2 * matches.mirror[rows] + matches.invert[rows]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    return np.split(rows[order], starts[1:])


def _match_keypoints(first: _KeypointTable, second: _KeypointTable) -> _Matches:
    """Return the pairs of keypoints with similar descriptors."""
    none = np.zeros(0, dtype=int)
    found = [(none, none, none.astype(bool), none.astype(bool))]
    for component in range(N_COMPONENTS):
        for i in range(first.starts[component], first.starts[component + 1], _ROWS_PER_PRODUCT):
            a = _scaled_descriptors(first, i, component)
            ends = second.starts[component], second.starts[component + 1]
            for j in range(*ends, _ROWS_PER_PRODUCT):
                b = _scaled_descriptors(second, j, component)
                # The cosine of a mirrored image differs in the sign of the odd components.
                odd = a[:, IS_ODD] @ b[:, IS_ODD].T
                even = a[:, ~IS_ODD] @ b[:, ~IS_ODD].T
                for mirror, cosine in ((False, even + odd), (True, even - odd)):
                    rows, columns = np.nonzero(np.abs(cosine) >= MIN_COSINE)
                    mirrors = np.full(len(rows), mirror)
                    # An inverted image has a negative cosine.
                    inverts = cosine[rows, columns] < 0
                    found.append((i + rows, j + columns, mirrors, inverts))
    return _Matches(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _scaled_descriptors(table: _KeypointTable, start: int, component: int) -> np.ndarray:
    """Return up to 4,096 descriptors of one largest component, as floats of length 1."""
    end = min(start + _ROWS_PER_PRODUCT, table.starts[component + 1])
    return table.descriptors[start:end].astype(np.float32) / 127


def _consensus(
    matches: _Matches, log_scale: np.ndarray, shift: np.ndarray
) -> tuple[int, np.ndarray]:
    """Return the largest number of keypoints that propose the same map, and which matches do."""
    agrees = np.abs(log_scale[:, None] - log_scale) <= _SAME_LOG_SCALE
    agrees &= np.square(shift[:, None] - shift).sum(axis=2) <= _SAME_SHIFT**2
    centres = np.argsort(-agrees.sum(axis=1), kind="stable")[:_N_CENTRES]
    votes = []
    for centre in centres:
        # A keypoint that resembles many others counts once, on either side.
        n_first = len(np.unique(matches.first[agrees[centre]]))
        n_second = len(np.unique(matches.second[agrees[centre]]))
        votes.append(min(n_first, n_second))
    best = int(np.argmax(votes))
    return votes[best], agrees[centres[best]]


def _fit_map(p: np.ndarray, q: np.ndarray, log_scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the affine map that takes `p` to `q` best and differs little from zoom and shift."""
    scale = 2 ** np.median(log_scale)
    prior = np.column_stack([scale * np.eye(2), np.median(shift, axis=0)])
    # Ridge regression of what the prior leaves over; the shift is hardly penalised.
    known = np.column_stack([p, np.ones(len(p))]).astype(float)
    penalty = np.diag([_STIFFNESS, _STIFFNESS, 1e-6])
    residual = q - known @ prior.T
    return prior + np.linalg.solve(known.T @ known + penalty, known.T @ residual).T
