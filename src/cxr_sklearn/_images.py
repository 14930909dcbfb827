"""Image files to rows of greyscale pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, check_is_fitted

RESIZE_MODES = ("pad", "crop", "stretch")

# joblib's: a number, or one counted from all processors downwards
N_JOBS = [
    Interval(Integral, 1, None, closed="left"),
    Interval(Integral, None, -1, closed="right"),
    None,
]


def read_image(path: str | os.PathLike, image_size: int, resize: str = "pad") -> np.ndarray:
    """Read one file as a square greyscale image.

    Parameters
    ----------
    path : str or path
        A PNG or JPEG file of any colour mode.
    image_size : int
        Side of the result, pixels.
    resize : {"pad", "crop", "stretch"}
        How an image that is not square becomes so.

    Returns
    -------
    ndarray of shape (image_size, image_size), dtype uint8

    Raises
    ------
    OSError
        If the file is missing, unreadable, or no image. The message has no path in it: callers
        name every bad file at once.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            grey = _upright(_greyscale(image), image)
            return np.asarray(_to_square(grey, image_size, resize))
    except UnidentifiedImageError:
        raise OSError("not a PNG or JPEG image") from None
    except OSError as error:
        raise OSError(error.strerror or str(error)) from None
    except (Image.DecompressionBombError, SyntaxError, ValueError) as error:
        # Pillow raises these for damaged chunks
        raise OSError(str(error)) from None


def _greyscale(image: Image.Image) -> Image.Image:
    """Return an 8-bit greyscale image; transparent pixels become black, as outside the film."""
    if image.mode.startswith("I"):  # 16-bit greyscale PNG: its full range, not clipped at 255
        deep = np.array(image, dtype=np.float32)
        if (key := image.info.get("transparency")) is not None:
            deep[deep == key] = 0
        return Image.fromarray(np.rint(deep.clip(0, 65535) / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("L")


# what undoes each value of EXIF's orientation tag (0x0112)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(grey: Image.Image, image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says; Pillow's exif_transpose fails on other tags' damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged tags, which do not matter here
        orientation = image.getexif().get(0x0112)
    return grey.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else grey


def _to_square(image: Image.Image, side: int, resize: str) -> Image.Image:
    if image.size == (side, side):
        return image
    if resize == "stretch":
        return image.resize((side, side), Image.Resampling.BILINEAR)
    if resize == "crop":
        return ImageOps.fit(image, (side, side), method=Image.Resampling.BILINEAR)
    scale = side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    square = Image.new("L", (side, side))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square


def read_images(
    paths: Sequence[str], image_size: int, resize: str = "pad", n_jobs: int | None = None
) -> np.ndarray:
    """Read files as rows of pixels.

    Returns
    -------
    ndarray of shape (n_files, image_size * image_size), dtype uint8

    Raises
    ------
    OSError
        Naming every file that could not be read, with its reason.
    """

    def attempt(path: str) -> np.ndarray | str:
        try:
            return read_image(path, image_size, resize).reshape(-1)
        except OSError as error:
            return str(error)

    # Pillow releases the interpreter's lock while it decodes and resizes
    results = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(attempt)(p) for p in paths)
    bad = [f"{p} ({r})" for p, r in zip(paths, results, strict=True) if isinstance(r, str)]
    if bad:
        raise OSError(
            f"{len(bad)} of {len(paths)} image files could not be read: {', '.join(bad)}; "
            "expected PNG or JPEG files: remove or replace these"
        )
    if not results:
        return np.empty((0, image_size * image_size), np.uint8)
    return np.stack(results)


def as_paths(X: Any) -> np.ndarray | None:
    """Return `X` as an array of path strings if it is one column of paths, else None.

    Parameters
    ----------
    X : object
        List, array, Series or DataFrame, of shape (n,) or (n, 1).

    Returns
    -------
    ndarray of shape (n,), dtype object, or None

    Raises
    ------
    TypeError
        If some elements are paths and others are not.
    """
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"X is a single path ({os.fspath(X)!r}); expected one row per image: pass [path]"
        )
    if isinstance(X, (list, tuple)):
        if not any(isinstance(_first(x), (str, os.PathLike)) for x in X):
            return None
        X = np.array([_first(x) if len(_as_row(x)) == 1 else x for x in X], dtype=object)
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufc":
        return None
    if not hasattr(X, "__array__") or getattr(X, "__len__", None) is None:
        return None
    column = np.asarray(X)
    if column.dtype.kind not in "OUT" or column.ndim > 2 or len(column) == 0:
        return None
    if column.ndim == 2:
        if column.shape[1] != 1:
            return None
        column = column[:, 0]
    is_path = np.array([isinstance(value, (str, os.PathLike)) for value in column])
    if not is_path.any():
        return None
    if not is_path.all():
        row = int(np.flatnonzero(~is_path)[0])
        raise TypeError(
            f"X[{row}] is {column[row]!r} among file paths; expected str or PathLike in every row: "
            "drop the rows without a file"
        )
    return np.array([os.fspath(value) for value in column], dtype=object)


