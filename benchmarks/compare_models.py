"""Does combining binary ResNets beat one ResNet? Four models and honest baselines, side by side.

    python benchmarks/compare_models.py --data FOLDER --out FOLDER [--backbone resnet50|lite0|...]
        [--weights imagenet|none|FILE] [--trainable head] [--image-size 224] [--repeats 1]
        [--set lr=3e-4 --set augment=True ...] [--jobs 2]

FOLDER holds a folder of X-rays per class and, if patients are known, ``metadata.csv``
(`cxr_sklearn.datasets.load_xray_folder`). All models and baselines are fitted on the same folds,
those of a repeated 5-fold StratifiedGroupKFold by patient, and judged on what they say of the fold
left out. Written to the output folder: ``table.md``, ``metrics.csv``, ``differences.csv`` and
``comparison.png``. Intervals are percentiles of a bootstrap over patients; differences are paired,
both models being judged on the same resampled patients.

Every fitted fold is a file under ``parts``: a run that was stopped goes on where it was when the
same command is given again.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

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
from cxr_sklearn._trunk.context import RunContext
from cxr_sklearn._trunk.runner import Runner
from cxr_sklearn.datasets import load_xray_folder
from cxr_sklearn.metrics._patient_bootstrap import interval, patient_draws, weighted_auc

SINGLE, BLANKED = "ResNetClassifier", "features, centre blanked"
BLANKED_SINGLE = "ResNetClassifier, centre blanked"
MODELS = {m.__name__: m for m in (ResNetClassifier, ResNetOvR, ResNetOvO, ResNetStacking)}
BASELINES = ("dummy", "thumbnail 8×8", "features", BLANKED, BLANKED_SINGLE)
N_FOLDS, N_RESAMPLES = 5, 1000
# the frame of 15 % on each side that is left when the centre is blanked
FRAME = 0.15
OVERALL = ("balanced accuracy", "macro F1", "AUC", "log loss")


@dataclass
class Job:
    """One model on one fold of one repeat."""

    model: str
    repeat: int
    fold: int

    @property
    def file(self) -> str:
        """Where its result stands."""
        name = "".join(c if c.isalnum() else "-" for c in self.model)
        return f"{name}-{self.repeat}-{self.fold}.npz"


def logistic(patients: np.ndarray) -> GridSearchCV:
    """Return a logistic regression whose penalty is chosen by patient, inside the training part."""
    return GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)),
        {"logisticregression__C": np.logspace(-5, 0, 6)},
        scoring="neg_log_loss",
        cv=StratifiedGroupKFold(4, shuffle=True, random_state=0),
    )


def blanked(X: np.ndarray, image_size: int) -> np.ndarray:
    """Return images whose centre is one grey, the mean of what is left of each."""
    images = X.reshape(-1, image_size, image_size).copy()
    edge = round(FRAME * image_size)
    inside = np.zeros((image_size, image_size), dtype=bool)
    inside[edge:-edge, edge:-edge] = True
    images[:, inside] = images[:, ~inside].mean(axis=1, keepdims=True).round().astype(images.dtype)
    return images.reshape(len(X), -1)


class Comparison:
    """Data, settings and results of one comparison."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.out = Path(options.out)
        (self.out / "parts").mkdir(parents=True, exist_ok=True)
        bunch = load_xray_folder(options.data)
        self.y, self.patients = np.asarray(bunch.target), np.asarray(bunch.groups)
        self.classes = np.unique(self.y)
        self.backbone = lite0 if options.backbone == "lite0" else options.backbone
        self.weights = None if options.weights == "none" else options.weights
        self.X = XRayLoader(image_size=options.image_size, n_jobs=2).fit_transform(bunch.data)
        self.thumbnails = XRayLoader(image_size=8, n_jobs=2).fit_transform(bunch.data)
        self._check_settings()

    def _check_settings(self) -> None:
        """Refuse to mix the parts of different comparisons in one folder."""
        names = ("backbone", "weights", "trainable", "image_size", "set")
        settings = {name: getattr(self.options, name) for name in names}
        settings["data"] = joblib.hash((self.X, self.y, self.patients))
        settings = json.loads(json.dumps(settings, default=str))  # tuples become lists there
        file = self.out / "settings.json"
        if not file.exists():
            file.write_text(json.dumps(settings, indent=1) + "\n")
        elif (found := json.loads(file.read_text())) != settings:
            differing = [name for name in settings if found.get(name) != settings[name]]
            raise SystemExit(
                f"--out {self.out}: begun with other {', '.join(differing)}; expected the "
                "settings of its settings.json: give another folder, or delete this one"
            )

    def jobs(self) -> list[Job]:
        """Return what is to be fitted, fold by fold."""
        names = [*BASELINES, *MODELS]
        return [
            Job(name, repeat, fold)
            for repeat in range(self.options.repeats)
            for fold in range(N_FOLDS)
            for name in names
        ]

    def split(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Return the training and test rows of a job."""
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=job.repeat)
        return list(splitter.split(self.X, self.y, self.patients))[job.fold]

    def missing(self) -> list[Job]:
        """Return the jobs whose result is not there yet."""
        return [job for job in self.jobs() if not (self.out / "parts" / job.file).exists()]

    def run(self) -> None:
        """Fit what is missing."""
        todo, n_jobs = self.missing(), self.options.jobs
        print(f"{len(todo)} of {len(self.jobs())} fits to do", flush=True)
        threads = max(1, (os.cpu_count() or 1) // n_jobs)
        joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(self.fit)(job, threads) for job in todo)

    def fit(self, job: Job, threads: int) -> None:
        """Fit and judge one model on one fold, and keep what it says."""
        torch.set_num_threads(threads)
        train, test = self.split(job)
        passed: list[int] = []
        forward = Runner._forward

        def counted(runner: Runner, batch: torch.Tensor, context: RunContext) -> torch.Tensor:
            passed.append(len(batch))
            return forward(runner, batch, context)

        start = time.perf_counter()
        # whichever engine runs it; above the cut "all" there is no trunk, and images pass the tails
        with mock.patch.object(Runner, "_forward", counted):
            model, X = self._model(job, train)
            model.fit(X[train], self.y[train], groups=self.patients[train])
            proba = model.predict_proba(X[test])
        seconds = time.perf_counter() - start
        assert np.array_equal(model.classes_, self.classes)
        path = self.out / "parts" / job.file
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(stream, test=test, proba=proba, seconds=seconds, passes=sum(passed))
        partial.rename(path)
        correct = (self.classes[proba.argmax(axis=1)] == self.y[test]).mean()
        print(
            f"repeat {job.repeat} fold {job.fold} {job.model}: {correct:.3f} correct, "
            f"{sum(passed)} trunk passes, {seconds:.0f} s",
            flush=True,
        )

    def _model(self, job: Job, train: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the estimator of a job and the rows it is given."""
        options = self.options
        shared = {
            "backbone": self.backbone,
            "weights": self.weights,
            "image_size": options.image_size,
            "memory": self.out / "activations",  # so that later fits, and later runs, find them
            "random_state": job.repeat,  # other folds, and another course of training
        }
        rows = blanked(self.X, options.image_size) if "blanked" in job.model else self.X
        if job.model in MODELS or job.model == BLANKED_SINGLE:
            only_stacking = set(ResNetStacking().get_params()) - set(ResNetOvR().get_params())
            left_out = only_stacking if job.model != "ResNetStacking" else set()
            settings = {k: v for k, v in options.set.items() if k not in left_out}
            kind = MODELS.get(job.model, ResNetClassifier)
            return kind(trainable=options.trainable, **shared, **settings), rows
        if job.model == "dummy":
            return Plain(DummyClassifier(strategy="prior")), self.X
        if job.model == "thumbnail 8×8":
            return logistic(self.patients), self.thumbnails
        # transformed here, so that the inner search does not ask the cache again for every fold
        return logistic(self.patients), ResNetFeatures(**shared).fit(rows).transform(rows)

    # -- what came out --------------------------------------------------------------------------

    def results(self) -> dict[str, dict[str, Any]]:
        """Return out-of-fold probabilities (repeats, images, classes), seconds and passes."""
        shape = (self.options.repeats, len(self.y), len(self.classes))
        found: dict[str, dict[str, Any]] = {}
        for job in self.jobs():
            with np.load(self.out / "parts" / job.file) as part:
                entry = found.setdefault(
                    job.model, {"proba": np.full(shape, np.nan), "seconds": 0.0, "passes": 0}
                )
                entry["proba"][job.repeat, part["test"]] = part["proba"]
                entry["seconds"] += float(part["seconds"])
                entry["passes"] += int(part["passes"])
        return found

    def report(self) -> None:
        """Write the tables and the figure."""
        results = self.results()
        draws = patient_draws(self.patients, N_RESAMPLES)
        measured = {
            name: measure(entry["proba"], self.y, self.classes, draws)
            for name, entry in results.items()
        }
        metrics = intervals(measured)
        metrics.to_csv(self.out / "metrics.csv", index=False, float_format="%.4f")
        differences = pd.concat(
            [paired(measured, reference) for reference in (SINGLE, BLANKED)], ignore_index=True
        )
        differences.to_csv(self.out / "differences.csv", index=False, float_format="%.4f")
        text = self.text(metrics, differences, results)
        (self.out / "table.md").write_text(text)
        print(text)
        draw(metrics, differences, self.out / "comparison.png")

    def text(self, metrics: pd.DataFrame, differences: pd.DataFrame, results: dict) -> str:
        """Return the tables as Markdown."""
        options = self.options
        cost = pd.DataFrame(
            {
                "seconds": {name: f"{entry['seconds']:.0f}" for name, entry in results.items()},
                "trunk passes": {name: str(entry["passes"]) for name, entry in results.items()},
            }
        )
        overall = metrics[metrics["metric"].isin(OVERALL)]
        per_class = metrics[~metrics["metric"].isin(OVERALL)]
        settings = ", ".join(f"{name}={value!r}" for name, value in options.set.items())
        return "\n".join(
            [
                f"`backbone={options.backbone}`, `weights={options.weights}`, "
                f"`trainable={options.trainable}`, `image_size={options.image_size}`"
                + (f", {settings}" if settings else "")
                + f". {len(self.y)} images of {len(set(self.patients))} patients, {N_FOLDS} folds "
                f"by patient, repeated {options.repeats} times. 95 % intervals from "
                f"{N_RESAMPLES} resamples of the patients.",
                "",
                markdown(spread(overall).join(cost)),
                "",
                *self.class_tables(per_class),
                *(
                    line
                    for reference in (SINGLE, BLANKED)
                    for line in (
                        f"Difference to {reference}, paired:",
                        "",
                        markdown(spread(differences[differences["reference"] == reference], True)),
                        "",
                    )
                ),
                f"Python {platform.python_version()}, torch {torch.__version__}, scikit-learn "
                f"{sklearn.__version__}, cxr_sklearn {cxr_sklearn.__version__}, "
                f"{os.cpu_count()} cores, {options.jobs} fits at a time.",
                "",
            ]
        )

    def class_tables(self, per_class: pd.DataFrame) -> list[str]:
        """Return a table per class: one for all classes would be wider than a page."""
        lines = []
        for name in self.classes:
            rows = per_class[per_class["class"] == name].assign(**{"class": ""})
            lines += [f"{name}:", "", markdown(spread(rows)), ""]
        return lines


class Plain:
    """A classifier whose ``fit`` lets patients pass unused."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Plain:
        """Fit without patients."""
        self.estimator.fit(X, y)
        self.classes_ = self.estimator.classes_
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the estimator's probabilities."""
        return self.estimator.predict_proba(X)


# -- statistics ---------------------------------------------------------------------------------


def measure(
    proba: np.ndarray, y: np.ndarray, classes: np.ndarray, draws: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Return every metric under every draw, the mean of the repeats.

    Parameters
    ----------
    proba : ndarray of shape (n_repeats, n_images, n_classes)
    y : ndarray of shape (n_images,)
    classes : ndarray of shape (n_classes,)
    draws : ndarray of shape (n_draws, n_images)

    Returns
    -------
    dict of (metric, class or "") to ndarray of shape (n_draws,)
    """
    repeats = [_measure_once(p, y, classes, draws) for p in proba]
    return {key: np.mean([r[key] for r in repeats], axis=0) for key in repeats[0]}


def _measure_once(
    proba: np.ndarray, y: np.ndarray, classes: np.ndarray, draws: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    k = len(classes)
    true = np.searchsorted(classes, y)
    cells = np.eye(k * k)[true * k + proba.argmax(axis=1)]
    confusion = (draws @ cells).reshape(len(draws), k, k)  # true class, predicted class
    found = np.einsum("dii->di", confusion)
    with np.errstate(invalid="ignore"):
        ppv = found / confusion.sum(axis=1)
        sensitivity = found / confusion.sum(axis=2)
    f1 = 2 * found / (confusion.sum(axis=1) + confusion.sum(axis=2))
    loss = -np.log(proba[np.arange(len(y)), true].clip(1e-15))
    result: dict[tuple[str, str], np.ndarray] = {
        ("balanced accuracy", ""): sensitivity.mean(axis=1),
        ("macro F1", ""): f1.mean(axis=1),
        ("AUC", ""): np.mean(
            [weighted_auc(true == c, proba[:, c], draws) for c in range(k)], axis=0
        ),
        ("log loss", ""): draws @ loss / draws.sum(axis=1),
    }
    for c, name in enumerate(classes):
        result["PPV", name] = ppv[:, c]
        result["sensitivity", name] = sensitivity[:, c]
        result["F1", name] = f1[:, c]
    return result


def intervals(measured: dict[str, dict]) -> pd.DataFrame:
    """Return a row per model, metric and class: value and 95 % interval."""
    return pd.DataFrame(
        [
            {"model": model, "metric": metric, "class": label, **_interval(values)}
            for model, metrics in measured.items()
            for (metric, label), values in metrics.items()
        ]
    )


def paired(measured: dict[str, dict], reference: str) -> pd.DataFrame:
    """Return each model less the reference, on the same draws."""
    return pd.DataFrame(
        [
            {"model": model, "reference": reference, "metric": metric, "class": label}
            | _interval(values - measured[reference][metric, label])
            for model, metrics in measured.items()
            for (metric, label), values in metrics.items()
            if model != reference and metric in OVERALL
        ]
    )


def _interval(values: np.ndarray) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), interval(values), strict=True))


# -- presentation -------------------------------------------------------------------------------


def spread(rows: pd.DataFrame, signed: bool = False) -> pd.DataFrame:
    """Return a line per model and a column per metric (and class), as text."""

    def cell(value: float) -> str:
        if np.isnan(value):
            return "–"
        text = f"{value:+.3f}" if signed else f"{value:.3f}"
        return text.replace("-", "−").replace("0.", ".", 1)

    cells = [
        f"{cell(v)} ({cell(a)} … {cell(b)})"
        for v, a, b in zip(rows["value"], rows["low"], rows["high"], strict=True)
    ]
    columns = [f"{c} {m}".strip() for m, c in zip(rows["metric"], rows["class"], strict=True)]
    table = pd.DataFrame({"model": rows["model"], "column": columns, "cell": cells})
    wide = table.pivot(index="model", columns="column", values="cell")
    return wide.loc[table["model"].unique(), table["column"].unique()]


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [line(["", *table.columns]), line(["---"] * (1 + len(table.columns)))]
    lines += [line([str(name), *row]) for name, row in zip(table.index, table.values, strict=True)]
    return "\n".join(lines)


def draw(metrics: pd.DataFrame, differences: pd.DataFrame, path: Path) -> None:
    """Draw macro F1, and differences to the two references, with their intervals.

    The dummy would squeeze all others into a corner.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metrics, differences = (rows[rows["model"] != "dummy"] for rows in (metrics, differences))
    parts = {"macro F1": metrics[metrics["metric"] == "macro F1"]}
    for reference in (SINGLE, BLANKED):
        chosen = (differences["reference"] == reference) & (differences["metric"] == "macro F1")
        parts[f"macro F1 less that of\n{reference}"] = differences[chosen]
    order = list(metrics["model"].unique())[::-1]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    for ax, (title, rows) in zip(axes, parts.items(), strict=True):
        where = [order.index(name) for name in rows["model"]]
        errors = np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
        ax.errorbar(rows["value"], where, xerr=errors, fmt="o", capsize=3)
        ax.set(title=title, yticks=range(len(order)), yticklabels=order)
        ax.grid(axis="x", alpha=0.3)
        ax.locator_params(axis="x", nbins=5)
    for ax in axes[1:]:
        ax.axvline(0, color="black", linewidth=0.8)
    figure.savefig(path, dpi=130)


# -- command line -------------------------------------------------------------------------------


def setting(text: str) -> tuple[str, Any]:
    """Read ``name=value``; a value that is no Python literal is text."""
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
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time")
    parser.add_argument("--report-only", action="store_true", help="of what has been fitted")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error("--data: expected a folder of class folders (or the variable CXR_DATA)")
    options.set = dict(options.set)
    comparison = Comparison(options)
    if not options.report_only:
        comparison.run()
    comparison.report()


if __name__ == "__main__":
    # by its importable name, which other processes can pickle; that of __main__ they cannot
    import compare_models

    compare_models.main()
