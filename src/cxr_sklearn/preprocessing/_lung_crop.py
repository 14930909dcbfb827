"""LungCrop: a pipeline step that crops images to the lungs."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._images.images import Images
from .._images.inputs import check_images
from .._images.reading import read_images
from .._utils.messages import some
from ..exceptions import LungsNotFoundWarning
from ._lung_fields import LUNG_CONSTRAINTS, BaseLungTransformer
from ._lung_regions import dilated_masks, lung_boxes
from ._lung_segmentation import segment_lungs

# Files are read in this multiple of the size of the result, so that a crop is not enlarged.
_READ_FACTOR, _LARGEST_READ = 3, 1024

# Images that are decoded at a time, in that size.
_BLOCK_IMAGES = 64


class LungCrop(BaseLungTransformer):
    """Crop images to the lungs.

    Use it as a step before any model, so that the model does not see borders, letters and labels
    at the edge of the image. The result is the square around the lungs that
    :class:`LungFields` finds, in the size that the model needs.

    Parameters
    ----------
    margin : float, default=0.1
        Margin on each side, as a share of the larger side of the box around the lungs, from 0 to 2.
    mask_outside : bool, default=False
        Whether pixels outside of the lungs become black. The lungs keep a margin of 2 % of the side
        of the image.
    image_size : int, default=224
        Side of the resulting square images in pixels.
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
    LungFields : The lungs as masks and boxes.

    Notes
    -----
    A crop removes what is at the border of an image. It does not remove other traces of the source
    of an image, such as its contrast or its sharpness; the user guide shows a measurement.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.preprocessing import LungCrop
    >>> X, y = make_chest_phantoms(30, image_size=64, random_state=0)
    >>> model = make_pipeline(
    ...     LungCrop(image_size=64, margin=0.05),
    ...     ResNetOvO(backbone="resnet18", weights=None, image_size=64, random_state=0),
    ... )
    >>> model.fit(X, y).predict(X).shape
    (30,)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **LUNG_CONSTRAINTS,
        "margin": [Interval(Real, 0, 2, closed="both")],
        "mask_outside": ["boolean"],
    }

    def __init__(
        self,
        *,
        margin: float = 0.1,
        mask_outside: bool = False,
        image_size: int = 224,
        image_shape: tuple[int, int] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.margin = margin
        self.mask_outside = mask_outside
        self.image_size = image_size
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def transform(self, X: Any) -> np.ndarray:
        """Crop the images.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``, bones white. Files are read in a higher resolution,
            so that a crop is not enlarged.

        Returns
        -------
        pixels : ndarray of shape (n_samples, image_size * image_size), dtype uint8 or float32
            Rows of pixels: uint8 for files and for uint8 pixels, float32 otherwise.

        Warns
        -----
        LungsNotFoundWarning
            If no lungs are found in some images. They are returned whole. ``fit_transform`` warns
            too, because a model would be trained on such images.
        """
        check_is_fitted(self)
        images = check_images(self, X, reset=False)
        rows = np.empty((len(images), self._n_features_out), images.dtype)
        is_found = np.ones(len(images), dtype=bool)
        for start in range(0, len(images), _BLOCK_IMAGES):
            part = slice(start, min(start + _BLOCK_IMAGES, len(images)))
            pixels = self._pixels(images, part)
            rows[part], is_found[part] = self._cropped(pixels, images.standardised)
        self._warn_not_found(np.flatnonzero(~is_found))
        return rows

    def _pixels(self, images: Images, part: slice) -> np.ndarray:
        """Return images in the resolution from which they are cropped."""
        if images.paths is None:
            return images.pixels(np.arange(part.start, part.stop))
        side = max(int(self.image_size), min(_READ_FACTOR * int(self.image_size), _LARGEST_READ))
        rows = read_images(list(images.paths[part]), side, n_jobs=images.n_jobs)
        return rows.reshape(-1, side, side)

    def _cropped(self, images: np.ndarray, standardised: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of cropped pixels, and whether lungs were found."""
        segmentation = segment_lungs(images)
        boxes = lung_boxes(segmentation)
        black = images.min((1, 2)) if standardised else np.zeros(len(images), images.dtype)
        if self.mask_outside:
            masks = dilated_masks(segmentation, *images.shape[1:])
            # An image without lungs is returned whole.
            masks[~masks.any((1, 2))] = True
            images = np.where(masks, images, black[:, None, None])
        rows = [
            self._crop(image, box, level)
            for image, box, level in zip(images, boxes, black, strict=True)
        ]
        return np.stack(rows), np.isfinite(boxes[:, 0])

    def _crop(self, image: np.ndarray, box: np.ndarray, black: Any) -> np.ndarray:
        """Return the square around a box as a row of pixels."""
        height, width = image.shape
        side = int(self.image_size)
        if not np.isfinite(box[0]):
            box = np.array([0, 0, 1, 1])
            margin = 0.0
        else:
            margin = float(self.margin)
        left, top, right, bottom = box * np.array([width, height, width, height])
        half = max(right - left, bottom - top) * (0.5 + margin)
        x, y = (left + right) / 2, (top + bottom) / 2
        corners = np.rint([x - half, y - half, x + half, y + half]).astype(int)
        square = _padded(image, corners, black)
        resized = Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(resized).reshape(-1)

    def _warn_not_found(self, rows: np.ndarray) -> None:
        if len(rows):
            warnings.warn(
                f"LungCrop found no lungs in {len(rows)} images (rows {some(map(str, rows))}, "
                "counted from 0), and returns them whole. Look at these images, and leave out "
                "those that are not upright frontal chest radiographs.",
                LungsNotFoundWarning,
                stacklevel=4,  # over scikit-learn's set_output
            )


def _padded(image: np.ndarray, corners: np.ndarray, black: Any) -> np.ndarray:
    """Return a rectangle of an image, of which parts may be outside of the image."""
    left, top, right, bottom = corners.tolist()
    square = np.full((max(1, bottom - top), max(1, right - left)), black, image.dtype)
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    y, x = max(0, -top), max(0, -left)
    square[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return square
