"""Baselines of a cross-validated evaluation: models that do not see the lungs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .._images.paths import as_paths
from ..preprocessing._pixel_input import NotImagesError, PixelInput, pixel_input
from ..quality._measure import measure_files
from ..quality._measurements import ImageMeasurements
from ..quality._pixel_statistics import BORDER_SIDE, BORDER_WIDTHS, border_statistics
from ..quality._shortcuts import Shortcut, baseline_estimator, shortcuts
from ._blanking import blanked, model_for_pixels

THUMBNAIL, HEADER, BORDER, BLANKED = "thumbnail", "header", "border", "lungs blanked"
NAMES = (THUMBNAIL, HEADER, BORDER, BLANKED)

_THUMBNAIL_SIDE = 8
_BORDER_WIDTH = max(BORDER_WIDTHS)

# Names of the same baselines in an audit.
_AUDIT_NAMES = {
    "header": HEADER,
    f"border {_BORDER_WIDTH}/{BORDER_SIDE}": BORDER,
    "thumbnail 8×8": THUMBNAIL,
}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to cross-validate, with the input that it takes.

    Attributes
    ----------
    name : str
        Name of the model in the tables.
    estimator : classifier
        Unfitted.
    X : array-like
        Its input.
    of_model : str or None
        For a model on images with blanked lungs, the name of the original model. The gain over it
        is that of this model only.
    takes_groups : bool
        Whether patients are passed to its fit.
    n_without_lungs : int
        For a model on images with blanked lungs, number of images in which no lungs were found.
    """

    name: str
    estimator: Any
    X: Any
    of_model: str | None = None
    takes_groups: bool = False
    n_without_lungs: int = 0


def make_baselines(
    baselines: Any,
    models: Mapping[str, Any],
    X: Any,
    codes: np.ndarray,
    measurements: ImageMeasurements | None,
    n_jobs: int | None,
) -> list[Candidate]:
    """Return the baselines that can be computed for X.

    Parameters
    ----------
    baselines : "auto", None, or list of str
        "auto" selects all baselines that can be computed for X. If one of a list cannot be
        computed, an error is raised.
    models : dict of str to classifier
        The user's models.
    X : array-like
        Images.
    codes : ndarray of shape (n_images,), dtype int
        True classes.
    measurements : ImageMeasurements or None
        Measurements of the files, so that they are not decoded again.
    n_jobs : int or None
        Number of threads that decode files.

    Returns
    -------
    candidates : list of Candidate

    Raises
    ------
    ValueError
        If a name is unknown, or a baseline of a list cannot be computed.

    Warns
    -----
    UserWarning
        If X is not images, so that "auto" has no baseline.
    """
    requested = _requested(baselines)
    is_automatic = isinstance(baselines, str) and baselines == "auto"
    if not requested:
        return []
    try:
        return _candidates(requested, is_automatic, models, X, codes, measurements, n_jobs)
    except NotImagesError as error:
        reason = str(error)
    if not is_automatic:
        raise ValueError(
            f"baselines={baselines!r} cannot be computed: {reason}; expected images. Pass paths, "
            "rows of pixels or arrays of images, or baselines=None."
        )
    warnings.warn(
        f"baselines are left out, because {reason}; expected images, because a score without a "
        "baseline does not show that a model looks at the lungs. Pass images, or baselines=None.",
        stacklevel=3,
    )
    return []


def _candidates(
    requested: Sequence[str],
    is_automatic: bool,
    models: Mapping[str, Any],
    X: Any,
    codes: np.ndarray,
    measurements: ImageMeasurements | None,
    n_jobs: int | None,
) -> list[Candidate]:
    """Return the requested baselines; if they were chosen automatically, those that exist for X."""
    candidates: list[Candidate] = []
    of_features = [name for name in requested if name != BLANKED]
    found = _shortcuts_of(X, models, measurements, n_jobs) if of_features else {}
    scarcest = int(np.bincount(codes).min())
    for name in of_features:
        if name in found:
            estimator = baseline_estimator(found[name], len(codes), scarcest)
            candidates.append(Candidate(name, estimator, found[name].features))
        elif not is_automatic:
            raise NotImagesError("X is pixels, which have no file header")
    if BLANKED in requested:
        candidates += _blanked_models(models, X)
    return candidates


def _requested(baselines: Any) -> tuple[str, ...]:
    if baselines is None:
        return ()
    if isinstance(baselines, str) and baselines == "auto":
        return NAMES
    names = (baselines,) if isinstance(baselines, str) else tuple(baselines)
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"baselines contains {name!r}; expected 'auto', None, or some of {list(NAMES)}"
            )
    return names


def _shortcuts_of(
    X: Any, models: Mapping[str, Any], measurements: ImageMeasurements | None, n_jobs: int | None
) -> dict[str, Shortcut]:
    """Return the features of the baselines, by name."""
    paths = as_paths(X)
    if paths is None:
        return _shortcuts_of_pixels(pixel_input(next(iter(models.values())), X))
    if measurements is None:
        measurements = measure_files(list(paths), n_jobs)
    elif len(measurements.frame) != len(paths):
        raise ValueError(
            f"measurements has {len(measurements.frame)} images, and X has {len(paths)}; expected "
            "those of X. Pass measure_images(bunch) of the same Bunch."
        )
    unreadable = measurements.frame.loc[~measurements.is_readable, "path"].tolist()
    if unreadable:
        raise OSError(
            f"{len(unreadable)} files of X could not be read, such as {unreadable[0]}; expected "
            "images. Remove them with curate."
        )
    found = {}
    for shortcut in shortcuts(measurements, [Path(str(path)).name for path in paths]):
        if shortcut.name in _AUDIT_NAMES:
            found[_AUDIT_NAMES[shortcut.name]] = shortcut
    return found


def _shortcuts_of_pixels(pixels: PixelInput) -> dict[str, Shortcut]:
    """Return the features of the baselines that need no files."""
    thumbnails, borders = [], []
    for image in _as_bytes(pixels.images):
        grey = Image.fromarray(image)
        small = grey.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
        thumbnails.append(np.asarray(small, dtype=float).ravel())
        square = grey.resize((BORDER_SIDE, BORDER_SIDE), Image.Resampling.BILINEAR)
        borders.append(border_statistics(np.asarray(square), _BORDER_WIDTH))
    return {
        THUMBNAIL: Shortcut(THUMBNAIL, np.array(thumbnails), is_linear=True),
        BORDER: Shortcut(BORDER, np.array(borders)),
    }


def _as_bytes(images: np.ndarray) -> np.ndarray:
    """Return greyscale images of the type uint8."""
    if images.ndim == 4:
        images = images.mean(axis=3)
    if images.dtype == np.uint8:
        return images
    values = images.astype(np.float64)
    low, high = values.min(), values.max()
    scale = 255 / (high - low) if high > low else 0.0
    return ((values - low) * scale).round().astype(np.uint8)


def _blanked_models(models: Mapping[str, Any], X: Any) -> list[Candidate]:
    candidates = []
    for name, model in models.items():
        pixels = pixel_input(model, X)
        estimator = model_for_pixels(model, pixels)
        title = f"{name}, {BLANKED}"
        images, n_without_lungs = blanked(pixels)
        candidates.append(
            Candidate(
                title,
                estimator,
                images,
                of_model=name,
                takes_groups=True,
                n_without_lungs=n_without_lungs,
            )
        )
    return candidates


def gain_pairs(models: Sequence[str], baselines: Sequence[Candidate]) -> list[tuple[str, str]]:
    """Return the pairs of a model and a baseline of which the gain is reported."""
    pairs = []
    for model in models:
        for baseline in baselines:
            if baseline.of_model in (None, model):
                pairs.append((model, baseline.name))
    return pairs
