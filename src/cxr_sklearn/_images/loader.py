"""XRayLoader: a transformer from image files to rows of pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from .._utils.constraints import N_JOBS
from .._utils.doc_link import DocLinkMixin
from .._utils.fit_tasks import CallbackSupportMixin, reported
from ..exceptions import UnreadableImageWarning
from .paths import as_paths
from .reading import RESIZE_MODES, Failure, _read_into, all_unreadable
from .row_file import Put, RowFile


class XRayLoader(DocLinkMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Transformer from image files to rows of greyscale pixels.

    Use it as the first step of a pipeline if another estimator than those of this package needs
    pixels, or to choose how images become square. Its input is a column of paths, as
    :func:`~cxr_sklearn.datasets.load_xray_folder` returns it. An image is treated in the same way
    in ``fit`` and in ``predict``. A classifier that gets the paths themselves does the same as a
    loader with the default parameters.

    Parameters
    ----------
    image_size : int, default=224
        Side of the square images, in pixels.
    resize : {"pad", "crop", "stretch"}, default="pad"
        Method that makes an image square: ``"pad"`` adds black margins, ``"crop"`` cuts both ends
        of the longer side, and ``"stretch"`` changes the aspect ratio. Resampling is bilinear and
        antialiased.
    on_error : {"raise", "mask"}, default="raise"
        What to do about files that cannot be read: raise one error that names them all, or return
        rows of zeros. Such rows are black images. Use ``readable_`` to leave them out, and also
        their labels and patients, before you train or test a model.
    memmap : str or PathLike, default=None
        A folder, created if it is missing, for the rows as a memory-mapped ``.npy`` file. Use it
        for more images than fit into memory. If a file for the same images and parameters exists,
        it is used, and nothing is decoded. Images are the same if their paths, sizes, inode numbers
        and times of change are. Older files remain until you remove them.
    n_jobs : int, default=None
        Number of threads that decode. ``None`` means 1 outside a ``joblib.parallel_config``. Each
        thread needs the memory of one image, 1 to 25 bytes per pixel depending on the format:
        usually less than 150 MiB for a radiograph, and at most 1 GiB for an image of 40 million
        pixels.

    Attributes
    ----------
    n_features_in_ : int
        1, the column of paths.
    readable_ : ndarray of shape (n_samples,), dtype bool
        Mask of the files that the last ``transform`` could read.
    failures_ : list of (row, path, reason)
        The other files, as named tuples of int, str and str.

    See Also
    --------
    ResNetFeatures : Transformer from these rows to the features of a frozen network.

    Notes
    -----
    The loader reads PNG, JPEG, TIFF, BMP and WebP files of all colour modes, and DICOM files with
    the extra ``cxr-sklearn[dicom]``. It recognises the format by the content, not by the name.
    Colours are converted to grey, transparent pixels become black, and the EXIF orientation is
    applied. An image of more than 8 bits is divided by 4,095, 16,383 or 65,535 (the maxima of 12,
    14 and 16 bits): the smallest of these that is not below its largest value. It is then resized,
    and then rounded to 8 bits. Files with several images, and images of more than 40 million
    pixels, raise an error.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from cxr_sklearn import XRayLoader
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "xray.png"
    ...     Image.fromarray(np.full((40, 30), 128, np.uint8)).save(path)
    ...     XRayLoader(image_size=32).fit_transform([[path]]).shape
    (1, 1024)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "resize": [StrOptions(set(RESIZE_MODES))],
        "on_error": [StrOptions({"raise", "mask"})],
        "memmap": [str, os.PathLike, None],
        "n_jobs": N_JOBS,
    }

    def __init__(
        self,
        *,
        image_size: int = 224,
        resize: str = "pad",
        on_error: str = "raise",
        memmap: str | os.PathLike[str] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.image_size = image_size
        self.resize = resize
        self.on_error = on_error
        self.memmap = memmap
        self.n_jobs = n_jobs

    @reported
    def fit(self, X: Any, y: Any = None) -> XRayLoader:
        """Check the parameters and the form of X; no file is opened.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1) or (n_samples,), of str or PathLike
            Image files.
        y : ignored

        Returns
        -------
        self : XRayLoader
        """
        self._validate_params()
        self._paths(X)
        _check_feature_names(self, X, reset=True)
        self.n_features_in_ = 1
        self._n_features_out = self.image_size**2
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Read the files.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1) or (n_samples,), of str or PathLike
            Image files.

        Returns
        -------
        pixels : ndarray of shape (n_samples, image_size * image_size), dtype uint8
            0 is black. With `memmap` a ``numpy.memmap``, of which changes stay in memory.

        Raises
        ------
        OSError
            If files cannot be read and ``on_error="raise"``. The message names each file and the
            reason. Also if the rows cannot be written to the folder `memmap`.

        Warns
        -----
        UnreadableImageWarning
            If files cannot be read and ``on_error="mask"``.
        """
        check_is_fitted(self)
        paths = list(self._paths(X))
        _check_feature_names(self, X, reset=False)
        if self.memmap is None:
            rows = np.zeros((len(paths), self._n_features_out), np.uint8)
            failures = self._read(rows.__setitem__, paths)
        else:
            rows, failures = self._mapped(paths)
        self.failures_ = failures
        self.readable_ = np.ones(len(paths), dtype=bool)
        self.readable_[[failure.row for failure in failures]] = False
        if failures:
            warnings.warn(
                f"{len(failures)} of {len(paths)} image files could not be read, and their rows "
                "are black. Leave them out of X, y and groups by X[loader.readable_]. The "
                "attribute failures_ contains the reasons.",
                UnreadableImageWarning,
                stacklevel=3,  # over scikit-learn's set_output
            )
        return rows

    def _read(
        self, put: Put, paths: Sequence[str], rows: Iterable[int] | None = None
    ) -> list[Failure]:
        """Read all files, or those of some rows; return what may be left black, or raise."""
        rows = range(len(paths)) if rows is None else rows
        failures = _read_into(put, paths, rows, self.image_size, self.resize, self.n_jobs)
        if failures and self.on_error == "raise":
            raise all_unreadable(failures, len(paths))
        return failures

    def _mapped(self, paths: Sequence[str]) -> tuple[np.ndarray, list[Failure]]:
        """Return the rows of the folder `memmap`, written now if they are not there."""
        preprocessing = (int(self.image_size), self.resize)
        kept = RowFile(self.memmap, paths, preprocessing, self._n_features_out)  # type: ignore[arg-type]
        failed = kept.find()
        if failed is not None:
            failures = self._read(lambda row, pixels: None, paths, failed)
            if len(failures) == len(failed):
                return kept.load(), failures
        with kept.write() as (put, failed):
            failures = self._read(put, paths)
            failed += [failure.row for failure in failures]
        return kept.load(), failures

    @staticmethod
    def _paths(X: Any) -> np.ndarray:
        paths = as_paths(X)
        if paths is None:
            raise ValueError(
                f"X is {type(X).__name__} of shape {np.shape(X)} and is not a column of paths; "
                "expected str or PathLike of shape (n_samples, 1). Pass rows of pixels directly to "
                "the classifier."
            )
        return paths

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return a name per pixel, in row-major order.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of shape (image_size * image_size,), dtype object
        """
        check_is_fitted(self)
        return np.array([f"pixel{i}" for i in range(self._n_features_out)], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = True
        tags.requires_fit = True
        return tags
