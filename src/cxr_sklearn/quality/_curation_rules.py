"""Rules of curation, and the images to which each rule applies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np

from ..preprocessing._novelty import MIN_IMAGES, out_of_fold_unexplained_shares, robust_spread
from ..preprocessing._thumbnails import MIN_TYPICAL_CORRELATION, equalise, mean_radiograph
from ._measurements import ImageMeasurements


@dataclass(frozen=True, kw_only=True)
class CurationRules:
    """Limits of :func:`curate`. ``None`` switches a rule off.

    Parameters
    ----------
    min_sd : float or None, default=15
        Reject images whose standard deviation of the grey levels (0 to 255) is below this.
    min_contrast : float or None, default=50
        Reject images whose contrast, the 99th minus the 1st percentile of the grey levels, is below
        this.
    max_black_white : float or None, default=0.5
        Reject images whose share of black pixels (grey levels up to 5) and white pixels (from 250)
        is above this.
    min_aspect, max_aspect : float or None, default=0.5 and 2
        Reject images whose width divided by height is below or above these limits.
    min_side : int or None, default=200
        Reject images whose shorter side has fewer pixels than this.
    max_saturated : float or None, default=0.002
        Reject images whose share of pixels of saturated colour is above this. A pixel is saturated
        if its largest and smallest channels differ by 64 or more.
    max_colour : float or None, default=8
        Reject images whose mean difference between the greatest and the smallest colour channel is
        above this.
    min_likeness : float or None, default=0.0
        Reject images whose correlation with the mean radiograph of the set is below this. They are
        usually upside down or inverted.
    review_likeness : float or None, default=0.3
        Review images whose correlation with the mean radiograph of the set is below this.
    review_unexplained : float or None, default=2.5
        Review images that the other images explain badly: 15 principal components of the other
        images leave a larger share of them unexplained than this limit. The limit is in robust
        standard deviations above the median of the set, on a logarithmic scale. This rule finds CT
        slices. It is used only if 100 images or more have a correlation of 0.3 or more with the
        mean radiograph.
    review_sharpness : float or None, default=4
        Review images whose sharpness is more than this many robust standard deviations below the
        median of the set, on a logarithmic scale.
    duplicates : bool, default=True
        Whether to reject duplicates (exact, near, mirrored or reframed): all but one of those in
        one class, and all of those that occur in several classes.

    Examples
    --------
    >>> from cxr_sklearn.quality import CurationRules
    >>> CurationRules(min_side=None).min_sd
    15
    """

    min_sd: float | None = 15
    min_contrast: float | None = 50
    max_black_white: float | None = 0.5
    min_aspect: float | None = 0.5
    max_aspect: float | None = 2
    min_side: int | None = 200
    max_saturated: float | None = 0.002
    max_colour: float | None = 8
    min_likeness: float | None = 0.0
    review_likeness: float | None = 0.3
    review_unexplained: float | None = 2.5
    review_sharpness: float | None = 4
    duplicates: bool = True

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "duplicates"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool) and value == value
            if value is not None and not is_number:
                raise ValueError(f"{name}={value!r}; expected a number, or None for no such rule")
        if not isinstance(self.duplicates, (bool, np.bool_)):
            raise ValueError(f"duplicates={self.duplicates!r}; expected True or False")


def by_measure(
    measurements: ImageMeasurements, rules: CurationRules
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return which rows each rule rejects, and which it sends to review."""
    frame, readable = measurements.frame, measurements.is_readable
    column = {name: frame[name].to_numpy(dtype=float) for name in _MEASURED}
    column["side"] = np.minimum(frame["width"], frame["height"]).to_numpy(dtype=float)
    likeness, novelty = _likeness(measurements, readable)
    blur = np.zeros(len(measurements))
    sharp = np.log(np.maximum(column["sharpness"][readable], 1e-12))
    if len(sharp):
        spread = 1.4826 * np.median(np.abs(sharp - np.median(sharp)))
        blur[readable] = (np.median(sharp) - sharp) / max(spread, 1e-12)
    limits = (
        ("little contrast (SD)", column["sd"], rules.min_sd, np.less),
        ("little contrast (percentiles)", column["contrast"], rules.min_contrast, np.less),
        ("black and white", column["black_white"], rules.max_black_white, np.greater),
        ("too tall", column["aspect"], rules.min_aspect, np.less),
        ("too wide", column["aspect"], rules.max_aspect, np.greater),
        ("too small", column["side"], rules.min_side, np.less),
        ("saturated colour", column["saturated"], rules.max_saturated, np.greater),
        ("coloured", column["colour"], rules.max_colour, np.greater),
        ("upside down, inverted or no radiograph", likeness, rules.min_likeness, np.less),
    )
    reviews = (
        ("unlike the mean radiograph", likeness, rules.review_likeness, np.less),
        ("unlike the other images", novelty, rules.review_unexplained, np.greater),
        ("blurred", blur, rules.review_sharpness, np.greater),
    )
    return _rows_beyond(limits, readable), _rows_beyond(reviews, readable)


def _rows_beyond(
    limits: tuple[tuple[str, np.ndarray, float | None, np.ufunc], ...], readable: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the mask of the readable rows beyond each limit, by the name of the limit."""
    rows = {}
    for name, values, limit, is_beyond in limits:
        if limit is None:
            rows[name] = np.zeros(len(readable), dtype=bool)
        else:
            rows[name] = is_beyond(values, limit) & readable
    return rows


def _likeness(
    measurements: ImageMeasurements, readable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return correlations with the mean radiograph, and how far images are left unexplained.

    Returns
    -------
    likeness, novelty : ndarray of shape (n,), dtype float64
        1 and 0 for unreadable files. `novelty` is in robust standard deviations above the median.
    """
    likeness, novelty = np.ones(len(measurements)), np.zeros(len(measurements))
    if not readable.any():
        return likeness, novelty
    ranks = equalise(measurements.thumbnails[readable])
    likeness[readable] = ranks @ mean_radiograph(measurements.thumbnails[readable])
    is_typical = likeness[readable] >= MIN_TYPICAL_CORRELATION
    if is_typical.sum() >= MIN_IMAGES:
        shares = out_of_fold_unexplained_shares(ranks, is_typical)
        novelty[readable] = robust_spread(shares[is_typical]).deviations(shares)
    return likeness, novelty


_MEASURED = ("sd", "contrast", "black_white", "aspect", "saturated", "colour", "sharpness")


def label_suspects(proba: Any, y: Any, classes: Any) -> np.ndarray:
    """Return which labels confident learning contradicts.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Out-of-fold probabilities.
    y : array-like of shape (n_samples,)
    classes : sequence of n_classes labels
        Label of each column.

    Returns
    -------
    suspects : ndarray of shape (n_samples,), dtype bool
    """
    proba, y, classes = np.asarray(proba, dtype=float), np.asarray(y), np.asarray(classes)
    if proba.shape != (len(y), len(classes)) or not np.isfinite(proba).all():
        raise ValueError(
            f"proba has shape {proba.shape}; expected {(len(y), len(classes))}, finite, with a "
            f"column per class ({', '.join(map(str, classes))}). Compute it with cross_val_predict."
        )
    code = np.searchsorted(classes, y)
    labelled = np.eye(len(classes), dtype=bool)[code]
    with np.errstate(invalid="ignore"):  # a class without images has no mean
        usual = (proba * labelled).sum(axis=0) / labelled.sum(axis=0)
    best = proba.argmax(axis=1)
    rows = np.arange(len(y))
    return (best != code) & (proba[rows, best] >= usual[best]) & (proba[rows, code] < usual[code])
