"""The main job from end to end: ``python -m cxr_sklearn demo``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .._images.loader import XRayLoader
from .._models.one_vs_one import ResNetOvO
from .._utils.progress import progress_bar
from ..datasets import load_xray_folder, make_chest_phantoms
from ..evaluation import Evaluation, evaluate
from ..metrics import ConfusionDisplay
from .fit_bars import FitBars

_N_PHANTOMS = 3000
_DRAWN_SIZE = 128  # pixels, of phantoms and of the images in the figure
_CHUNK = 150  # images between two updates of a progress bar

# Heads on one frozen ResNet50, at 128 pixels. Without pretrained weights, its features are those of
# a random network, which a hidden layer can use. Training the whole network from scratch for the
# same minutes on two cores gave better results once, and useless ones once.
_TRAINING: dict[str, Any] = {"image_size": 128, "hidden_layer_sizes": (128,)}

_NEXT_STEPS = """\
next: cxr-sklearn audit FOLDER  checks your images, in one folder per class
      cxr-sklearn train FOLDER --out model.joblib  trains a model on them"""


def run_demo(folder: str | None, output: str, weights: str | None) -> None:
    """Train a model, test it, draw figures, save it and load it again.

    Each stage has one progress bar on the error output. The results are printed at the end.

    Parameters
    ----------
    folder : str or None
        Folder of class folders; None makes phantoms.
    output : str
        Folder for the figures and the model.
    weights : str or None
        ``"imagenet"`` or the path of a state dict; None leaves the frozen trunk as initialised.
    """
    start = time.perf_counter()
    if folder is not None:
        _check_output(folder, output)
    X, y, groups = _phantoms() if folder is None else _files(folder)
    # A quarter of the patients is the test set.
    split = StratifiedGroupKFold(4, shuffle=True, random_state=0).split(X, y, groups)
    train, test = next(split)
    print(
        f"training set: {len(train)} images of {len(set(groups[train]))} patients; "
        f"test set: {len(test)} images of {len(set(groups[test]))} other patients"
    )
    model = ResNetOvO(backbone="resnet50", weights=weights, **_TRAINING, random_state=0)
    _show_progress(model)
    model.fit(X[train], y[train], groups=groups[train])
    tested = {"ResNetOvO": _WithProgress(model)}
    evaluation = evaluate(tested, X[test], y[test], groups=groups[test], random_state=0)
    out = Path(output)
    out.mkdir(parents=True, exist_ok=True)
    figures = _draw(model, X[test], evaluation, out)
    saved = _save_and_reload(model, X[test], out)
    seconds = time.perf_counter() - start
    print(f"\nResNetOvO on the test set:\n\n{evaluation}\n")
    print(f"{figures}\n{saved}\n{_NEXT_STEPS}\nfinished in {seconds:.0f} s. For research only.")


def _check_output(folder: str, output: str) -> None:
    """Raise if the output would be read as a class of the input."""
    place = Path(os.path.realpath(output))
    if Path(os.path.realpath(folder)) in (place, *place.parents):
        raise OSError(
            f"--output={output!r} is inside the input {folder!r}, where its images would be read "
            "as a class; expected a folder outside the input. Pass another path."
        )


def _phantoms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    print(f"{_N_PHANTOMS} synthetic X-rays (pass a folder of class folders to use real ones)")
    images, labels = [], []
    with progress_bar(_N_PHANTOMS, "making X-rays", leave=True) as progress:
        for first in range(0, _N_PHANTOMS, _CHUNK):
            n = min(_CHUNK, _N_PHANTOMS - first)
            X, y = make_chest_phantoms(n, image_size=_DRAWN_SIZE, random_state=first)
            images.append(X)
            labels.append(y)
            progress.update(n)
    return np.concatenate(images), np.concatenate(labels), np.arange(_N_PHANTOMS).astype(str)


def _files(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bunch = load_xray_folder(folder)
    print(bunch.DESCR)
    return bunch.data, bunch.target, bunch.groups


def _show_progress(model: ResNetOvO) -> None:
    """Show the progress of the fit: a bar for the trunk, and one for all networks together."""
    if hasattr(model, "set_callbacks"):
        model.set_callbacks(FitBars())
    else:  # scikit-learn 1.8 has no callbacks
        model.set_params(verbose=1)


class _WithProgress:
    """A fitted model that shows a progress bar while it predicts."""

    def __init__(self, model: ResNetOvO) -> None:
        self._model = model
        self.classes_ = model.classes_

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities of the model."""
        parts = []
        with progress_bar(len(X), "predicting the test set", leave=True) as progress:
            for first in range(0, len(X), _CHUNK):
                part = X[first : first + _CHUNK]
                parts.append(self._model.predict_proba(part))
                progress.update(len(part))
        return np.concatenate(parts)


