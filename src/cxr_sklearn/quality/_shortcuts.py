"""Baselines of an audit: classifiers that do not see the lungs, or only a coarse copy of them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from scipy.stats import norm
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..metrics._confusion import confusion_figures
from ..metrics._figures import confusion_matrices
from ..metrics._intervals import PERCENTILE, bootstrap_interval
from ..metrics._ranking import AUC, ranking_figures
from ..metrics._resampling import PatientResamples, resample_patients
from ..metrics._scored_images import ScoredImages
from ._measurements import ImageMeasurements
from ._pixel_statistics import BORDER_SIDE, BORDER_WIDTHS

N_RESAMPLES = 1000
_MAX_FOLDS = 5
_N_TREES = 50
_MOST_SAMPLES = 2000  # per tree: a shortcut that needs more images is not a plain one


@dataclass(frozen=True)
class Shortcut:
    """A baseline, and the features that it uses.

    Attributes
    ----------
    name : str
    features : ndarray of shape (n, n_features)
    is_linear : bool
        Whether it is a logistic regression instead of a random forest.
    """

    name: str
    features: np.ndarray
    is_linear: bool = False


def shortcuts(measurements: ImageMeasurements, names: Sequence[str]) -> Iterator[Shortcut]:
    """Yield the baselines for readable images.

    Parameters
    ----------
    measurements : ImageMeasurements
    names : sequence of str
        File names, without folders.
    """
    frame = measurements.frame
    # Classes of devices and programs: a forest splits them by yes or no.
    header = pd.get_dummies(frame[["format", "mode"]].astype(str))
    numbers = frame[["width", "height", "aspect", "bit_depth"]].astype(float)
    yield Shortcut("header", np.hstack([header.to_numpy(float), numbers.to_numpy()]))
    size = frame["n_bytes"].to_numpy(float)
    pixels = (frame["width"].astype(float) * frame["height"].astype(float)).to_numpy()
    yield Shortcut("file size", np.column_stack([np.log(size), np.log(size / pixels)]))
    yield Shortcut("file name", _name_features(names))
    for width in BORDER_WIDTHS:
        yield Shortcut(f"border {width}/{BORDER_SIDE}", measurements.border_statistics[width])
    for name, thumbnails in (
        ("thumbnail 8×8", measurements.small_thumbnails),
        ("lungs blanked", measurements.thumbnails_without_lungs),
        ("lungs only", measurements.thumbnails_of_lungs),
    ):
        pixels_of_thumbnails = thumbnails.reshape(len(frame), -1).astype(float)
        yield Shortcut(name, pixels_of_thumbnails, is_linear=True)
    yield Shortcut("grey histogram", measurements.histograms)


def out_of_fold(
    shortcut: Shortcut, y: np.ndarray, groups: np.ndarray, n_jobs: int | None
) -> np.ndarray:
    """Return out-of-fold probabilities of a baseline. Folds do not divide patients.

    Parameters
    ----------
    shortcut : Shortcut
    y : ndarray of shape (n,), dtype int
    groups : ndarray of shape (n,)
    n_jobs : int or None
        Number of processes, at most one per fold.

    Returns
    -------
    ndarray of shape (n, n_classes), dtype float64
    """
    n_folds = folds_for(y, groups)
    cv = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    splits = list(cv.split(y, y, groups))
    scarcest = min(int(np.bincount(y[train]).min()) for train, _ in splits)
    n_processes = worker_processes(n_jobs, n_folds) or 1
    model = baseline_estimator(shortcut, len(y), scarcest)
    return cross_val_predict(
        model, shortcut.features, y, cv=splits, method="predict_proba", n_jobs=n_processes
    )


def worker_processes(n_jobs: int | None, n_folds: int = _MAX_FOLDS) -> int:
    """Return the number of worker processes for baselines; 0 if this process fits them."""
    n = min(effective_n_jobs(n_jobs), n_folds)
    return n if n > 1 else 0


def folds_for(y: np.ndarray, groups: np.ndarray) -> int:
    """Return the number of folds: that of the patients of the scarcest class, at most 5."""
    pairs = pd.DataFrame({"y": y, "group": groups}).drop_duplicates()
    return int(min(_MAX_FOLDS, pairs["y"].value_counts().min()))


def baseline_estimator(shortcut: Shortcut, n: int, scarcest: int) -> ClassifierMixin:
    """Return the unfitted classifier of a baseline.

    Parameters
    ----------
    shortcut : Shortcut
        The baseline.
    n : int
        Number of images.
    scarcest : int
        Number of training images of the scarcest class.
    """
    return _logistic(scarcest) if shortcut.is_linear else _forest(n)


def _forest(n: int) -> ClassifierMixin:
    return RandomForestClassifier(
        _N_TREES,
        min_samples_leaf=3,
        class_weight="balanced",
        max_samples=min(1.0, _MOST_SAMPLES / n),
        random_state=0,
    )


def _logistic(scarcest: int) -> ClassifierMixin:
    """Return a logistic regression. Its penalty is searched if each class has enough rows."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1e-2, class_weight="balanced", max_iter=2000)
    )
    if scarcest < 2:
        return model
    grid = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1]}
    return GridSearchCV(model, grid, scoring="neg_log_loss", cv=min(3, scarcest))


def judged(
    proba: np.ndarray, y: np.ndarray, classes: Sequence[str], groups: np.ndarray
) -> list[dict[str, Any]]:
    """Return a row per figure: metric, classes, value, low, high, chance and p.

    Intervals are 95 % intervals from 1,000 resamples of the patients. The p-value is one-sided, and
    uses the standard error of the resamples. It describes the tested patients, but not the
    training patients, which the folds have in common. It is therefore enlarged with the correction
    of Nadeau and Bengio (2003, Machine Learning 52) for the variance of cross-validation.
    """
    n_folds = folds_for(y, groups)
    widening = np.sqrt(1 + n_folds / (n_folds - 1))
    resamples = resample_patients(groups, None, N_RESAMPLES, 0, jackknife=False)
    images = ScoredImages(y, proba[None], resamples.patient)
    k = len(classes)
    matrices = confusion_matrices(images, resamples)
    accuracy = confusion_figures(matrices)[0]["balanced_accuracy"]
    aucs = []
    for code in range(k):
        aucs.append(_auc(resamples, resamples.patient, y == code, proba[:, code]))
    rows = [
        _row("balanced accuracy", "", resamples, accuracy, 1 / k, widening),
        _row("AUC", "", resamples, np.mean(aucs, axis=0), 0.5, widening),
    ]
    for name, auc in zip(classes, aucs, strict=True):
        rows.append(_row("AUC", name, resamples, auc, 0.5, widening))
    for a, b in itertools.combinations(range(k), 2) if k > 2 else ():
        pair = np.isin(y, [a, b])
        total = proba[pair, a] + proba[pair, b]
        share = np.divide(proba[pair, b], total, out=np.full(len(total), 0.5), where=total > 0)
        auc = _auc(resamples, resamples.patient[pair], y[pair] == b, share)
        rows.append(_row("AUC", f"{classes[a]} / {classes[b]}", resamples, auc, 0.5, widening))
    return rows


def _auc(
    resamples: PatientResamples, patient: np.ndarray, is_positive: np.ndarray, score: np.ndarray
) -> np.ndarray:
    return ranking_figures(resamples, patient, is_positive, score, only_auc=True)[AUC]


def _row(
    metric: str,
    of: str,
    resamples: PatientResamples,
    values: np.ndarray,
    chance: float,
    widening: float,
) -> dict[str, Any]:
    found = bootstrap_interval(resamples, values, 0.95, PERCENTILE)
    value, low, high = found.value, found.low, found.high
    if np.isnan(low):
        # A baseline that is always right has the same figure in all resamples.
        low = high = value
    error = widening * np.nanstd(resamples.resampled(values))
    p = norm.sf((value - chance) / error) if error > 0 else float(value <= chance)
    return {
        "metric": metric,
        "classes": of,
        "value": value,
        "low": low,
        "high": high,
        "chance": chance,
        "p": float(p),
    }


# -- file names ---------------------------------------------------------------------------------
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)


def name_family(name: str) -> str:
    """Return the pattern of a file name, without its numbers.

    Parameters
    ----------
    name : str

    Returns
    -------
    family : str
        ``"00001299_003.png"`` gives ``"########_###"``; a UUID gives ``"uuid"``.
    """
    stem = _UUID.sub("uuid", Path(name).stem)
    return re.sub(r"\d", "#", stem).lower()


def name_families(names: Sequence[str], least: int) -> np.ndarray:
    """Return the family of each name. Families of fewer than `least` files become "other".

    Names that differ only in the number of digits are of one family.
    """
    families = [re.sub("#+", "#", name_family(name)) for name in names]
    counts = Counter(families)
    return np.array([name if counts[name] >= least else "other" for name in families])


def _name_features(names: Sequence[str]) -> np.ndarray:
    """Return the family of each name, its first number and its length."""
    families = pd.get_dummies(pd.Series(name_families(names, least=3)))
    numbers = [re.search(r"\d+", Path(name).stem) for name in names]
    first = [float(found.group()[:15]) if found else -1.0 for found in numbers]
    return np.column_stack([families.to_numpy(float), first, [len(name) for name in names]])
