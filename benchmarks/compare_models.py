"""Compare the four models and baselines on the same folds of real images.

    python benchmarks/compare_models.py --data FOLDER --out FOLDER [--backbone resnet50|lite0|...]
        [--weights imagenet|none|FILE] [--trainable head] [--image-size 224] [--repeats 1]
        [--set lr=3e-4 --set augment=True ...] [--jobs 2]

FOLDER contains a folder of X-rays per class and, if patients are known, ``metadata.csv``
(`cxr_sklearn.datasets.load_xray_folder`). Each model is evaluated by `cross_evaluate` in 5 folds by
patient. Its evaluation is a file under ``parts``: if a run was stopped, the same command evaluates
what is missing. Written to the output folder: ``table.md``, ``metrics.csv``, ``differences.csv``
and ``comparison.png``.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
import torch
from efficientnet import lite0
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import cxr_sklearn
from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetOvR,
    ResNetStacking,
    XRayLoader,
)
from cxr_sklearn.datasets import load_xray_folder
from cxr_sklearn.evaluation import Comparison, Evaluation, compare, cross_evaluate
from cxr_sklearn.metrics import ComparisonDisplay

N_FOLDS, N_RESAMPLES = 5, 1000
NETWORKS = (ResNetClassifier, ResNetOvR, ResNetOvO, ResNetStacking)
SINGLE, FEATURES = "ResNetClassifier", "features"
# Models that are also trained on images with blanked lungs, and the other baselines of their folds.
BASELINES = {SINGLE: ("lungs blanked",), FEATURES: ("thumbnail", "lungs blanked")}
REFERENCES = (SINGLE, f"{FEATURES}, lungs blanked")
OVERALL = {
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "roc_auc_ovr": "AUC",
    "log_loss": "log loss",
}
PER_CLASS = {"ppv": "PPV", "sensitivity": "sensitivity", "f1": "F1"}


def logistic() -> GridSearchCV:
    """Return a logistic regression whose penalty is chosen by patient, inside the training part."""
    return GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)),
        {"logisticregression__C": np.logspace(-5, 0, 6)},
        scoring="neg_log_loss",
        cv=StratifiedGroupKFold(4, shuffle=True, random_state=0),
    )


def models(options: argparse.Namespace) -> dict[str, Any]:
    """Return the models to compare, by name."""
    shared = {
        "backbone": lite0 if options.backbone == "lite0" else options.backbone,
        "weights": None if options.weights == "none" else options.weights,
        "image_size": options.image_size,
        # Later models, and later runs, find the activations there.
        "memory": Path(options.out) / "activations",
        "random_state": 0,
    }
    found: dict[str, Any] = {
        "dummy": DummyClassifier(strategy="prior"),
        FEATURES: make_pipeline(ResNetFeatures(**shared), logistic()),
    }
    only_stacking = set(ResNetStacking().get_params()) - set(ResNetOvR().get_params())
    for kind in NETWORKS:
        settings = dict(options.set)
        if kind is not ResNetStacking:
            for name in only_stacking:
                settings.pop(name, None)
        found[kind.__name__] = kind(trainable=options.trainable, **shared, **settings)
    return found


def evaluate_models(options: argparse.Namespace) -> dict[str, Evaluation]:
    """Evaluate each model, unless an earlier run has done so."""
    parts = Path(options.out) / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    bunch = load_xray_folder(options.data)
    X = XRayLoader(image_size=options.image_size, n_jobs=2).fit_transform(bunch.data)
    check_settings(options, joblib.hash((X, bunch.target, bunch.groups)))
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    evaluations = {}
    for name, model in models(options).items():
        path = parts / f"{name}.json"
        if not path.exists():
            start = time.perf_counter()
            with joblib.parallel_config(inner_max_num_threads=threads, backend="loky"):
                evaluation = cross_evaluate(
                    {name: model},
                    X,
                    bunch.target,
                    groups=bunch.groups,
                    cv=N_FOLDS,
                    repeats=options.repeats,
                    baselines=BASELINES.get(name),
                    n_resamples=N_RESAMPLES,
                    random_state=0,
                    n_jobs=options.jobs,
                )
            evaluation.to_json(path)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        evaluations[name] = Evaluation.from_json(path)
    return evaluations


def check_settings(options: argparse.Namespace, data: str) -> None:
    """Refuse to mix the parts of different comparisons in one folder."""
    names = ("backbone", "weights", "trainable", "image_size", "repeats", "set")
    settings = {name: getattr(options, name) for name in names} | {"data": data}
    settings = json.loads(json.dumps(settings, default=str))  # tuples become lists there
    file = Path(options.out) / "settings.json"
    if not file.exists():
        file.write_text(json.dumps(settings, indent=1) + "\n")
        return
    found = json.loads(file.read_text())
    differing = [name for name in settings if found.get(name) != settings[name]]
    if differing:
        raise SystemExit(
            f"--out {options.out}: begun with other {', '.join(differing)}; expected the settings "
            "of its settings.json. Pass another folder, or delete this one."
        )


def report(options: argparse.Namespace, evaluations: dict[str, Evaluation]) -> None:
    """Write the tables and the figure."""
    out = Path(options.out)
    figures = pd.concat([one.to_frame() for one in evaluations.values()], ignore_index=True)
    figures.to_csv(out / "metrics.csv", index=False, float_format="%.4f")
    comparisons = {}
    for reference in REFERENCES:
        comparisons[reference] = compare(
            *evaluations.values(), reference=reference, metrics=list(OVERALL)
        )
    differences = pd.concat([one.frame for one in comparisons.values()], ignore_index=True)
    differences.to_csv(out / "differences.csv", index=False, float_format="%.4f")
    first = next(iter(evaluations.values()))
    text = "\n".join([caption(options, first), "", *tables(figures, comparisons, first.classes)])
    (out / "table.md").write_text(text)
    print(text)
    draw(comparisons, out / "comparison.png")


def caption(options: argparse.Namespace, evaluation: Evaluation) -> str:
    """Return the settings and the size of the data."""
    settings = ", ".join(f"{name}={value!r}" for name, value in options.set.items())
    return (
        f"`backbone={options.backbone}`, `weights={options.weights}`, "
        f"`trainable={options.trainable}`, `image_size={options.image_size}`"
        + (f", {settings}" if settings else "")
        + f". {evaluation.n_images} images of {evaluation.n_patients} patients, {N_FOLDS} folds by "
        f"patient, repeated {options.repeats} times. 95 % intervals from {N_RESAMPLES} resamples "
        f"of the patients. Python {platform.python_version()}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}, cxr_sklearn {cxr_sklearn.__version__}."
    )


def tables(
    figures: pd.DataFrame, comparisons: dict[str, Comparison], classes: np.ndarray
) -> list[str]:
    """Return the tables as lines of Markdown: overall, per class, and differences."""
    figures = figures[figures["subset"] == "all"]
    overall = figures[(figures["class"] == "") & figures["metric"].isin(OVERALL)]
    lines = [markdown(spread(overall, OVERALL)), ""]
    for label in classes:
        rows = figures[(figures["class"] == label) & figures["metric"].isin(PER_CLASS)]
        lines += [f"{label}:", "", markdown(spread(rows, PER_CLASS)), ""]
    for reference, comparison in comparisons.items():
        rows = comparison.frame.rename(columns={"difference": "value"})
        lines += [
            f"Difference to {reference}, paired:",
            "",
            markdown(spread(rows, OVERALL, True)),
            "",
        ]
    return lines


def spread(rows: pd.DataFrame, metrics: dict[str, str], signed: bool = False) -> pd.DataFrame:
    """Return a line per model and a column per metric, as text."""

    def cell(value: float) -> str:
        if np.isnan(value):
            return "–"
        text = f"{value:+.3f}" if signed else f"{value:.3f}"
        return text.replace("-", "−").replace("0.", ".", 1)

    texts = []
    for value, low, high in zip(rows["value"], rows["low"], rows["high"], strict=True):
        texts.append(f"{cell(value)} ({cell(low)} … {cell(high)})")
    table = pd.DataFrame({"model": rows["model"], "column": rows["metric"].map(metrics)})
    wide = table.assign(cell=texts).pivot(index="model", columns="column", values="cell")
    return wide.loc[table["model"].unique(), list(metrics.values())]


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [line(["", *table.columns]), line(["---"] * (1 + len(table.columns)))]
    lines += [line([str(name), *row]) for name, row in zip(table.index, table.values, strict=True)]
    return "\n".join(lines)


def draw(comparisons: dict[str, Comparison], path: Path) -> None:
    """Draw the differences in macro F1 to the two references."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(comparisons), 1, figsize=(9, 6), layout="constrained")
    for ax, (reference, comparison) in zip(axes, comparisons.items(), strict=True):
        # The dummy would squeeze all others into a corner.
        comparison.frame = comparison.frame[comparison.frame["model"] != "dummy"]
        ComparisonDisplay.from_comparison(comparison, metric="f1_macro", ax=ax)
        ax.set_title(f"macro F1 compared with {reference}")
    figure.savefig(path, dpi=130)


def setting(text: str) -> tuple[str, Any]:
    """Read ``name=value``; a value that is not a Python literal is a string."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main(arguments: list[str] | None = None) -> None:
    """Run and report a comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("CXR_DATA"), help="or CXR_DATA")
    parser.add_argument("--out", required=True)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none or a file")
    parser.add_argument("--trainable", default="head")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error("--data: expected a folder of class folders (or the variable CXR_DATA)")
    options.set = dict(options.set)
    report(options, evaluate_models(options))


if __name__ == "__main__":
    main()
