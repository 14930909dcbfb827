"""LungFields: a transformer that finds the lungs in radiographs."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._images.inputs import check_images
from .._utils.constraints import N_JOBS
from .._utils.doc_link import DocLinkMixin
from .._utils.fit_tasks import CallbackSupportMixin, reported
from ._lung_regions import lung_boxes
from ._lung_segmentation import LungSegmentation, lung_masks, segment_lungs

# Images that are decoded and segmented at a time.
BLOCK_IMAGES = 256

LUNG_CONSTRAINTS: dict[str, list[Any]] = {
    "image_size": [Interval(Integral, 8, None, closed="left")],
    "image_shape": ["array-like", None],
    "n_jobs": N_JOBS,
}


class BaseLungTransformer(
    DocLinkMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Base class of the transformers that use the lungs. They learn nothing in ``fit``."""

    image_size: int

    @reported
    def fit(self, X: Any, y: Any = None) -> Any:
        """Check the parameters and the form of X. Nothing is learned, and no file is opened.

        Parameters
        ----------
        X : array-like of shape (n_samples, h * w), (n_samples, h, w), (n_samples, h, w, 3) or \
                (n_samples, 1)
            Rows of pixels, images, or a column of paths.
        y : ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        check_images(self, X, reset=True)
        self._n_features_out = int(self.image_size) ** 2
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.requires_fit = True
        return tags


class LungFields(BaseLungTransformer):
    """Find the lungs in radiographs.

    Use it to see where the lungs are, to measure whether a map or a model uses them, and to detect
    images that are not upright frontal chest radiographs. A small network, whose weights are part
    of the package, marks the lungs. It runs on the CPU, and nothing is downloaded.

    Parameters
    ----------
    image_size : int, default=224
        Side of the square masks in pixels. With this value for
        :class:`~cxr_sklearn.XRayLoader` too, masks and images have the same pixels.
    image_shape : (int, int), default=None
        Height and width of rows of pixels that are not square.
    n_jobs : int, default=None
        Number of threads that decode image files.

    Attributes
    ----------
    n_features_in_ : int
        Number of pixels per image, or 1 for a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if they are strings.

    See Also
    --------
    LungCrop : Crop images to the lungs.
    MeanRadiograph : Warn of images that are unlike a training set.

    Notes
    -----
    The masks include the part of the lungs that lies behind the heart and the diaphragm's dome ends
    them below, as in the annotations from which the network has learned. The user guide states how
    good the network is, and on which images it was not tested. A pickle of the transformer does not
    contain the weights.

    References
    ----------
    Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
    segmentation", MICCAI 2015.

    Examples
    --------
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.preprocessing import LungFields
    >>> X, y, drawn = make_chest_phantoms(5, image_size=128, return_masks=True, random_state=0)
    >>> lungs = LungFields(image_size=128).fit(X)
    >>> masks = lungs.transform(X)
    >>> masks.shape, masks.dtype.name, bool((masks == drawn).mean() > 0.9)
    ((5, 16384), 'uint8', True)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = LUNG_CONSTRAINTS

    def __init__(
        self,
        *,
        image_size: int = 224,
        image_shape: tuple[int, int] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.image_size = image_size
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def transform(self, X: Any) -> np.ndarray:
        """Find the lungs.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``, bones white.

        Returns
        -------
        masks : ndarray of shape (n_samples, image_size * image_size), dtype uint8
            255 in the lungs, and 0 elsewhere. All 0 where no lungs are found.
        """
        side = int(self.image_size)

        def masks(segmentation: LungSegmentation) -> np.ndarray:
            found = lung_masks(segmentation, side, side)
            return np.where(found, np.uint8(255), np.uint8(0)).reshape(len(found), -1)

        return self._run(X, masks)

    def bounding_boxes(self, X: Any) -> np.ndarray:
        """Return the box that encloses the lungs of each image.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        boxes : ndarray of shape (n_samples, 4), dtype float32
            Left, top, right and bottom in pixels of the square of side `image_size`. NaN where no
            lungs are found.
        """
        return self._run(X, lung_boxes) * np.float32(self.image_size)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how much each image resembles an upright frontal chest radiograph.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,), dtype float32
            Between 0 and 1. It is low for images that are turned or inverted, for lateral
            radiographs, CT slices and photographs. It says nothing about disease.
        """
        return self._run(X, lambda segmentation: segmentation.quality)

    def _run(self, X: Any, measure: Callable[[LungSegmentation], np.ndarray]) -> np.ndarray:
        """Segment the images block by block, and return what is measured."""
        check_is_fitted(self)
        images = check_images(self, X, reset=False)
        results = []
        for start in range(0, len(images), BLOCK_IMAGES):
            index = np.arange(start, min(start + BLOCK_IMAGES, len(images)))
            results.append(measure(segment_lungs(images.take(index).pixels(index - start))))
        return np.concatenate(results)
