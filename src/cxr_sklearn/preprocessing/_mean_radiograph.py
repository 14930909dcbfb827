"""The mean radiograph of a set, and a guard against images unlike the set."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, OutlierMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._images.inputs import check_images
from .._images.loader import XRayLoader
from .._images.paths import as_paths
from ..exceptions import OutOfDistributionWarning
from ._novelty import MIN_IMAGES, principal_components, spread, unexplained, unexplained_out_of_fold

THUMBNAIL_SIDE = 32
TURNED, UNLIKE = 0.0, 0.3

# robust standard deviations above the median, of the share that components leave unexplained
_UNEXPLAINED_DEVIATIONS = 2.5
_NAMED = 5
_LEAST_SIDE = 8


def equalised(thumbnails: np.ndarray) -> np.ndarray:
    """Return thumbnails with every grey level replaced by its rank, mean 0 and length 1.

    Parameters
    ----------
    thumbnails : ndarray of shape (n, height, width)

    Returns
    -------
    ndarray of shape (n, height * width), dtype float32
        0 for an image of one grey.
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    ranks = np.array(rankdata(flat, axis=1), dtype=np.float32) if len(flat) else flat.astype("f4")
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return ranks / np.where(length > 0, length, 1)


def mean_radiograph(thumbnails: np.ndarray) -> np.ndarray:
    """Return the mean of equalised thumbnails, of length 1, without those unlike the first mean.

    Parameters
    ----------
    thumbnails : ndarray of shape (n, 32, 32)

    Returns
    -------
    ndarray of shape (1024,), dtype float32
    """
    ranks = equalised(thumbnails)
    mean = _unit(ranks.mean(axis=0))
    like = ranks @ mean >= UNLIKE
    return _unit(ranks[like].mean(axis=0)) if like.any() else mean


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def _without_padding(pixels: np.ndarray) -> np.ndarray:
    """Return an image without black margins of equal width on two opposite sides.

    XRayLoader adds such margins to images that are not square. Without them an image is what
    ``resize="stretch"`` makes of it, so that its shape does not count.
    """
    margins = []
    for axis in (0, 1):
        filled = np.flatnonzero(pixels.any(axis=1 - axis))
        if not len(filled):
            return pixels
        margins.append(min(filled[0], pixels.shape[axis] - 1 - filled[-1]))
    axis = int(np.argmax(margins))  # a loader pads one axis
    inside = [slice(None), slice(None)]
    inside[axis] = slice(margins[axis], pixels.shape[axis] - margins[axis])
    return pixels[tuple(inside)]


