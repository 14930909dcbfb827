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
from ._matching import Candidate, candidates
from ._measurements import Films
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
    films: Films, others: Films | None = None, n_jobs: int | None = None
) -> pd.DataFrame:
    """Find pairs of images of equal or nearly equal content.

    A pair is exact if the decoded pixels are equal. It is a near-duplicate if the 256-bit
    perceptual hashes differ in at most 24 bits, the thumbnails of 32 by 32 pixels correlate by
    0.95 or more, and the local contrast of those of 64 by 64 pixels by 0.9 or more, the one as it
    is with the other as it is or mirrored. It is reframed if keypoints of both agree on how the one
    lies on the other, and the fine detail that they share then correlates by 0.82 or more: the
    other may be cropped, framed, rotated a little, mirrored, inverted, or of other grey levels.

    Parameters
    ----------
    films : Films
    others : Films, default=None
        Where to find the second of each pair; by default in `films`, each pair once.
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
    second = films if others is None else others
    mine, theirs = _representatives(films), _representatives(second)
    found = [_exact(films, others)]
    found += [_near(films, second, mine, theirs, mirror) for mirror in (False, True)]
    # equal images are near too, and a symmetric image is its own mirror image
    pairs = pd.concat([some for some in found if len(some)] or found[:1])
    pairs = pairs.drop_duplicates(["first", "second"])
    reframed = _reframed(films, others, mine, theirs, pairs, n_jobs)
    pairs = pd.concat([pairs, reframed]) if len(reframed) else pairs
    return pairs.sort_values(["first", "second"], ignore_index=True)


def _near(
    films: Films, second: Films, mine: np.ndarray, theirs: np.ndarray, mirror: bool
) -> pd.DataFrame:
    """Return the pairs of equal framing whose hashes and thumbnails agree."""
    found = []
    hashes = (second.mirrored if mirror else second.hashes)[theirs]
    for i, j, distance in _close(films.hashes[mine], hashes, within=films is second):
        i, j = mine[i], theirs[j]
        correlation = _correlation(films.thumbnails[i], second.thumbnails[j], mirror)
        alike = correlation >= MIN_CORRELATION
        i, j, distance, correlation = i[alike], j[alike], distance[alike], correlation[alike]
        fine = _fine_correlation(films.fine[i], second.fine[j], mirror) >= MIN_FINE_CORRELATION
        values = {"first": i, "second": j, "kind": "mirrored" if mirror else "near"}
        values |= {"distance": distance, "correlation": correlation}
        found.append(pd.DataFrame(values)[fine])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _reframed(
    films: Films,
    others: Films | None,
    mine: np.ndarray,
    theirs: np.ndarray,
    known: pd.DataFrame,
    n_jobs: int | None,
) -> pd.DataFrame:
    """Return the pairs that agree in another framing, and are not known already."""
    second = films if others is None else others
    known_pairs = set(zip(known["first"], known["second"], strict=True))
    a, b = [films.keypoints[i] for i in mine], [second.keypoints[j] for j in theirs]
    possible = [
        candidate
        for candidate in candidates(a, b, within=others is None)
        if (mine[candidate.first], theirs[candidate.second]) not in known_pairs
    ]
    rows = []
    for candidate, correlation in _confirmed(possible, a, b, others is None, n_jobs):
        i, j = int(mine[candidate.first]), int(theirs[candidate.second])
        hashes = second.mirrored if candidate.mirror else second.hashes
        distance = int((films.hashes[i] != hashes[j]).sum())
        rows.append((i, j, "reframed", distance, correlation))
    pairs = pd.DataFrame(rows, columns=["first", "second", "kind", "distance", "correlation"])
    best_first = pairs.sort_values("correlation", ascending=False, kind="stable")
    return best_first.drop_duplicates(["first", "second"])


def _confirmed(
    possible: list[Candidate],
    a: list[Keypoints],
    b: list[Keypoints],
    within: bool,
    n_jobs: int | None,
) -> list[tuple[Candidate, float]]:
    """Return the candidates whose detail agrees, with its correlation.

    The likeliest candidates of all images are compared first. Images that are linked by then are
    not compared again: a thousand copies of an image take some thousand comparisons, not half a
    million.
    """
    offset = 0 if within else len(a)
    linked = np.arange(offset + len(b))
    ranks = _ranks(possible)
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem")
    found: list[tuple[Candidate, float]] = []
    for rank in range(1, MAX_CANDIDATES + 1):
        compared = [
            candidate
            for candidate, its_rank in zip(possible, ranks, strict=True)
            if its_rank == rank and linked[candidate.first] != linked[offset + candidate.second]
        ]
        agreement = parallel(delayed(_agreement)(a[c.first], b[c.second], c) for c in compared)
        found += [
            (candidate, correlation)
            for candidate, correlation in zip(compared, agreement, strict=True)
            if correlation >= MIN_DETAIL_CORRELATION
        ]
        links = [(c.first, offset + c.second) for c, _ in found]
        linked = duplicate_groups(pd.DataFrame(links, columns=["first", "second"]), len(linked))
    return found


def _ranks(possible: list[Candidate]) -> np.ndarray:
    """Return the place of each candidate among those of either of its images, by votes."""
    columns = {name: [getattr(c, name) for c in possible] for name in ("first", "second", "votes")}
    frame = pd.DataFrame(columns)
    ranks = [
        frame.groupby(side)["votes"].rank(method="first", ascending=False).to_numpy()
        for side in ("first", "second")
    ]
    return np.minimum(*ranks)


def _agreement(a: Keypoints, b: Keypoints, candidate: Candidate) -> float:
    """Return how well the detail of two images correlates, 0 if they hardly overlap."""
    detail = b.detail[:, ::-1] if candidate.mirror else b.detail
    sign, resolution = -1 if candidate.invert else 1, min(a.side, b.side)
    correlation, overlap, _ = overlay(a.detail, detail, candidate.matrix, sign, resolution)
    return correlation if overlap >= MIN_OVERLAP else 0.0


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
        values = images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        flat.append(values / np.where(length > 0, length, 1))
    return np.einsum("ij,ij->i", *flat)


def _fine_correlation(a: np.ndarray, b: np.ndarray, mirror: bool) -> np.ndarray:
    """Return the correlation of the local contrast of images pair by pair."""
    blocks = range(0, len(a), _BLOCK)
    found = [
        _correlation(_contrast(a[k : k + _BLOCK]), _contrast(b[k : k + _BLOCK]), mirror)
        for k in blocks
    ]
    return np.concatenate([np.zeros(0, np.float32), *found])


def _contrast(images: np.ndarray) -> np.ndarray:
    """Return images less their local mean, by their local standard deviation."""
    window, smoothing = ((0, s, s) for s in (_FINE_WINDOW, _FINE_SMOOTHING))
    difference = images.astype(np.float32)
    difference -= gaussian_filter(difference, window)
    variance = gaussian_filter(difference**2, window)
    return gaussian_filter(difference / np.sqrt(variance + _FINE_NOISE**2), smoothing)
