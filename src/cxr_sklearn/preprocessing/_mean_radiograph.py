"""MeanRadiograph: a pipeline step that warns of images unlike the training set."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, OutlierMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._images.inputs import check_images
from .._images.paths import as_paths
from .._images.reading import read_images
from .._utils.doc_link import DocLinkMixin
from .._utils.fit_tasks import CallbackSupportMixin, reported
from .._utils.messages import some
from ..exceptions import OutOfDistributionWarning
from ._novelty import (
    MIN_IMAGES,
    out_of_fold_unexplained_shares,
    principal_components,
    robust_spread,
    unexplained_shares,
)
from ._thumbnails import (
    MIN_TYPICAL_CORRELATION,
    THUMBNAIL_SIDE,
    equalise,
    make_thumbnail,
    mean_radiograph,
)

# Limit of the unexplained share, in robust standard deviations above the median of the set. About
# one in a hundred images of the set itself exceeds it.
_MAX_DEVIATIONS = 2.5

_MIN_SIDE = 8  # pixels


class MeanRadiograph(
    DocLinkMixin,
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    OutlierMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Warn of images that are unlike the training set.

    A classifier gives an answer for any image. As a step of a pipeline, this transformer returns
    images unchanged, and warns of those that are unlike the images in ``fit``. It detects most
    inverted and upside-down images, most CT slices, and about half of the lateral radiographs. It
    does not detect radiographs of children or of another hospital. The user guide lists measured
    rates.

    Images are reduced to 32 by 32 pixels, and grey levels are replaced by their ranks, so that
    exposure does not matter. Black margins that :class:`~cxr_sklearn.XRayLoader` adds are removed
    first. Two limits apply: the correlation with the mean of the set, and the share of the image
    that the first 15 principal components of the set leave unexplained.

    Parameters
    ----------
    threshold : float, default=0.3
        Score below which an image is an outlier, between -1 and 1.

    Attributes
    ----------
    mean_ : ndarray of shape (1024,), dtype float32
        Mean of the equalised images, scaled to a Euclidean norm of 1.
    components_ : ndarray of shape (n_components, 1024), dtype float32
        Principal components of the equalised images, orthonormal: 15, or 0 if fewer than 100
        images resemble the mean. In the latter case the second limit does not apply.
    max_unexplained_ : float
        Share of an image that `components_` may leave unexplained, between 0 and 1. It is 2.5
        robust standard deviations above the median of the set, on a logarithmic scale. Each image
        of the set is explained by components of other images.
    offset_ : float
        Equal to `threshold`.
    n_features_in_ : int
        Number of pixels per row, or 1 for paths.

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

    # `check_images` reads these attributes of the estimator.
    image_size: ClassVar[int] = THUMBNAIL_SIDE
    image_shape: ClassVar[None] = None
    n_jobs: ClassVar[None] = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "threshold": [Interval(Real, -1, 1, closed="both")]
    }

    def __init__(self, *, threshold: float = MIN_TYPICAL_CORRELATION) -> None:
        self.threshold = threshold

    @reported
    def fit(self, X: Any, y: Any = None) -> MeanRadiograph:
        """Compute the mean and the principal components of the images.

        Parameters
        ----------
        X : array-like of shape (n_samples, h * w), (n_samples, h, w), (n_samples, h, w, 3) or \
                (n_samples, 1)
            Images of 8 by 8 pixels or more, in a form that the classifiers accept, or a column of
            paths.
        y : ignored

        Returns
        -------
        self : MeanRadiograph
        """
        self._validate_params()
        thumbnails = self._thumbnails(X, reset=True)
        self.mean_ = mean_radiograph(thumbnails)
        ranks = equalise(thumbnails)
        typical = ranks[ranks @ self.mean_ >= MIN_TYPICAL_CORRELATION]
        # Without components, every image counts as explained.
        self.components_ = np.zeros((0, ranks.shape[1]), dtype=np.float32)
        self.max_unexplained_ = 1.0
        if len(typical) >= MIN_IMAGES:
            is_typical = np.ones(len(typical), dtype=bool)
            shares = out_of_fold_unexplained_shares(typical, is_typical)
            self.max_unexplained_ = min(1.0, robust_spread(shares).limit(_MAX_DEVIATIONS))
            self.components_ = principal_components(typical)
        self.offset_ = float(self.threshold)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Compute the similarity of each image to the set.

        Parameters
        ----------
        X : array-like
            As in ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,), dtype float32
            Between -1 and 1. The correlation with the mean radiograph (0 for an image with a
            single grey level), or `threshold` + `max_unexplained_` - the share that `components_`
            leave unexplained, whichever is smaller. A score below `threshold` therefore means
            that one of the two limits is exceeded.
        """
        check_is_fitted(self)
        ranks = equalise(self._thumbnails(X, reset=False))
        correlation = ranks @ self.mean_
        if not len(self.components_):
            return correlation
        margin = np.float32(self.max_unexplained_) - unexplained_shares(ranks, self.components_)
        return np.minimum(correlation, np.float32(self.offset_) + margin)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the score minus `threshold`, which is negative for outliers.

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
        """Return the images unchanged, and warn if some are unlike those in ``fit``.

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
            If ``predict`` returns -1 for some images. The warning lists the first rows.
        """
        rows = np.flatnonzero(self.predict(X) == -1)
        if len(rows):
            warnings.warn(
                f"images unlike the training set: {len(rows)} (rows {some(map(str, rows))}, "
                "counted from 0). Their scores (score_samples of MeanRadiograph) are below "
                f"{self.offset_:g}, and their predictions may be meaningless. Look at these "
                "images, and leave out those that are not upright frontal chest radiographs.",
                OutOfDistributionWarning,
                stacklevel=2,
            )
        return X

    def _thumbnails(self, X: Any, reset: bool) -> np.ndarray:
        """Return the images as thumbnails of 32 by 32 pixels."""
        # Recognising a column of paths looks at every element, so it is done only here.
        paths = as_paths(X)
        if paths is not None:
            self._check_paths_expected(reset)
            rows = read_images(list(paths), THUMBNAIL_SIDE, resize="stretch")
            return rows.reshape(len(paths), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        images = check_images(self, X, reset=reset)
        height, width = images.image_shape
        if min(height, width) < _MIN_SIDE:
            raise ValueError(
                f"X contains images of {height}×{width} pixels; expected {_MIN_SIDE}×{_MIN_SIDE} "
                "pixels or more, or one column of paths. Load files with XRayLoader."
            )
        thumbnails = []
        for pixels in images.pixels(np.arange(len(images))):
            thumbnails.append(make_thumbnail(pixels))
        return np.stack(thumbnails)

    def _check_paths_expected(self, reset: bool) -> None:
        """Store that X is a column of paths, or raise if the estimator was fitted on pixels."""
        if reset:
            self.n_features_in_, self._takes_paths = 1, True
        elif self.n_features_in_ != 1:
            raise ValueError(
                f"X is a column of paths, but MeanRadiograph was fitted on {self.n_features_in_} "
                "pixels per row; expected images in the same form. Load the files with XRayLoader."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags
