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
from ..datasets import load_xray_folder, make_chest_phantoms
from ..metrics import classification_table

_N_PHANTOMS = 3000
_DRAWN_SIZE = 128  # of phantoms, and of films in the picture

# heads on one frozen ResNet50 of 128 pixels: without pretrained weights its features are those of
# a random network, which a dense layer makes much of; training the whole network from scratch for
# the same minutes on two cores was better once and useless once
_TRAINING: dict[str, Any] = {"image_size": 128, "hidden_layer_sizes": (128,)}


def run_demo(folder: str | None, output: str, weights: str | None) -> None:
    """Train, judge, draw, save and reload a model.

    Parameters
    ----------
    folder : str or None
        Folder of class folders; None makes phantoms.
    output : str
        Folder for the pictures and the model.
    weights : str or None
        ``"imagenet"`` or the path of a state dict; None leaves the frozen trunk as initialised.
    """
    start = time.perf_counter()
    if folder is not None and Path(os.path.realpath(folder)) in (
        place := Path(os.path.realpath(output)),
        *place.parents,
    ):
        raise OSError(
            f"--output={output!r} is inside the input {folder!r}, where its images would be read "
            "as a class; expected a folder elsewhere: give another"
        )
    X, y, groups = _phantoms() if folder is None else _files(folder)
    # a quarter of the patients is set apart
    split = StratifiedGroupKFold(4, shuffle=True, random_state=0).split(X, y, groups)
    train, test = next(split)
    print(
        f"{len(train)} images of {len(set(groups[train]))} patients to train on, {len(test)} of "
        f"{len(set(groups[test]))} others to test on"
    )
    model = ResNetOvO(
        backbone="resnet50",
        weights=weights,
        **_TRAINING,
        random_state=0,
        verbose=1,
    )
    model.fit(X[train], y[train], groups=groups[train])
    predicted = model.predict(X[test])
    print(f"\n{classification_table(y[test], predicted)}\n")
    out = Path(output)
    out.mkdir(parents=True, exist_ok=True)
    _draw(model, X[test], y[test], predicted, out)
    _save_and_reload(model, X[test], out)
    print(f"done in {time.perf_counter() - start:.0f} s; for research only")


def _phantoms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    print(f"{_N_PHANTOMS} synthetic X-rays (pass a folder of class folders for real ones)")
    X, y = make_chest_phantoms(_N_PHANTOMS, image_size=_DRAWN_SIZE, random_state=0)
    return X, y, np.arange(len(y)).astype(str)


def _files(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bunch = load_xray_folder(folder)
    print(bunch.DESCR)
    return bunch.data, bunch.target, bunch.groups


def _draw(model: ResNetOvO, X: np.ndarray, y: np.ndarray, predicted: np.ndarray, out: Path) -> None:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        print("no pictures: matplotlib is not installed (pip install 'cxr-sklearn[plot]')")
        return
    from sklearn.metrics import ConfusionMatrixDisplay

    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(5, 4.2), layout="constrained")
        axes = figure.subplots()
        ConfusionMatrixDisplay.from_predictions(y, predicted, ax=axes, colorbar=False, cmap="Blues")
        axes.set_title("ResNetOvO, images of patients set apart")
        figure.savefig(out / "confusion_matrix.png", dpi=120)
        figure = _examples(model, X, y, predicted)
        figure.savefig(out / "examples.png", dpi=120)
    print(f"pictures: {out / 'confusion_matrix.png'}, {out / 'examples.png'}")


def _examples(model: ResNetOvO, X: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> Any:
    """Return a grid of up to four test images per class with their predictions."""
    from matplotlib.figure import Figure

    chosen = [np.flatnonzero(y == name)[:4] for name in model.classes_]
    index = np.concatenate(chosen)
    rows = (
        X[index] if X.shape[1] > 1 else XRayLoader(image_size=_DRAWN_SIZE).fit_transform(X[index])
    )
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
            right = predicted[i] == y[i]
            axes.set_title(
                f"{y[i]}\n{'✓' if right else '✗'} {predicted[i]} {probabilities[i]:.2f}",
                color="black" if right else "firebrick",
                fontsize=8,
            )
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


def _save_and_reload(model: ResNetOvO, X: np.ndarray, out: Path) -> None:
    """Save the model, and let another process predict with it."""
    path, check = out / "model.joblib", out / "check.joblib"
    joblib.dump(model, path)
    joblib.dump((X[:32], model.predict_proba(X[:32])), check)
    print(f"saved {path} ({path.stat().st_size / 2**20:.0f} MiB); a second process loads it:")
    sys.stdout.flush()
    try:
        subprocess.run([sys.executable, "-c", _RELOAD, str(out)], check=True)
    finally:
        check.unlink()