def _draw(model: ResNetOvO, X: np.ndarray, evaluation: Evaluation, out: Path) -> str:
    """Draw the confusion matrix and examples, and return a line about the files."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return "no figures: matplotlib is not installed (pip install 'cxr-sklearn[plot]')"
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(5, 4.2), layout="constrained")
        axes = figure.subplots()
        ConfusionDisplay.from_evaluation(evaluation, ax=axes)
        axes.set_title("ResNetOvO on the test set")
        figure.savefig(out / "confusion_matrix.png", dpi=120)
        predictions = evaluation.predictions
        true, predicted = predictions["true"].to_numpy(), predictions["prediction"].to_numpy()
        figure = _examples(model, X, true, predicted)
        figure.savefig(out / "examples.png", dpi=120)
    return f"figures: {out / 'confusion_matrix.png'}, {out / 'examples.png'}"


def _examples(model: ResNetOvO, X: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> Any:
    """Return a grid of up to four test images per class with their predictions."""
    from matplotlib.figure import Figure

    chosen = [np.flatnonzero(y == name)[:4] for name in model.classes_]
    index = np.concatenate(chosen)
    rows = X[index]
    if X.shape[1] == 1:  # a column of paths
        rows = XRayLoader(image_size=_DRAWN_SIZE).fit_transform(rows)
    images = dict(zip(index, rows.reshape(-1, _DRAWN_SIZE, _DRAWN_SIZE), strict=True))
    probabilities = dict(zip(index, model.predict_proba(X[index]).max(axis=1), strict=True))
    n_rows = len(chosen)
    figure = Figure(figsize=(7.2, 2.1 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, 4, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, members in zip(grid, chosen, strict=True):
        for axes, i in zip(row, members, strict=False):
            axes.imshow(images[i], cmap="gray", vmin=0, vmax=255)
            mark, colour = ("✓", "black") if predicted[i] == y[i] else ("✗", "firebrick")
            title = f"{y[i]}\n{mark} {predicted[i]} {probabilities[i]:.2f}"
            axes.set_title(title, color=colour, fontsize=8)
    return figure


_RELOAD = """\
import sys, joblib, numpy as np
folder = sys.argv[1]
model = joblib.load(folder + "/model.joblib")
rows, expected = joblib.load(folder + "/check.joblib")
found = model.predict_proba(rows)
print(f"largest difference of a probability: {np.abs(found - expected).max():.1e}")
sys.exit(not np.allclose(found, expected, atol=1e-4))
"""


def _save_and_reload(model: ResNetOvO, X: np.ndarray, out: Path) -> str:
    """Save the model, let another process predict with it, and return a line about it."""
    path, check = out / "model.joblib", out / "check.joblib"
    with progress_bar(2, "saving and loading the model", unit="steps", leave=True) as progress:
        if hasattr(model, "set_callbacks"):
            model.set_callbacks()  # none: they are not part of the saved model
        joblib.dump(model, path)
        joblib.dump((X[:32], model.predict_proba(X[:32])), check)
        progress.update()
        command = [sys.executable, "-c", _RELOAD, str(out)]
        try:
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        finally:
            check.unlink()
        progress.update()
    size = path.stat().st_size / 2**20
    return f"model: {path} ({size:.0f} MiB), loaded again; {done.stdout.strip()}"