class MeanRadiograph(OneToOneFeatureMixin, OutlierMixin, TransformerMixin, BaseEstimator):
    """Guard a classifier against images unlike its training set.

    A classifier gives an answer for any image. As a step of a pipeline, this transformer returns
    images unchanged, and warns of those unlike the images it was fitted on. It finds most images
    that are inverted, upside down or CT slices, and about half of the lateral radiographs; it does
    not find radiographs of children or of another hospital. The user guide has measured rates.

    Images are reduced to 32 by 32 pixels whose grey levels are replaced by their ranks, so that
    exposure does not matter. Black margins that :class:`~cxr_sklearn.XRayLoader` adds are removed
    first. Two limits apply: the correlation with the mean of the set, and the share of the image
    that the first 15 principal components of the set leave unexplained.

    Parameters
    ----------
    threshold : float, default=0.3
        Score, between -1 and 1, below which an image is an outlier.

    Attributes
    ----------
    mean_ : ndarray of shape (1024,), dtype float32
        Mean of the equalised images, of length 1.
    components_ : ndarray of shape (n_components, 1024), dtype float32
        Principal components of the equalised images, orthonormal: 15, or none if fewer than 100
        images resemble the mean. The second limit does not apply then.
    max_unexplained_ : float
        Share, between 0 and 1, that `components_` may leave unexplained: 2.5 robust standard
        deviations above the median of the set, on a logarithmic scale, each image being explained
        by components of others.
    offset_ : float
        `threshold`.
    n_features_in_ : int
        Pixels per row, or 1 for paths.

    Examples
    --------
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.preprocessing import MeanRadiograph
    >>> X, y = make_chest_phantoms(40, image_size=64, random_state=0)
    >>> guard = MeanRadiograph().fit(X)
    >>> guard.predict(X).min().item(), guard.predict(255 - X).max().item()
    (1, -1)

    In front of a classifier, it warns at ``predict`` time:

    >>> from sklearn.pipeline import make_pipeline
    >>> from cxr_sklearn import ResNetOvO
    >>> model = make_pipeline(
    ...     MeanRadiograph(),
    ...     ResNetOvO(backbone="resnet18", weights=None, image_size=64, random_state=0),
    ... )
    """

    # what check_images asks of an estimator
    image_size: ClassVar[int] = THUMBNAIL_SIDE
    image_shape: ClassVar[None] = None
    n_jobs: ClassVar[None] = None
    _parameter_constraints: ClassVar[dict] = {"threshold": [Interval(Real, -1, 1, closed="both")]}

    def __init__(self, *, threshold: float = UNLIKE) -> None:
        self.threshold = threshold

    def fit(self, X: Any, y: Any = None) -> MeanRadiograph:
        """Compute the mean and the principal components of the images.

        Parameters
        ----------
        X : array-like of shape (n_samples, h * w), (n_samples, h, w), (n_samples, h, w, 3) or \
                (n_samples, 1)
            Images of 8 by 8 pixels or more as the classifiers take them, or a column of paths.
        y : ignored

        Returns
        -------
        self : MeanRadiograph
        """
        self._validate_params()
        thumbnails = self._thumbnails(X, reset=True)
        self.mean_ = mean_radiograph(thumbnails)
        ranks = equalised(thumbnails)
        typical = ranks[ranks @ self.mean_ >= UNLIKE]
        self.components_ = np.zeros((0, ranks.shape[1]), dtype=np.float32)
        self.max_unexplained_ = 1.0
        if len(typical) >= MIN_IMAGES:
            shares = unexplained_out_of_fold(typical, np.ones(len(typical), dtype=bool))
            self.max_unexplained_ = min(1.0, spread(shares).limit(_UNEXPLAINED_DEVIATIONS))
            self.components_ = principal_components(typical)
        self.offset_ = float(self.threshold)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how like the set each image is.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,), dtype float32
            Between -1 and 1: the correlation with the mean radiograph (0 for an image of one
            grey), or `threshold` + `max_unexplained_` - the share that `components_` leave
            unexplained if that is smaller. A score below `threshold` therefore means that one of
            the two limits is exceeded.
        """
        check_is_fitted(self)
        ranks = equalised(self._thumbnails(X, reset=False))
        correlation = ranks @ self.mean_
        if not len(self.components_):
            return correlation
        room = np.float32(self.max_unexplained_) - unexplained(ranks, self.components_)
        return np.minimum(correlation, np.float32(self.offset_) + room)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score minus `threshold`; negative for outliers.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,), dtype float32
        """
        return self.score_samples(X) - np.float32(self.offset_)

    def predict(self, X: Any) -> np.ndarray:
        """Return -1 for outliers, and 1 for images like those of the set.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        is_inlier : ndarray of shape (n_samples,), dtype int
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, and return the images unchanged, without a warning.

        Parameters
        ----------
        X : array-like
            As in ``fit``.
        y : ignored
        **params : ignored

        Returns
        -------
        X : array-like
            The argument itself.
        """
        self.fit(X)
        return X

    def transform(self, X: Any) -> Any:
        """Return the images unchanged; warn if some are unlike those of ``fit``.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        X : array-like
            The argument itself.

        Warns
        -----
        OutOfDistributionWarning
            If ``predict`` returns -1 for some images. It names the first rows.
        """
        rows = np.flatnonzero(self.predict(X) == -1)
        if len(rows):
            first = ", ".join(map(str, rows[:_NAMED])) + (", …" if len(rows) > _NAMED else "")
            warnings.warn(
                f"images unlike the training set: {len(rows)} (rows {first}, counted from 0; "
                f"score_samples of MeanRadiograph below {self.offset_:g}); their predictions may "
                "be meaningless: look at these images, and leave out those that are not upright "
                "frontal chest radiographs",
                OutOfDistributionWarning,
                stacklevel=2,
            )
        return X

    def _thumbnails(self, X: Any, reset: bool) -> np.ndarray:
        if as_paths(X) is not None:
            self._check_n_features(1, reset)
            rows = XRayLoader(image_size=THUMBNAIL_SIDE, resize="stretch").fit_transform(X)
            return rows.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        images = check_images(self, X, reset=reset)
        height, width = images.image_shape
        if min(height, width) < _LEAST_SIDE:
            raise ValueError(
                f"X holds images of {height}×{width} pixels; expected {_LEAST_SIDE}×{_LEAST_SIDE} "
                "or more, or one column of paths: load files with XRayLoader"
            )
        size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        return np.stack(
            [
                np.asarray(
                    Image.fromarray(_without_padding(pixels).astype(np.float32)).resize(
                        size, Image.Resampling.BOX
                    )
                )
                for pixels in images.pixels(np.arange(len(images)))
            ]
        )

    def _check_n_features(self, found: int, reset: bool) -> None:
        if reset:
            self.n_features_in_, self._takes_paths = found, True
        elif self.n_features_in_ != found:
            raise ValueError(
                f"X is a column of paths, but MeanRadiograph was fitted on {self.n_features_in_} "
                "pixels per row; expected the same form: load the files with XRayLoader"
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags
