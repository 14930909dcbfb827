"""Measure the time and memory of all figures with their intervals.

    python benchmarks/evaluate.py [--images 10000] [--resamples 2000]

The images have three classes and belong to 4,000 patients. For comparison, scikit-learn's functions
compute the same figures in a loop over some resamples; the time of all resamples is extrapolated.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
from sklearn import metrics

from cxr_sklearn.evaluation._interval_settings import Settings
from cxr_sklearn.evaluation._tables import Measurer
from cxr_sklearn.evaluation._test_data import TestData

N_CLASSES = 3
N_LOOPED = 20


def make_images(n_images: int) -> tuple[TestData, np.ndarray]:
    """Return simulated test images and their probabilities."""
    rng = np.random.default_rng(0)
    patient = np.unique(rng.integers(4000, size=n_images), return_inverse=True)[1]
    codes = patient % N_CLASSES
    proba = rng.dirichlet(np.ones(N_CLASSES), size=n_images) + 0.5 * np.eye(N_CLASSES)[codes]
    data = TestData(np.arange(N_CLASSES), codes, patient, has_patients=True)
    return data, proba / proba.sum(axis=1, keepdims=True)


def with_scikit_learn(codes: np.ndarray, proba: np.ndarray) -> None:
    """Compute the figures that scikit-learn has, once."""
    predicted = proba.argmax(axis=1)
    metrics.accuracy_score(codes, predicted)
    metrics.balanced_accuracy_score(codes, predicted)
    metrics.precision_recall_fscore_support(codes, predicted)
    metrics.cohen_kappa_score(codes, predicted)
    metrics.matthews_corrcoef(codes, predicted)
    metrics.roc_auc_score(codes, proba, multi_class="ovr")
    metrics.roc_auc_score(codes, proba, multi_class="ovo")
    metrics.log_loss(codes, proba)
    metrics.brier_score_loss(codes, proba)
    for label in range(N_CLASSES):
        is_positive = codes == label
        metrics.roc_auc_score(is_positive, proba[:, label])
        metrics.average_precision_score(is_positive, proba[:, label])
        metrics.roc_curve(is_positive, proba[:, label])
        metrics.brier_score_loss(is_positive, proba[:, label])


def seconds_of_loop(data: TestData, proba: np.ndarray) -> float:
    """Return the seconds per resample of scikit-learn's functions."""
    rng = np.random.default_rng(0)
    rows_of = np.argsort(data.patient, kind="stable")
    ends = np.cumsum(np.bincount(data.patient))
    start = time.perf_counter()
    for _ in range(N_LOOPED):
        drawn = rng.integers(len(ends), size=len(ends))
        rows = np.concatenate([rows_of[ends[p - 1] if p else 0 : ends[p]] for p in drawn])
        with_scikit_learn(data.codes[rows], proba[rows])
    return (time.perf_counter() - start) / N_LOOPED


def main() -> None:
    """Print seconds, the ratio of both ways, and the peak of the memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    data, proba = make_images(options.images)
    start = time.perf_counter()
    tables = Measurer(data, Settings(n_resamples=options.resamples)).tables("model", proba[None])
    own = time.perf_counter() - start
    # macOS counts bytes, and Linux counts units of 1,024 bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    loop = seconds_of_loop(data, proba) * options.resamples
    n_figures = sum(len(tables[name]) for name in ("figures", "confusion", "reliability"))
    print(f"{options.images} images, {options.resamples} resamples, {n_figures} figures")
    print(f"evaluate: {own:.1f} s, at most {peak:.0f} MiB")
    print(f"scikit-learn in a loop, fewer figures: {loop:.0f} s; ratio {loop / own:.0f}")


if __name__ == "__main__":
    main()
