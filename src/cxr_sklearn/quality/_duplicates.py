"""Images that occur twice: exactly, nearly, mirrored, or in another framing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ._keypoints import Keypoints
from ._matching import Candidate, find_candidates
from ._measurements import ImageMeasurements
from ._registration import overlay

# Of 256 bits. With the correlation it had no false pair in 723,000; 64-bit hashes find other
# patients: at most 8 of 64 bits apart were 164 pairs of ChestX-ray14, 149 of different patients.
MAX_DISTANCE = 24
MIN_CORRELATION = 0.95

# Phantoms have few large features, and 17 pairs of 10,000 pass the two limits above. Their local
# contrast correlates by 0.87 or less, that of copies (JPEG of quality 50, half the size) by 0.92.
MIN_FINE_CORRELATION = 0.9
_FINE_WINDOW, _FINE_SMOOTHING, _FINE_NOISE = 2.0, 0.7, 2.0  # pixels, pixels, grey levels

# In another framing, after registration. Consecutive radiographs of one patient reach 0.72,
# phantoms 0.75, and copies have 0.85 or more.
MIN_DETAIL_CORRELATION = 0.82
MIN_OVERLAP = 0.5
MAX_CANDIDATES = 10  # of an image
_BLOCK = 4096


def find_duplicates(
    first: ImageMeasurements, second: ImageMeasurements | None = None, n_jobs: int | None = None
) -> pd.DataFrame:
    """Find pairs of images of equal or nearly equal content.

    A pair is exact if the decoded pixels are equal. It is a near-duplicate if the 256-bit
    perceptual hashes differ in at most 24 bits, the thumbnails of 32 by 32 pixels correlate by
    0.95 or more, and the local contrast of those of 64 by 64 pixels by 0.9 or more, either as they
    are or with one of them mirrored. It is reframed if keypoints of both images agree on an affine
    map between them, and the fine detail in the common part then correlates by 0.82 or more: the
    second image may be cropped, framed, rotated a little, mirrored, inverted, or have other grey
    levels.

    Parameters
    ----------
    first : ImageMeasurements
    second : ImageMeasurements, default=None
        Images in which the second of each pair is searched. By default both are searched in
        `first`, and each pair is found once.
    n_jobs : int, default=None
        Number of threads that compare candidates in detail.

    Returns
    -------
    pairs : DataFrame
        ``first``, ``second`` (rows), ``kind`` ("exact", "near", "mirrored" or "reframed"),
        ``distance`` (bits in which the hashes differ) and ``correlation`` (of the thumbnails, or
        of the shared detail of a reframed pair), in the order of the rows. The first of several
        equal images represents them: the others are paired with it, and with no other image. Of
        each image the 10 most likely reframed copies are compared. Of several reframed copies of
        one image each is in a pair, but not every two of them are.
    """
    search = _Search(first, second)
    found = [_exact(search), _near(search, mirror=False), _near(search, mirror=True)]
    not_empty = [pairs for pairs in found if len(pairs)]
    pairs = pd.concat(not_empty or found[:1])
    # Equal images are near-duplicates too, and a symmetric image is its own mirror image.
    pairs = pairs.drop_duplicates(["first", "second"])
    reframed = _reframed(search, pairs, n_jobs)
    if len(reframed):
        pairs = pd.concat([pairs, reframed])
    return pairs.sort_values(["first", "second"], ignore_index=True)


class _Search:
    """Two sets of images that are compared, which may be the same set.

    Parameters
    ----------
    first : ImageMeasurements
    second : ImageMeasurements or None
        None to search within `first`.

    Attributes
    ----------
    first, second : ImageMeasurements
    is_within : bool
        Whether both are the same set.
    first_rows, second_rows : ndarray of int
        The images that are compared. A thousand blank images have one representative, since they
        would make half a million pairs.
    """

    def __init__(self, first: ImageMeasurements, second: ImageMeasurements | None) -> None:
        self.first = first
        self.is_within = second is None
        self.second = first if second is None else second
        self.first_rows = _representatives(first)
        self.second_rows = _representatives(self.second)

    def second_hashes(self, mirror: bool) -> np.ndarray:
        """Return the hashes of the second images, or of their mirror images."""
        return self.second.mirrored_hashes if mirror else self.second.hashes


def _representatives(images: ImageMeasurements) -> np.ndarray:
    """Return the first row of each content."""
    digests = images.frame.loc[images.is_readable, "digest"]
    return digests.drop_duplicates().index.to_numpy(dtype=int)


def _exact(search: _Search) -> pd.DataFrame:
    """Return the pairs of equal pixels, the first of them being the first row of that content."""
    pairs = _copies(search.first, search.second)
    if search.is_within:
        pairs = pairs[pairs["first"] < pairs["second"]]
    else:
        # Every row of either set that has a copy in the other one must be in a pair.
        back = _copies(search.second, search.first)
        back = back.rename(columns={"first": "second", "second": "first"})
        pairs = pd.concat([pairs, back]).drop_duplicates()
    return pairs.assign(kind="exact", distance=0, correlation=1.0)


def _copies(first: ImageMeasurements, second: ImageMeasurements) -> pd.DataFrame:
    """Return each row of `second` that is also in `first`, with the first row of its content."""
    representatives = first.frame.loc[_representatives(first), "digest"]
    row_of_digest = pd.Series(representatives.index, index=representatives.to_numpy())
    digests = second.frame.loc[second.is_readable, "digest"]
    matched = digests.map(row_of_digest).dropna().astype(int)
    return pd.DataFrame({"first": matched.to_numpy(), "second": matched.index.to_numpy()})


def _near(search: _Search, mirror: bool) -> pd.DataFrame:
    """Return the pairs of equal framing whose hashes and thumbnails agree."""
    first, second = search.first, search.second
    first_hashes = first.hashes[search.first_rows]
    second_hashes = search.second_hashes(mirror)[search.second_rows]
    found = []
    for i, j, distance in _close(first_hashes, second_hashes, search.is_within):
        i, j = search.first_rows[i], search.second_rows[j]
        correlation = _correlation(first.thumbnails[i], second.thumbnails[j], mirror)
        is_alike = correlation >= MIN_CORRELATION
        i, j = i[is_alike], j[is_alike]
        # Computed for the few pairs that are left, because it takes much longer.
        fine = _fine_correlation(first.large_thumbnails[i], second.large_thumbnails[j], mirror)
        pairs = pd.DataFrame(
            {
                "first": i,
                "second": j,
                "kind": "mirrored" if mirror else "near",
                "distance": distance[is_alike],
                "correlation": correlation[is_alike],
            }
        )
        found.append(pairs[fine >= MIN_FINE_CORRELATION])
    if not found:
        return pd.DataFrame()
    return pd.concat(found, ignore_index=True)


def _reframed(search: _Search, known: pd.DataFrame, n_jobs: int | None) -> pd.DataFrame:
    """Return the pairs that agree in another framing, without those that are known already."""
    known_pairs = set(zip(known["first"], known["second"], strict=True))
    first_rows, second_rows = search.first_rows, search.second_rows
    a = [search.first.keypoints[row] for row in first_rows]
    b = [search.second.keypoints[row] for row in second_rows]
    possible = []
    for candidate in find_candidates(a, b, search.is_within):
        if (first_rows[candidate.first], second_rows[candidate.second]) not in known_pairs:
            possible.append(candidate)
    rows = []
    for candidate, correlation in _confirmed(possible, a, b, search.is_within, n_jobs):
        i, j = int(first_rows[candidate.first]), int(second_rows[candidate.second])
        hashes = search.second_hashes(candidate.mirror)
        distance = int((search.first.hashes[i] != hashes[j]).sum())
        rows.append((i, j, "reframed", distance, correlation))
    pairs = pd.DataFrame(rows, columns=["first", "second", "kind", "distance", "correlation"])
    best_first = pairs.sort_values("correlation", ascending=False, kind="stable")
    return best_first.drop_duplicates(["first", "second"])


def _confirmed(
    possible: list[Candidate],
    a: list[Keypoints],
    b: list[Keypoints],
    is_within: bool,
    n_jobs: int | None,
) -> list[tuple[Candidate, float]]:
    """Return the candidates whose detail agrees, with its correlation.

    The likeliest candidates of all images are compared first. Images that are linked by then are
    not compared again: a thousand copies of an image take some thousand comparisons, not half a
    million.
    """
    offset = 0 if is_within else len(a)
    group = np.arange(offset + len(b))
    ranks = _ranks(possible)
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem")
    found: list[tuple[Candidate, float]] = []
    for rank in range(1, MAX_CANDIDATES + 1):
        compared = []
        for candidate, candidate_rank in zip(possible, ranks, strict=True):
            is_linked = group[candidate.first] == group[offset + candidate.second]
            if candidate_rank == rank and not is_linked:
                compared.append(candidate)
        correlations = parallel(delayed(_agreement)(a[c.first], b[c.second], c) for c in compared)
        for candidate, correlation in zip(compared, correlations, strict=True):
            if correlation >= MIN_DETAIL_CORRELATION:
                found.append((candidate, correlation))
        links = [(candidate.first, offset + candidate.second) for candidate, _ in found]
        group = duplicate_groups(pd.DataFrame(links, columns=["first", "second"]), len(group))
    return found


def _ranks(possible: list[Candidate]) -> np.ndarray:
    """Return the rank of each candidate by votes, the better one of those for its two images."""
    frame = pd.DataFrame(
        {
            "first": [candidate.first for candidate in possible],
            "second": [candidate.second for candidate in possible],
            "votes": [candidate.votes for candidate in possible],
        }
    )
    by_first = frame.groupby("first")["votes"].rank(method="first", ascending=False)
    by_second = frame.groupby("second")["votes"].rank(method="first", ascending=False)
    return np.minimum(by_first.to_numpy(), by_second.to_numpy())


def _agreement(a: Keypoints, b: Keypoints, candidate: Candidate) -> float:
    """Return how well the detail of two images correlates, 0 if they hardly overlap."""
    detail = b.detail[:, ::-1] if candidate.mirror else b.detail
    sign = -1 if candidate.invert else 1
    resolution = min(a.native_side, b.native_side)
    correlation, overlap, _ = overlay(a.detail, detail, candidate.matrix, sign, resolution)
    if overlap < MIN_OVERLAP:
        return 0.0
    return correlation


def duplicate_groups(pairs: pd.DataFrame, n: int) -> np.ndarray:
    """Return the group of each image. Images that are linked by pairs are in one group.

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
        values = images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        flat.append(values / np.where(length > 0, length, 1))
    return np.einsum("ij,ij->i", *flat)


def _fine_correlation(a: np.ndarray, b: np.ndarray, mirror: bool) -> np.ndarray:
    """Return the correlation of the local contrast of images pair by pair."""
    correlations = np.zeros(len(a), np.float32)
    # Block by block, since the contrast is computed in floats.
    for start in range(0, len(a), _BLOCK):
        block = slice(start, start + _BLOCK)
        correlations[block] = _correlation(_contrast(a[block]), _contrast(b[block]), mirror)
    return correlations


def _contrast(images: np.ndarray) -> np.ndarray:
    """Return images less their local mean, by their local standard deviation."""
    window, smoothing = ((0, s, s) for s in (_FINE_WINDOW, _FINE_SMOOTHING))
    difference = images.astype(np.float32)
    difference -= gaussian_filter(difference, window)
    variance = gaussian_filter(difference**2, window)
    return gaussian_filter(difference / np.sqrt(variance + _FINE_NOISE**2), smoothing)
