"""Compare a model on whole images, on lung crops, on lungs alone and without the lungs.

    python benchmarks/lung_views.py --data FOLDER [--out FOLDER] [--external FOLDER]

ResNetOvO on EfficientNet-Lite0 (stage 7 and the head are trained) is cross-validated in five folds
by patient, on the class folders of ``--data`` in four forms:

- *whole image*: as the loader returns it;
- *lung crop*: cropped to the lungs by ``LungCrop`` with its default margin;
- *lungs only*: everything but the lungs has one grey level;
- *lungs blanked*: the box around the lungs has one grey level.

The tables contain the balanced accuracy with its 95 % interval by patient, the difference to
"lungs blanked" (paired), the energy of the maps inside the lungs on the test part of the first
fold, by area, and with ``--external`` the recall of each class on other class folders, by a model
that was fitted on all images of ``--data``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from efficientnet import lite0
from measuring import machine

from cxr_sklearn import ResNetOvO, XRayLoader
from cxr_sklearn.datasets import load_xray_folder
from cxr_sklearn.evaluation import Evaluation, compare, cross_evaluate
from cxr_sklearn.inspection import faithfulness
from cxr_sklearn.preprocessing import LungCrop
from cxr_sklearn.preprocessing._lung_regions import blank_lungs, keep_lungs

SIDE, N_FOLDS, N_RESAMPLES = 224, 5, 1000
BLANKED = "lungs blanked"
METRIC = "balanced_accuracy"


def views(paths: np.ndarray, jobs: int) -> dict[str, np.ndarray]:
    """Return the images in four forms, as rows of pixels."""
    rows = XRayLoader(image_size=SIDE, n_jobs=jobs).fit_transform(paths)
    images = rows.reshape(-1, SIDE, SIDE)
    return {
        "whole image": rows,
        "lung crop": LungCrop(image_size=SIDE, n_jobs=jobs).fit_transform(paths),
        "lungs only": keep_lungs(images).images.reshape(len(rows), -1),
        BLANKED: blank_lungs(images).images.reshape(len(rows), -1),
    }


def model(options: argparse.Namespace) -> ResNetOvO:
    """Return the unfitted model."""
    return ResNetOvO(
        backbone=lite0,
        weights=None,
        trainable="stage7",
        class_weight="balanced",
        lr=5e-4,
        lr_schedule="one_cycle",
        max_epochs=options.epochs,
        random_state=0,
    )


def evaluate_view(name: str, X: np.ndarray, bunch, options: argparse.Namespace) -> Evaluation:
    """Cross-validate the model on one form of the images."""
    found = cross_evaluate(
        {name: model(options)},
        X,
        bunch.target,
        groups=bunch.groups,
        cv=N_FOLDS,
        baselines=None,
        n_resamples=N_RESAMPLES,
        random_state=0,
    )
    row = found.overall.query("metric == @METRIC").iloc[0]
    print(f"{name}: {text_of(row, 'value', '.3f')}", flush=True)
    return found


def text_of(row: pd.Series, name: str, form: str) -> str:
    """Return a figure with its interval."""
    return f"{row[name]:{form}} ({row['low']:{form}} to {row['high']:{form}})"


def energy(X: np.ndarray, bunch, folds: np.ndarray, options: argparse.Namespace) -> str:
    """Return the energy inside the lungs on the test part of the first fold."""
    test = folds == 0
    fitted = model(options).fit(X[~test], bunch.target[~test], groups=bunch.groups[~test])
    result = faithfulness(
        fitted,
        X[test],
        target=bunch.target[test],
        groups=bunch.groups[test],
        n_random=options.random,
        random_state=0,
    )
    print(result, flush=True)
    row = result.frame.loc["energy in the lungs"]
    if not row["n_images"]:
        return "–"
    verdict = "" if result.is_informative else ", uninformative"
    return text_of(row, "value", ".2f") + verdict


def recalls(X: np.ndarray, bunch, other: np.ndarray, labels: np.ndarray, options) -> str:
    """Return the recall of each class on other images."""
    fitted = model(options).fit(X, bunch.target, groups=bunch.groups)
    predicted = fitted.predict(other)
    parts = []
    for label in np.unique(labels):
        is_class = labels == label
        right = int((predicted[is_class] == label).sum())
        parts.append(f"{label} {right} of {int(is_class.sum())}")
    return ", ".join(parts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--external")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--random", type=int, default=2, help="Networks with random weights.")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    bunch = load_xray_folder(options.data)
    forms = views(bunch.data, options.jobs)
    found = {name: evaluate_view(name, X, bunch, options) for name, X in forms.items()}
    differences = compare(*found.values(), reference=BLANKED, metrics=METRIC).frame
    rows = []
    for name, X in forms.items():
        figure = found[name].overall.query("metric == @METRIC").iloc[0]
        row = {"images": name, "balanced accuracy": text_of(figure, "value", ".3f")}
        gain = differences.query("model == @name")
        if len(gain):
            row["gain over lungs blanked"] = text_of(gain.iloc[0], "difference", "+.3f")
        row["energy in the lungs"] = energy(
            X, bunch, found[name].predictions["fold"].to_numpy(), options
        )
        rows.append(row)
    if options.external:
        other = load_xray_folder(options.external)
        others = views(other.data, options.jobs)
        for row in rows:
            name = row["images"]
            row["recall elsewhere"] = recalls(
                forms[name], bunch, others[name], np.asarray(other.target), options
            )
    table = pd.DataFrame(rows).fillna("–")
    text = f"{table.to_markdown(index=False)}\n\n{machine('torch')}"
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "table.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
