"""Phantoms as image files, with the flaws that files have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.utils import Bunch, check_random_state

from ._folder import load_xray_folder
from ._phantoms import CLASSES, PIXEL_FLAWS, check_flaws, make_chest_phantoms, marked

FILE_FLAWS = ("format", "compression", "source", "patient", "duplicates", "age", "view", "name")
_SOURCES = ("hospital-a", "hospital-b")


def make_chest_phantom_files(
    root: str | os.PathLike[str],
    n_samples: int = 300,
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    image_size: int = 64,
    confound: str | Sequence[str] | None = None,
    random_state: Any = None,
) -> Bunch:
    """Write synthetic chest radiographs to a folder of class folders, with ``metadata.csv``.

    Without `confound` nothing but the opacities tells the classes apart: patients (one to three
    images each, of one class), sources, views, ages and sexes are drawn independently of the
    class, file names in random order.

    Parameters
    ----------
    root : str or path
        Where the files go, ``root/<class>/<image>``. Made if missing; must be empty.
    n_samples, weights, image_size
        As in :func:`make_chest_phantoms`.
    confound : str, sequence of str, or None, default=None
        Flaws to plant. Those of pixels, ``"border"`` and ``"exposure"``, and of files
        ``"format"`` and ``"compression"``, mark 90 % of the COVID-19 images and 10 % of the
        others: JPEG instead of PNG; JPEG throughout, more strongly compressed. The others:
        ``"source"``, COVID-19 comes from a hospital of its own; ``"patient"``, a tenth of the
        patients have images of two classes; ``"duplicates"``, a twentieth of the images stand a
        second time under another name, half of them in another class; ``"age"``, Pneumonia are
        children; ``"view"``, COVID-19 is taken lying (AP), the others standing (PA); ``"name"``,
        files are numbered class by class.
    random_state : int, RandomState instance or None, default=None
        Determines the files.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        What :func:`load_xray_folder` returns for `root`.

    Raises
    ------
    OSError
        If `root` is a file, or holds something.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import make_chest_phantom_files
    >>> with TemporaryDirectory() as root:
    ...     bunch = make_chest_phantom_files(root, 12, confound="source", random_state=0)
    >>> set(bunch.sources[bunch.target == "COVID-19"].tolist())
    {'hospital-c'}
    """
    flaws = check_flaws(confound, (*PIXEL_FLAWS, *FILE_FLAWS))
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        found = "files" if root.is_dir() else "a file"
        raise FileExistsError(f"root={str(root)!r}: found {found}; expected an empty folder")
    rng = check_random_state(random_state)
    X, y = make_chest_phantoms(
        n_samples,
        weights=weights,
        image_size=image_size,
        confound=[flaw for flaw in flaws if flaw in PIXEL_FLAWS],
        random_state=rng,
    )
    frame = _metadata(y, flaws, rng)
    if "duplicates" in flaws:
        frame, X = _with_duplicates(frame, X, rng)
    frame["filename"] = _names(frame, flaws, rng)
    jpeg, quality = _encoding(frame["label"].to_numpy(), flaws, rng)
    for row, (label, name) in enumerate(zip(frame["label"], frame["filename"], strict=True)):
        path = root / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(X[row].reshape(image_size, image_size))
        options = {"quality": int(quality[row])} if jpeg[row] else {}
        image.save(path, "JPEG" if jpeg[row] else "PNG", **options)
    frame.to_csv(root / "metadata.csv", index=False)
    return load_xray_folder(root)


def _metadata(y: np.ndarray, flaws: list[str], rng: np.random.RandomState) -> pd.DataFrame:
    """Return what is known of each image; patients have images of one class."""
    n = len(y)
    is_covid = y == CLASSES[0]
    patient = np.empty(n, dtype=object)
    for label in CLASSES:
        rows = np.flatnonzero(y == label)
        sizes = rng.choice([1, 2, 3], len(rows), p=[0.7, 0.2, 0.1])
        patient[rows] = [
            f"{label}-{k}" for k in np.repeat(np.arange(len(rows)), sizes)[: len(rows)]
        ]
    if "patient" in flaws:
        known = np.unique(patient.astype(str))
        moved = rng.choice(known, max(2, len(known) // 5), replace=False)
        for a, b in zip(moved[::2], moved[1::2], strict=False):
            patient[patient == a] = b
    numbers = rng.permutation(n) + 1
    coded = {name: f"p{numbers[k]:05d}" for k, name in enumerate(pd.unique(patient))}
    age = np.clip(rng.normal(52, 16, n).round(), 18, 95).astype(int)
    if "age" in flaws:
        age = np.where(y == "Pneumonia", rng.randint(0, 15, n), age)
    view = rng.choice(["AP", "PA"], n)
    if "view" in flaws:
        view = np.where(is_covid, "AP", "PA")
    source = rng.choice(_SOURCES, n).astype(object)
    if "source" in flaws:
        source[is_covid] = "hospital-c"
    return pd.DataFrame(
        {
            "label": y,
            "patient": [coded[name] for name in patient],
            "source": source,
            "view": view,
            "age": age,
            "sex": rng.choice(["F", "M"], n),
        }
    )


def _with_duplicates(
    frame: pd.DataFrame, X: np.ndarray, rng: np.random.RandomState
) -> tuple[pd.DataFrame, np.ndarray]:
    rows = rng.choice(len(frame), max(2, len(frame) // 20), replace=False)
    copies = frame.iloc[rows].copy()
    crossing = np.arange(len(rows)) % 2 == 0
    labels = copies["label"].to_numpy()
    others = [CLASSES[(CLASSES.index(label) + 1) % len(CLASSES)] for label in labels]
    copies["label"] = np.where(crossing, others, labels)
    copies["patient"] = [f"p9{k:04d}" for k in range(len(rows))]
    # the second file of a pair is rarely the same bits: exported again, a little lighter
    lighter = np.clip(X[rows].astype(int) + 2, 0, 255).astype(np.uint8)
    return pd.concat([frame, copies], ignore_index=True), np.concatenate([X, lighter])


def _names(frame: pd.DataFrame, flaws: list[str], rng: np.random.RandomState) -> list[str]:
    if "name" in flaws:
        order = np.argsort(np.argsort(frame["label"].to_numpy(), kind="stable"))
    else:
        order = rng.permutation(len(frame))
    # one suffix for both formats: header checks must read the file, not its name
    return [f"film{number:06d}.png" for number in order]


def _encoding(
    y: np.ndarray, flaws: list[str], rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return which files are JPEG, and their quality."""
    jpeg, quality = np.zeros(len(y), dtype=bool), np.full(len(y), 90)
    if "format" in flaws:
        jpeg = marked(y, rng)
    if "compression" in flaws:
        jpeg[:] = True
        quality = np.where(marked(y, rng), 40, 90)
    return jpeg, quality
