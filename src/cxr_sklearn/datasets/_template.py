"""The mean radiograph of a set, and how unlike it an image is."""

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

from .._images import XRayLoader, as_paths
from .._inputs import check_images
from ..exceptions import OutOfDistributionWarning
from ._films import THUMBNAIL_SIDE

TURNED, UNLIKE = 0.0, 0.3
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


class MeanRadiograph(OneToOneFeatureMixin, OutlierMixin, TransformerMixin, BaseEstimator):
    """Find images that are no upright chest radiographs: those unlike the mean of a set.

    Images are reduced to 32 by 32 pixels whose grey levels are replaced by their ranks, so that
    exposure does not matter, and correlated with the mean of the set. An image that is upside down
    or inverted correlates negatively.

    As a step of a pipeline it guards a classifier, which gives an answer whatever it is shown:
    ``transform`` lets images pass unchanged and warns of those unlike the images it was fitted on.

    Parameters
    ----------
    threshold : float, default=0.3
        Correlation, between -1 and 1, below which an image is an outlier.

    Attributes
    ----------
    mean_ : ndarray of shape (1024,), dtype float32
        Mean of the equalised images, of length 1.
    offset_ : float
        `threshold`.
    n_features_in_ : int
        Pixels per row, or 1 for paths.

    Examples
    --------
    >>> from cxr_sklearn.datasets import MeanRadiograph, make_chest_phantoms
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
        """Average the images.

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
        self.mean_ = mean_radiograph(self._thumbnails(X, reset=True))
        self.offset_ = float(self.threshold)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the correlation of each image with the mean radiograph.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        correlation : ndarray of shape (n_samples,), dtype float32
            Between -1 and 1; 0 for an image of one grey.
        """
        check_is_fitted(self)
        return equalised(self._thumbnails(X, reset=False)) @ self.mean_

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the correlation less `threshold`; negative for outliers.

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
        """Average the images, and return them as they are, without a warning.

        Parameters
        ----------
        X : array-like
            As in ``fit``.
        y : ignored
        **params : ignored

        Returns
        -------
        X : array-like
            What was given.
        """
        self.fit(X)
        return X

    def transform(self, X: Any) -> Any:
        """Return images as they are; warn if some are unlike those of ``fit``.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        X : array-like
            What was given.

        Warns
        -----
        OutOfDistributionWarning
            If ``predict`` says -1 of images. It names the first rows.
        """
        rows = np.flatnonzero(self.predict(X) == -1)
        if len(rows):
            first = ", ".join(map(str, rows[:_NAMED])) + (", …" if len(rows) > _NAMED else "")
            warnings.warn(
                f"images unlike those of training: {len(rows)} (rows {first}, counted from 0; "
                f"correlation with their mean radiograph below {self.offset_:g}); what a "
                "classifier says of them means little: see score_samples of MeanRadiograph",
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
                    Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BOX)
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
