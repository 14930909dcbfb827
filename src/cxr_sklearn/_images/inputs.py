"""Check X and bring it to its canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names, validate_data

from .images import Images
from .paths import as_paths
from .refusals import refuse_flat, refuse_label_column, refuse_single_image

# ITU-R 601-2 luma, the weights that Pillow's convert("L") uses too
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# How far pixels may be outside [0, 1]: in fit, and later compared with the images of fit.
_ROUNDING, _OVERSHOOT = 0.05, 0.5


def check_images(estimator: BaseEstimator, X: Any, *, reset: bool) -> Images:
    """Check X and bring it to its canonical form.

    Parameters
    ----------
    estimator : estimator
        With the parameters `image_size`, `image_shape` and `n_jobs`. With `reset` its
        ``n_features_in_``, ``feature_names_in_``, ``_image_shape`` and ``_standardised`` are set;
        without, X must agree with them.
    X : array-like
        Rows of pixels (n, h * w), arrays (n, h, w) or (n, h, w, 3), or a column of paths.
    reset : bool
        Whether this is ``fit``.

    Returns
    -------
    Images

    Raises
    ------
    ValueError, TypeError
        In one line, saying what was found and what was expected.
    """
    paths = as_paths(X)
    if paths is not None:
        return _check_paths(estimator, X, paths, reset)
    refuse_label_column(X)
    refuse_flat(X)
    if not reset and not estimator._takes_paths:
        name, width = type(estimator).__name__, estimator.n_features_in_
        refuse_single_image(X, name, width, estimator._image_shape)
    return _check_pixels(estimator, X, reset)


def _check_paths(estimator: BaseEstimator, X: Any, paths: np.ndarray, reset: bool) -> Images:
    """Check a column of paths, as :func:`check_images` does. No file is opened."""
    _check_width(estimator, 1, "a column of file paths", reset)
    _check_feature_names(estimator, X, reset=reset)
    if reset:
        side = int(estimator.image_size)
        estimator._image_shape = (side, side)
        estimator._standardised = False
        estimator._takes_paths = True
    elif not estimator._takes_paths:
        raise _other_form(estimator, "a column of file paths", "pixels")
    # Threads that this package starts do not know joblib's configuration.
    n_jobs = estimator.n_jobs or get_active_backend(require="sharedmem")[1]
    side = estimator._image_shape[0]
    return Images(None, paths, (side, side), n_jobs=n_jobs)


def _check_pixels(estimator: BaseEstimator, X: Any, reset: bool) -> Images:
    """Check rows of pixels or a stack of images, as :func:`check_images` does."""
    X, stacked_shape = _flatten_stack(X)
    if not reset and estimator._takes_paths:
        _refuse_pixels_after_paths(estimator, np.shape(X))
    rows = validate_data(estimator, X, reset=reset)
    if reset:
        estimator._takes_paths = False
        estimator._image_shape = _image_shape(estimator, rows.shape[1], stacked_shape)
    elif stacked_shape not in (None, estimator._image_shape):
        raise ValueError(
            f"X holds images of {_size(stacked_shape)} pixels, but {type(estimator).__name__} was "
            f"fitted on {_size(estimator._image_shape)}; expected the same size. Resize the images."
        )
    values, is_unit = _as_pixels(rows)
    if reset:
        estimator._standardised = not is_unit
    else:
        _check_scale(estimator, values, rows.dtype, is_unit)
    return Images(values, None, estimator._image_shape, estimator._standardised)


def _refuse_pixels_after_paths(estimator: BaseEstimator, shape: tuple[int, ...]) -> None:
    """Raise if an estimator that was fitted on a column of paths is given rows of numbers."""
    if len(shape) != 2:
        return
    if shape[1] == 1:
        raise _other_form(estimator, "a column of numbers", "a column of file paths")
    _check_width(estimator, shape[1], f"rows of {shape[1]} values", reset=False)


def _check_scale(
    estimator: BaseEstimator, values: np.ndarray, dtype: np.dtype, is_unit: bool
) -> None:
    """Raise if pixels have another scale than those in ``fit``."""
    if estimator._standardised and dtype.kind == "u":
        raise ValueError(
            f"X is {dtype}, but {type(estimator).__name__} was fitted on standardised floats; "
            "expected images prepared in the same way. Prepare X as you prepared the images of fit."
        )
    if not estimator._standardised and not is_unit and _beyond_unit(values):
        raise ValueError(
            f"X holds values from {values.min():g} to {values.max():g}, but "
            f"{type(estimator).__name__} was fitted on images in [0, 1] (or unsigned integers); "
            "expected images prepared in the same way. Prepare X as you prepared the images of fit."
        )


def _check_width(estimator: BaseEstimator, width: int, found: str, reset: bool) -> None:
    if reset:
        estimator.n_features_in_ = width
    elif estimator.n_features_in_ != width:
        fitted = estimator.n_features_in_
        what = "a column of file paths" if fitted == 1 else f"rows of {fitted} pixels"
        name = type(estimator).__name__
        # the first sentence is scikit-learn's, which its common checks look for
        raise ValueError(
            f"X has {width} features, but {name} is expecting {fitted} features as input: X is "
            f"{found}, and fit was given {what}; expected images in the same form. Pass X in the "
            "form that fit was given."
        )


def _other_form(estimator: BaseEstimator, found: str, fitted: str) -> ValueError:
    return ValueError(
        f"X is {found}, but {type(estimator).__name__} was fitted on {fitted}; expected images in "
        "the same form. Pass X in the form that fit was given."
    )


def _beyond_unit(values: np.ndarray) -> bool:
    """Whether values lie further outside [0, 1] than resampling or noise takes an image."""
    return bool(values.min() < -_OVERSHOOT or values.max() > 1 + _OVERSHOOT)


def _flatten_stack(X: Any) -> tuple[Any, tuple[int, int] | None]:
    """Turn (n, h, w) and (n, h, w, 3) arrays into greyscale rows, and tell their shape."""
    if issparse(X):
        return X, None
    ndim = getattr(X, "ndim", None)
    if ndim is None and isinstance(X, Sequence) and len(X) and np.ndim(X[0]) in (2, 3):
        X = np.asarray(X)
        ndim = X.ndim
    if ndim not in (3, 4):
        return X, None
    X = np.asarray(X)
    if ndim == 4:
        if X.shape[-1] != 3:
            raise ValueError(
                f"X has shape {X.shape}; expected (n, h, w, 3) for colour images, (n, h, w) or "
                "(n, h * w) for greyscale ones"
            )
        grey = X.astype(np.float32) @ _LUMA
        X = np.rint(grey).astype(X.dtype) if X.dtype.kind == "u" else grey
    return X.reshape(len(X), -1), (X.shape[1], X.shape[2])


def _image_shape(
    estimator: BaseEstimator, width: int, stacked_shape: tuple[int, int] | None
) -> tuple[int, int]:
    given = None if estimator.image_shape is None else tuple(estimator.image_shape)
    if given is not None and not (
        len(given) == 2 and all(isinstance(side, (int, np.integer)) and side >= 1 for side in given)
    ):
        raise ValueError(
            f"image_shape={estimator.image_shape!r}; expected two integers (height, width), or None"
        )
    if stacked_shape is not None:
        if given not in (None, stacked_shape):
            raise ValueError(
                f"image_shape={given}, but X holds images of {_size(stacked_shape)} pixels; "
                "expected None for arrays of images. Pass image_shape=None."
            )
        return stacked_shape
    if given is not None:
        if given[0] * given[1] != width:
            raise ValueError(
                f"image_shape={given} makes {given[0] * given[1]} pixels, but the rows of X have "
                f"{width}; expected the same number. Pass the height and width of these images."
            )
        return given
    side = round(width**0.5)
    return (side, side) if side * side == width else (1, width)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _as_pixels(rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return uint8 or float32 rows, and whether their values lie in [0, 1] once scaled."""
    kind = rows.dtype.kind
    if rows.dtype == np.uint8:
        return rows, True
    if kind == "u":
        return (rows / np.float32(np.iinfo(rows.dtype).max)).astype(np.float32), True
    if kind == "b":
        return rows.astype(np.float32), True
    low, high = float(rows.min()), float(rows.max())
    # data standardised to unit variance stays within a few units; pixel values do not
    if max(-low, high) > 127 or (high > 32 and bool(np.all(rows == np.rint(rows)))):
        kind_of = "Hounsfield units" if low < -127 else "raw pixel values"
        raise ValueError(
            f"X holds {rows.dtype} values from {low:g} to {high:g}, which look like {kind_of}; "
            "expected floats in [0, 1], standardised floats or unsigned integers. Scale X to [0, "
            "1], or pass the pixels as np.uint8 or np.uint16."
        )
    # resampling and noise take an image a little beyond its range
    return rows.astype(np.float32), low >= -_ROUNDING and high <= 1 + _ROUNDING


def copy_input_form(source: BaseEstimator, target: BaseEstimator) -> None:
    """Let an estimator accept the same X as another one, whose X has been checked."""
    for name in ("n_features_in_", "_image_shape", "_standardised", "_takes_paths"):
        setattr(target, name, getattr(source, name))
    if hasattr(source, "feature_names_in_"):
        target.feature_names_in_ = source.feature_names_in_
