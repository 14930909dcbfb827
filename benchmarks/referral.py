"""Measure how often the guarantee of a referral rule is broken, and what it costs.

    python benchmarks/referral.py [--studies 1000] [--controls 1000] [--jobs 2] --out FOLDER

Studies are simulated. Each has 100, 300 or 1,000 calibration patients, with one image each or with
1 to 8 images, whose confidences and errors are correlated by 0, 0.3 or 0.6 within a patient. The
true risk at every threshold is known, so that it is known whether a certificate is wrong. Written
to the output folder: ``guarantee.csv`` and ``guarantee.svg``.

*Package* is the search of ReferralClassifier, for one risk ("error", limits of 10 % and 5 %) or for
two at once ("missed" and "false" of a class). Two wrong variants run next to it: *images as
patients* uses the exact binomial test on images, and *observed share* takes the lowest threshold
whose observed share of errors is at most the limit. *Accepted* is the accepted share relative to
that of an oracle, who knows the true risk.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from cxr_sklearn.referral._decisions import Decisions
from cxr_sklearn.referral._risks import Risk
from cxr_sklearn.referral._threshold_search import divide_patients, search_threshold

PATIENTS = (100, 300, 1000)
CORRELATIONS = (0.0, 0.3, 0.6)
# Risks with their limits, and delta.
RISKS = {
    "error": ((Risk("error", 0.1),), 0.1),
    "error, 5 %": ((Risk("error", 0.05),), 0.05),
    "missed and false": ((Risk("missed", 0.1, "a", 0), Risk("false", 0.1, "a", 0)), 0.1),
}
PACKAGE, AS_PATIENTS, OBSERVED = "package", "images as patients", "observed share"
VARIANTS = (PACKAGE, AS_PATIENTS, OBSERVED)

# An image with the confidence s, which is uniform, is wrong with the probability
# STEEPNESS * (1 - s) ** 2, so that the risk at the coverage c is STEEPNESS * c ** 2 / 3.
STEEPNESS = 0.6
N_CLASSES = 3


def true_risk(threshold: float) -> float:
    """Return the true risk at a threshold, the same for all risks."""
    return STEEPNESS * min(1.0, 1 - threshold) ** 2 / 3


def oracle_coverage(bound: float) -> float:
    """Return the greatest coverage whose true risk is at most a limit."""
    return min(1.0, float(np.sqrt(3 * bound / STEEPNESS)))


def simulate(
    n_patients: int, most_images: int, correlation: float, rng: np.random.Generator
) -> Decisions:
    """Simulate the decisions of a model on the calibration images of a study."""
    n_images = rng.integers(1, most_images + 1, size=n_patients)
    patient = np.repeat(np.arange(n_patients), n_images)

    def uniform() -> np.ndarray:
        # Two images of a patient have the same value with the probability `correlation`.
        is_shared = rng.uniform(size=len(patient)) < np.sqrt(correlation)
        shared = rng.uniform(size=n_patients)[patient]
        return np.where(is_shared, shared, rng.uniform(size=len(patient)))

    score = uniform()
    is_wrong = uniform() < STEEPNESS * (1 - score) ** 2
    # All images of a patient have one class, as most patients have one disease.
    codes = rng.integers(N_CLASSES, size=n_patients)[patient]
    other = (codes + rng.integers(1, N_CLASSES, size=len(codes))) % N_CLASSES
    return Decisions(score, codes, np.where(is_wrong, other, codes), patient)


def chosen_threshold(
    variant: str, decisions: Decisions, risks: tuple[Risk, ...], delta: float
) -> float:
    """Return the threshold that a variant chooses, infinite if it refers all images."""
    if variant in (PACKAGE, AS_PATIENTS):
        if variant == AS_PATIENTS:
            decisions = replace(decisions, patient=np.arange(len(decisions.score)))
        learning, testing = divide_patients(decisions, 0)
        return search_threshold(learning, testing, risks, delta).threshold
    thresholds = np.append(np.unique(decisions.score)[::-1][:: 1 + len(decisions.score) // 200], 0)
    passes = np.all([_observed_is_low(decisions, risk, thresholds) for risk in risks], axis=0)
    return float(thresholds[passes].min()) if passes.any() else np.inf


def _observed_is_low(decisions: Decisions, risk: Risk, thresholds: np.ndarray) -> np.ndarray:
    errors, accepted = decisions.shares(risk, thresholds)
    return (accepted > 0) & (errors <= risk.bound * accepted)


def study(
    n_patients: int, most_images: int, correlation: float, seed: int, variants: tuple[str, ...]
) -> list[dict[str, object]]:
    """Simulate one study, and return what each variant chose."""
    decisions = simulate(n_patients, most_images, correlation, np.random.default_rng(seed))
    rows = []
    for (name, (risks, delta)), variant in itertools.product(RISKS.items(), variants):
        threshold = chosen_threshold(variant, decisions, risks, delta)
        is_certified = bool(np.isfinite(threshold)) or threshold < 0
        coverage = min(1.0, 1 - threshold) if is_certified else 0.0
        rows.append(
            {
                "patients": n_patients,
                "images": f"1 to {most_images}" if most_images > 1 else "1",
                "correlation": correlation,
                "risk": name,
                "delta": delta,
                "variant": variant,
                "certified": is_certified,
                "violated": is_certified and true_risk(threshold) > risks[0].bound + 1e-12,
                "accepted": coverage / oracle_coverage(risks[0].bound),
            }
        )
    return rows


def guarantee(
    n_studies: int,
    jobs: int,
    patients: tuple[int, ...] = PATIENTS,
    correlations: tuple[float, ...] = CORRELATIONS,
    n_controls: int | None = None,
) -> pd.DataFrame:
    """Return the share of studies whose guarantee is broken, and the mean accepted share.

    The wrong variants run in all studies, or in the first `n_controls`.
    """
    n_controls = n_studies if n_controls is None else n_controls
    tasks = []
    for n_patients, seed in itertools.product(patients, range(n_studies)):
        variants = VARIANTS if seed < n_controls else (PACKAGE,)
        for most_images, correlation in [(1, 0.0), *((8, value) for value in correlations)]:
            task = joblib.delayed(study)
            tasks.append(task(n_patients, most_images, correlation, seed, variants))
    rows = itertools.chain.from_iterable(joblib.Parallel(n_jobs=jobs)(tasks))
    columns = ["patients", "images", "correlation", "risk", "delta", "variant"]
    groups = pd.DataFrame(rows).groupby(columns, sort=False)
    table = groups[["certified", "violated", "accepted"]].mean()
    table["studies"] = groups.size()
    return table.reset_index()


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the share of broken guarantees: a panel per risk and number of images."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 11, "svg.hashsalt": "referral"})
    table = table.assign(
        panel=table["images"] + " images, correlation " + table["correlation"].map("{:g}".format)
    )
    panels = table["panel"].unique()
    figure, axes = plt.subplots(
        len(RISKS), len(panels), figsize=(10, 7.5), sharex=True, sharey=True, layout="constrained"
    )
    colours = ("#0072b2", "#d55e00", "#cc79a7")
    markers = ("o", "x", "+")
    styles = dict(zip(VARIANTS, zip(colours, markers, strict=True), strict=True))
    for row, risk in enumerate(RISKS):
        for column, panel in enumerate(panels):
            ax = axes[row, column]
            ax.axhline(RISKS[risk][1], color="black", linewidth=0.8)
            part = table[(table["panel"] == panel) & (table["risk"] == risk)]
            for variant, (colour, marker) in styles.items():
                lines = part[part["variant"] == variant]
                ax.plot(
                    lines["patients"], lines["violated"], color=colour, marker=marker, label=variant
                )
            ax.set(xscale="log", ylim=(0, 0.7))
            ax.set_xticks(PATIENTS, [str(n) for n in PATIENTS])
            ax.minorticks_off()
            if row == 0:
                ax.set_title(panel.replace(", ", ",\n"), fontsize=10)
            if row == len(RISKS) - 1:
                ax.set_xlabel("patients")
            if column == 0:
                ax.set_ylabel(f"{risk}\nbroken guarantees")
    axes[0, 0].legend(fontsize=9)
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Run the simulation, print the table, and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--controls", type=int, default=1000, help="studies of the wrong variants")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    table = guarantee(options.studies, options.jobs, n_controls=options.controls)
    table.to_csv(folder / "guarantee.csv", index=False, float_format="%.4f")
    draw(table, folder / "guarantee.svg")
    print(table.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