def _as_row(value: Any) -> Any:
    return value if isinstance(value, (list, tuple, np.ndarray)) else (value,)


def _first(value: Any) -> Any:
    row = _as_row(value)
    return row[0] if len(row) else None


class XRayLoader(TransformerMixin, BaseEstimator):
    """Load chest X-rays from files, as rows of greyscale pixels.

    Give it the column of paths that :func:`~cxr_sklearn.datasets.load_xray_folder` returns. What
    it does to an image is fixed by its parameters, so the same at ``fit`` and at ``predict``, and
    a classifier that is given the paths themselves does the same.

    Parameters
    ----------
    image_size : int, default=224
        Side of the square images, in pixels.
    resize : {"pad", "crop", "stretch"}, default="pad"
        How an image that is not square becomes so: with black margins, by cutting off its ends,
        or by changing its aspect ratio. Resampling is bilinear and antialiased.
    n_jobs : int, default=None
        Threads that decode. ``None`` means 1 outside a ``joblib.parallel_config``.

    Attributes
    ----------
    n_features_in_ : int
        1, the column of paths.

    See Also
    --------
    ResNetFeatures : From these rows to the features of a frozen network.

    Notes
    -----
    Read are PNG and JPEG of every colour mode: 1-, 8- and 16-bit greyscale, RGB, CMYK, palette,
    and with transparency, which becomes black. 16-bit values are scaled by 1/257 to 8 bits. EXIF
    orientation is applied.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from cxr_sklearn import XRayLoader
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "film.png"
    ...     Image.fromarray(np.full((40, 30), 128, np.uint8)).save(path)
    ...     XRayLoader(image_size=32).fit_transform([[path]]).shape
    (1, 1024)
    """

    _parameter_constraints: ClassVar[dict] = {
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "resize": [StrOptions(set(RESIZE_MODES))],
        "n_jobs": N_JOBS,
    }

    def __init__(
        self, *, image_size: int = 224, resize: str = "pad", n_jobs: int | None = None
    ) -> None:
        self.image_size = image_size
        self.resize = resize
        self.n_jobs = n_jobs

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
            0 is black.

        Raises
        ------
        OSError
            Naming every file that could not be read, with its reason.
        """
        check_is_fitted(self)
        paths = self._paths(X)
        _check_feature_names(self, X, reset=False)
        return read_images(list(paths), self.image_size, self.resize, self.n_jobs)

    @staticmethod
    def _paths(X: Any) -> np.ndarray:
        paths = as_paths(X)
        if paths is None:
            raise ValueError(
                f"X is {type(X).__name__} of shape {np.shape(X)} and no column of paths; expected "
                "(n_samples, 1) str or PathLike: pixel rows go to the classifier directly"
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


def file_version(path: str) -> tuple[str, int, int] | None:
    """Return what changes when a file changes: absolute path, bytes, nanoseconds."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns
