"""The pipeline that the command line trains, saves and predicts with."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from .. import __version__
from .._images.loader import XRayLoader
from .._images.reading import all_unreadable
from .._utils.files import replace_file
from ..exceptions import ConfoundingWarning, UnreadableImageWarning
from ..preprocessing import MeanRadiograph
from ..quality import SourceAssociation
from ..referral import ExchangeabilityTest, ReferralClassifier, set_names
from ..referral._prediction_mixin import FEWEST_NEW, REFER

STEPS = ("loader", "guard", "sources", "model")
READ_AT_ONCE = 256

# Increment when saved pipelines of earlier versions cannot predict any more: a step is added or
# removed, or a step needs attributes that it did not have. Older files are then refused.
_FORMAT = 1

# Files that are compared with the calibration images of a referral rule.
_MOST_COMPARED = 200


def split_patients(bunch: Bunch, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows of a Bunch by patient, in the shares of the classes, each class in both parts.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
    fraction : float in [0, 0.5]
        Share of the patients to hold out, to the nearest 1/2, 1/3, 1/4, …; 0 for none.
    seed : int

    Returns
    -------
    training, held_out : ndarray of int
        Row numbers.

    Raises
    ------
    ValueError
        If no split has every class in both parts.
    """
    rows = np.arange(len(bunch.data))
    if not fraction:
        return rows, rows[:0]
    n = max(2, round(1 / fraction))
    if len(set(bunch.groups)) >= n:
        cv = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of scarce classes; see below
            with contextlib.suppress(ValueError):
                for parts in cv.split(rows, bunch.target, bunch.groups):
                    if all(set(bunch.target[part]) == set(bunch.target) for part in parts):
                        return parts
    patients = pd.Series(bunch.groups).groupby(np.asarray(bunch.target)).nunique()
    counts = ", ".join(f"{label} {count}" for label, count in patients.items())
    raise ValueError(
        f"--test-fraction {fraction:g}: no division of the patients puts every class into the "
        f"training set and the test set (patients per class: {counts}); expected 2 or more "
        "patients of each class. Add patients, pass another fraction, or pass 0 for no test set."
    )


def read_rows(loader: XRayLoader, paths: np.ndarray, progress: Callable[[], Any]) -> np.ndarray:
    """Read all files, some hundreds at a time, and fit the loader.

    Parameters
    ----------
    loader : XRayLoader
        Fitted in place.
    paths : ndarray of shape (n_files, 1), dtype object
    progress : callable
        Called after each file.

    Returns
    -------
    rows : ndarray of shape (n_files, image_size * image_size), dtype uint8

    Raises
    ------
    OSError
        Naming every file that could not be read.
    """
    rows = np.empty((len(paths), loader.image_size**2), np.uint8)
    masking = clone(loader).set_params(on_error="mask").fit(paths)
    failures = []
    for start in range(0, len(paths), READ_AT_ONCE):
        part = paths[start : start + READ_AT_ONCE]
        rows[start : start + len(part)] = read_masked(masking, part)
        failures += masking.failures_
        for _ in part:
            progress()
    if failures:  # all of them, as the loader itself would name them
        raise all_unreadable(failures, len(paths))
    loader.fit(paths)
    return rows


def fit_sources(bunch: Bunch, rows: np.ndarray, X: np.ndarray | None = None) -> SourceAssociation:
    """Return the association of source and class in some rows of a Bunch; warn if there is one.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
    rows : ndarray of int
    X : ndarray of shape (n_rows, n_features), default=None
        Input of the step in its pipeline; the paths by default.

    Returns
    -------
    SourceAssociation
    """
    X = bunch.data[rows] if X is None else X
    sources = None if bunch.get("sources") is None else bunch.sources[rows]
    return SourceAssociation().fit(
        X, bunch.target[rows], sources=sources, groups=bunch.groups[rows]
    )


def fit_pipeline(
    loader: XRayLoader, model: Any, X: np.ndarray, bunch: Bunch, rows: np.ndarray
) -> Pipeline:
    """Fit the other steps on images that the loader has read, and return the whole pipeline.

    An association of source and class is stored without a warning: see :func:`fit_sources`.

    Parameters
    ----------
    loader : XRayLoader
        Fitted.
    model : classifier of cxr_sklearn
        Fitted in place.
    X : ndarray of shape (n_images, image_size * image_size), dtype uint8
        All images of the Bunch.
    bunch : sklearn.utils.Bunch
    rows : ndarray of int
        Row numbers of the training set.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Takes a column of paths. The attributes ``cxr_sklearn_format_`` and
        ``cxr_sklearn_version_`` state by which version it was fitted.
    """
    X = X[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfoundingWarning)
        sources = fit_sources(bunch, rows, X)
    guard = MeanRadiograph().fit(X)
    model.fit(X, bunch.target[rows], groups=bunch.groups[rows])
    pipeline = Pipeline(list(zip(STEPS, (loader, guard, sources, model), strict=True)))
    pipeline.cxr_sklearn_format_ = _FORMAT
    pipeline.cxr_sklearn_version_ = __version__
    return pipeline


def save_pipeline(pipeline: Pipeline, path: str | os.PathLike[str]) -> None:
    """Save a pipeline with joblib, whole or not at all."""
    with replace_file(path) as stream:
        joblib.dump(pipeline, stream)


def load_pipeline(path: str) -> Pipeline:
    """Return a pipeline that ``cxr-sklearn train`` saved.

    Raises
    ------
    ValueError
        If the file contains anything else, or a pipeline of a version that differs in its format.
    """
    try:
        pipeline = joblib.load(path)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"MODEL={path!r} could not be loaded ({type(error).__name__}); expected a file that "
            "cxr-sklearn train wrote. Train the model again, if another version wrote the file."
        ) from error
    # the steps that every version has
    is_ours = isinstance(pipeline, Pipeline) and {"loader", "model"} <= set(pipeline.named_steps)
    if not is_ours or not hasattr(pipeline.named_steps["model"], "classes_"):
        raise ValueError(
            f"MODEL={path!r} holds a {type(pipeline).__name__}; expected a file that cxr-sklearn "
            "train wrote"
        )
    if getattr(pipeline, "cxr_sklearn_format_", None) != _FORMAT:
        version = getattr(pipeline, "cxr_sklearn_version_", "unknown")
        raise ValueError(
            f"MODEL={path!r} was trained by another version of cxr-sklearn ({version}); expected a "
            f"model of a version with the same format as {__version__}. Train it again."
        )
    return pipeline


def predict_files(pipeline: Pipeline, paths: Sequence[str]) -> pd.DataFrame:
    """Return the predictions for some files.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        From :func:`load_pipeline`; its loader must have ``on_error="mask"``.
    paths : sequence of str

    Returns
    -------
    table : DataFrame of n_files rows
        ``path``, a probability per class (``p_…``), ``prediction``, ``likeness`` (how like the
        training set the image is, see :meth:`MeanRadiograph.score_samples`) and ``error`` (the
        reason why a file could not be read; its other cells are then empty). With a
        ReferralClassifier also ``decision``, ``prediction_set`` and ``confidence``, before
        ``likeness``.
    """
    loader, guard, classifier = (pipeline.named_steps[n] for n in ("loader", "guard", "model"))
    X = read_masked(loader, [[path] for path in paths])
    readable = loader.readable_
    columns = [f"p_{name}" for name in classifier.classes_]
    proba = np.full((len(paths), len(columns)), np.nan)
    likeness = np.full(len(paths), np.nan)
    label = np.full(len(paths), "", dtype=object)
    if readable.any():
        proba[readable] = classifier.predict_proba(X[readable])
        likeness[readable] = guard.score_samples(X[readable])
        label[readable] = classifier.classes_[proba[readable].argmax(axis=1)]
    errors = {failure.row: failure.reason for failure in loader.failures_}
    table = pd.DataFrame(proba, columns=columns)
    table.insert(0, "path", list(paths))
    table["prediction"] = label
    if isinstance(classifier, ReferralClassifier):
        _add_decisions(table, classifier, X, readable)
    table["likeness"] = likeness
    table["error"] = [errors.get(row, "") for row in range(len(paths))]
    return table


def _add_decisions(
    table: pd.DataFrame, classifier: ReferralClassifier, X: np.ndarray, readable: np.ndarray
) -> None:
    """Add what a referral rule decides on the images that could be read."""
    # A file that cannot be read is referred: somebody must look at the patient.
    decision = np.full(len(table), REFER, dtype=object)
    plausible = np.full(len(table), "", dtype=object)
    confidence = np.full(len(table), np.nan)
    if readable.any():
        is_referred = classifier.refers(X[readable])
        predicted = classifier.predict(X[readable]).astype(object)
        decision[readable] = np.where(is_referred, REFER, predicted)
        sets = classifier.predict_set(X[readable])
        plausible[readable] = set_names(sets, classifier.classes_)
        confidence[readable] = classifier.confidence_scores(X[readable])
    table["decision"], table["prediction_set"] = decision, plausible
    table["confidence"] = confidence


@dataclass(frozen=True, eq=False)
class Written:
    """What :func:`write_predictions` has written.

    Attributes
    ----------
    n_unreadable : int
        Files without a prediction.
    n_unlike : int
        Images that the guard takes for outliers.
    referred : DataFrame or None
        Rows of the referred images; None if the model refers no images.
    comparison : ExchangeabilityTest or None
        Comparison of some images with the calibration images; None if the model refers no images,
        or if there are images of fewer than 20 patients.
    """

    n_unreadable: int
    n_unlike: int
    referred: pd.DataFrame | None
    comparison: ExchangeabilityTest | None


def write_predictions(
    pipeline: Pipeline,
    files: pd.DataFrame,
    out: str | os.PathLike[str],
    batch: int,
    progress: Callable[[], Any],
) -> Written:
    """Write the predictions for files as a CSV file, whole or not at all.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        From :func:`load_pipeline`; its loader must have ``on_error="mask"``.
    files : DataFrame
        ``path``, and further columns, which are written after it.
    out : str or path
    batch : int
        Number of files to read at a time.
    progress : callable
        Called after each file.

    Returns
    -------
    Written
    """
    threshold = pipeline.named_steps["guard"].offset_
    failed = unlike = 0
    referred, readable = [], []
    with replace_file(out) as stream:
        for start in range(0, len(files), batch):
            part = files.iloc[start : start + batch].reset_index(drop=True)
            table = predict_files(pipeline, part["path"].tolist())
            failed += int((table["error"] != "").sum())
            unlike += int((table["likeness"] < threshold).sum())
            table = pd.concat([part, table.drop(columns="path")], axis=1)
            readable.append(part[table["error"] == ""])
            if "decision" in table:
                referred.append(table[table["decision"] == REFER])
            text = table.to_csv(index=False, header=start == 0, float_format="%.6f")
            stream.write(text.encode("utf-8", "backslashreplace"))
            for _ in part["path"]:
                progress()
    comparison = _compare_with_calibration(pipeline, pd.concat(readable))
    return Written(failed, unlike, pd.concat(referred) if referred else None, comparison)


def _compare_with_calibration(pipeline: Pipeline, files: pd.DataFrame) -> Any:
    """Test whether some of the images look like those of the calibration, one per patient."""
    classifier = pipeline.named_steps["model"]
    if not isinstance(classifier, ReferralClassifier):
        return None
    chosen = files.sample(frac=1, random_state=0)
    if "patient" in files:
        # Each file of an unknown patient is one of its own.
        patient = chosen["patient"].astype(str)
        is_repeated = patient.duplicated() & (patient != "") & chosen["patient"].notna()
        chosen = chosen[~is_repeated]
    chosen = chosen.head(_MOST_COMPARED)
    if len(chosen) < FEWEST_NEW:
        return None
    X = read_masked(pipeline.named_steps["loader"], [[path] for path in chosen["path"]])
    return classifier.check_exchangeability(X)


def read_masked(loader: XRayLoader, paths: Any) -> np.ndarray:
    """Read files with a loader that masks unreadable ones, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableImageWarning)
        return loader.transform(paths)
