"""Measure how often 95 % intervals by patient, and by image, contain the truth.

    python benchmarks/coverage.py [--studies 2000] [--resamples 500] [--jobs 2] --out FOLDER

Studies are simulated. Each has 20, 60 or 300 patients of three classes, with 1 to 8 images of each
patient. The scores of a patient's images are correlated by 0, 0.3 or 0.6. The true figures are
those of a simulated population of 400,000 patients. Written to the output folder:
``coverage.csv`` and ``coverage.svg``.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from cxr_sklearn.metrics._figures import Figure, confusion_group, figure_intervals, loss_group
from cxr_sklearn.metrics._ranking import AUC, ranking_figures
from cxr_sklearn.metrics._resampling import PatientResamples, resample_patients
from cxr_sklearn.metrics._scored_images import ScoredImages

N_CLASSES = 3
PATIENTS = (20, 60, 300)
CORRELATIONS = (0.0, 0.3, 0.6)
METHODS = ("bca", "percentile", "images as patients")
FIGURES = {
    "accuracy": ("accuracy", None),
    "sensitivity": ("sensitivity", 0),
    "AUC": ("roc_auc", 0),
    "Brier score": ("brier_score", None),
}


def simulate(
    n_patients: int, correlation: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate the test images of a study.

    Returns
    -------
    codes, proba, patient : ndarray
        True classes, probabilities of shape (n_images, 3) and patients.
    """
    of_patient = np.arange(n_patients) % N_CLASSES
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 9, size=n_patients))
    codes = of_patient[patient]
    shared = rng.normal(size=(n_patients, N_CLASSES))[patient]
    own = rng.normal(size=(len(patient), N_CLASSES))
    noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    # The classes are not equally easy to recognise.
    scores = noise + np.array([1.2, 1.6, 2.0])[codes, None] * (codes[:, None] == np.arange(3))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return codes, weights / weights.sum(axis=1, keepdims=True), patient


def four_figures(images: ScoredImages, resamples: PatientResamples) -> list[Figure]:
    """Return the four figures whose coverage is reported."""
    is_positive = images.codes == 0
    score = images.proba[0, :, 0]
    auc = ranking_figures(resamples, images.patient, is_positive, score, only_auc=True)[AUC]
    everything = np.ones(images.n_images, dtype=bool)
    found = {("roc_auc", 0): Figure("roc_auc", 0, auc, everything)}
    for figure in (*confusion_group(images, resamples), *loss_group(images, resamples)):
        found[figure.metric, figure.label] = figure
    return [found[key] for key in FIGURES.values()]


def true_figures(correlation: float, n_patients: int = 400_000) -> dict[str, float]:
    """Return the figures of a large population."""
    codes, proba, _ = simulate(n_patients, correlation, np.random.default_rng(12345))
    # One row of weights, in which every image counts once.
    everyone = PatientResamples(
        patient=np.zeros(len(codes), dtype=int),
        weights=np.ones((1, 1), dtype=np.float32),
        n_resamples=0,
        jackknife_factor=np.empty(0),
        jackknife_stratum=np.empty(0, dtype=int),
    )
    images = ScoredImages(codes, proba[None], everyone.patient)
    values = four_figures(images, everyone)
    return {name: float(f.values[0]) for name, f in zip(FIGURES, values, strict=True)}


def study(
    n_patients: int,
    correlation: float,
    n_resamples: int,
    seed: int,
    truth: dict[str, float],
    has_control: bool = True,
) -> list[dict[str, object]]:
    """Simulate one study, and return whether each interval contains the truth.

    With `has_control`, intervals that count images as patients are computed, too.
    """
    codes, proba, patient = simulate(n_patients, correlation, np.random.default_rng(seed))
    rows = []
    for units in ("patients", "images") if has_control else ("patients",):
        groups = patient if units == "patients" else np.arange(len(patient))
        methods = ("bca", "percentile") if units == "patients" else ("percentile",)
        resamples = resample_patients(groups, codes, n_resamples, seed, jackknife="bca" in methods)
        images = ScoredImages(codes, proba[None], resamples.patient)
        figures = four_figures(images, resamples)
        for method in methods:
            intervals = figure_intervals(images, resamples, figures, 0.95, method)
            for name, found in zip(FIGURES, intervals, strict=True):
                rows.append(
                    {
                        "patients": n_patients,
                        "correlation": correlation,
                        "method": method if units == "patients" else "images as patients",
                        "figure": name,
                        "covered": found.low <= truth[name] <= found.high,
                        "width": found.high - found.low,
                    }
                )
    return rows


def coverage(
    n_studies: int,
    n_resamples: int,
    jobs: int,
    patients: tuple[int, ...] = PATIENTS,
    correlations: tuple[float, ...] = CORRELATIONS,
    n_controls: int | None = None,
) -> pd.DataFrame:
    """Return the share of studies whose interval contains the truth, and the mean width.

    Intervals by image are computed for all studies, or for the first `n_controls`.
    """
    n_controls = n_studies if n_controls is None else n_controls
    truths = {correlation: true_figures(correlation) for correlation in correlations}
    tasks = []
    for n_patients, correlation in itertools.product(patients, correlations):
        for seed in range(n_studies):
            truth, has_control = truths[correlation], seed < n_controls
            task = joblib.delayed(study)
            tasks.append(task(n_patients, correlation, n_resamples, seed, truth, has_control))
    rows = itertools.chain.from_iterable(joblib.Parallel(n_jobs=jobs)(tasks))
    columns = ["patients", "correlation", "figure", "method"]
    table = pd.DataFrame(rows).groupby(columns, sort=False)
    return table[["covered", "width"]].mean().reset_index().rename(columns={"covered": "coverage"})


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the coverage: a column of panels per figure, and a row per correlation."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 11, "svg.hashsalt": "coverage"})
    figure, axes = plt.subplots(
        len(CORRELATIONS),
        len(FIGURES),
        figsize=(10, 6.5),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    styles = dict(zip(METHODS, (("#0072b2", "o"), ("#009e73", "s"), ("#d55e00", "x")), strict=True))
    for row, correlation in enumerate(CORRELATIONS):
        for column, name in enumerate(FIGURES):
            ax = axes[row, column]
            ax.axhspan(0.93, 0.97, color="#dddddd")
            ax.axhline(0.95, color="black", linewidth=0.8)
            part = table[(table["correlation"] == correlation) & (table["figure"] == name)]
            for method, (colour, marker) in styles.items():
                lines = part[part["method"] == method]
                ax.plot(
                    lines["patients"], lines["coverage"], color=colour, marker=marker, label=method
                )
            ax.set(xscale="log", ylim=(0.5, 1.0))
            ax.set_xticks(PATIENTS, [str(n) for n in PATIENTS])
            ax.minorticks_off()
            if row == 0:
                ax.set_title(name)
            if column == 0:
                ax.set_ylabel(f"correlation {correlation:g}\ncoverage")
            if row == len(CORRELATIONS) - 1:
                ax.set_xlabel("patients")
    axes[0, 0].legend(fontsize=9, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Run the simulation, print the table, and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    table = coverage(options.studies, options.resamples, options.jobs)
    table.to_csv(out / "coverage.csv", index=False, float_format="%.4f")
    draw(table, out / "coverage.svg")
    wide = table.pivot(
        index=["patients", "correlation", "method"], columns="figure", values="coverage"
    )
    print(wide[list(FIGURES)].round(3).to_string())


if __name__ == "__main__":
    main()
