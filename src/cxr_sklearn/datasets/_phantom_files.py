"""Write synthetic radiographs to files, with flaws such as those of collected files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.utils import Bunch, check_random_state

from ._file_search import check_empty_folder
from ._folder import load_xray_folder
from ._phantoms import CLASSES, PIXEL_FLAWS, check_flaws, is_marked, make_chest_phantoms

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

    Without `confound` the classes differ only in the opacities of the lungs. Sources, views, ages
    and sexes are drawn independently of the class, and so are the numbers in file names. Each
    patient has one to three images of one class.

    Parameters
    ----------
    root : str or path
        Folder of the files, ``root/<class>/<image>``. It is created if it does not exist, and
        must be empty.
    n_samples, weights, image_size
        As in :func:`make_chest_phantoms`.
    confound : str, sequence of str, or None, default=None
        Flaws to plant. These mark 90 % of the COVID-19 images and 10 % of the others:

        - ``"border"`` and ``"exposure"``: as in :func:`make_chest_phantoms`.
        - ``"format"``: the image is a JPEG file instead of a PNG file.
        - ``"compression"``: the image is more strongly compressed. All images are JPEG files.

        These mark images in other ways:

        - ``"source"``: all COVID-19 images come from a hospital that has no other images.
        - ``"patient"``: a tenth of the patients have images of two classes.
        - ``"duplicates"``: a twentieth of the images are repeated under another name, and half of
          these in another class.
        - ``"age"``: the patients with pneumonia are children.
        - ``"view"``: COVID-19 images are anteroposterior (AP), as of patients who lie in bed, and
          all others are posteroanterior (PA).
        - ``"name"``: files are numbered class by class.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the random numbers that determine the files.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        The result of :func:`load_xray_folder` for `root`.

    Raises
    ------
    OSError
        If `root` is a file or a folder that is not empty.

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
    folder = check_empty_folder(root, "root")
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
    is_jpeg, quality = _encoding(frame["label"].to_numpy(), flaws, rng)
    for row, (label, name) in enumerate(zip(frame["label"], frame["filename"], strict=True)):
        path = folder / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(X[row].reshape(image_size, image_size))
        if is_jpeg[row]:
            image.save(path, "JPEG", quality=int(quality[row]))
        else:
            image.save(path, "PNG")
    frame.to_csv(folder / "metadata.csv", index=False)
    return load_xray_folder(folder)


def _metadata(y: np.ndarray, flaws: list[str], rng: np.random.RandomState) -> pd.DataFrame:
    """Return the columns of ``metadata.csv`` that describe the images."""
    n = len(y)
    is_covid = y == CLASSES[0]
    patients = _patients(y, flaws, rng)
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
            "patient": patients,
            "source": source,
            "view": view,
            "age": age,
            "sex": rng.choice(["F", "M"], n),
        }
    )


def _patients(y: np.ndarray, flaws: list[str], rng: np.random.RandomState) -> list[str]:
    """Return the patient of each image. Without the flaw, a patient has images of one class."""
    patients = np.empty(len(y), dtype=object)
    for label in CLASSES:
        rows = np.flatnonzero(y == label)
        n_images = rng.choice([1, 2, 3], len(rows), p=[0.7, 0.2, 0.1])
        # There are more patients than needed, since each of them has at least one image.
        numbers_in_class = np.repeat(np.arange(len(rows)), n_images)[: len(rows)]
        for row, number in zip(rows, numbers_in_class, strict=True):
            patients[row] = f"{label}-{number}"
    if "patient" in flaws:
        known = np.unique(patients.astype(str))
        moved = rng.choice(known, max(2, len(known) // 5), replace=False)
        for joined, kept in zip(moved[::2], moved[1::2], strict=False):
            patients[patients == joined] = kept
    # The names above contain the class. The pseudonyms of the files must not reveal it.
    numbers = rng.permutation(len(y)) + 1
    pseudonyms = {}
    for k, patient in enumerate(pd.unique(patients)):
        pseudonyms[patient] = f"p{numbers[k]:05d}"
    return [pseudonyms[patient] for patient in patients]


def _with_duplicates(
    frame: pd.DataFrame, X: np.ndarray, rng: np.random.RandomState
) -> tuple[pd.DataFrame, np.ndarray]:
    """Add copies of a twentieth of the images, every second one with another class."""
    rows = rng.choice(len(frame), max(2, len(frame) // 20), replace=False)
    copies = frame.iloc[rows].copy()
    labels, patients = [], []
    for k, label in enumerate(copies["label"]):
        if k % 2 == 0:
            label = CLASSES[(CLASSES.index(label) + 1) % len(CLASSES)]
        labels.append(label)
        # Other patients have numbers from 90,000 only in data sets of that many images.
        patients.append(f"p9{k:04d}")
    copies["label"] = labels
    copies["patient"] = patients
    # In collected data the two files of a pair rarely have the same pixels, because one of them
    # was exported a second time. Here it is a little lighter.
    lighter = np.clip(X[rows].astype(int) + 2, 0, 255).astype(np.uint8)
    return pd.concat([frame, copies], ignore_index=True), np.concatenate([X, lighter])


def _names(frame: pd.DataFrame, flaws: list[str], rng: np.random.RandomState) -> list[str]:
    """Return file names with numbers in random order, or in the order of the classes."""
    if "name" in flaws:
        # The first argsort sorts the images by class. The second returns the position of each
        # image in that order.
        order = np.argsort(np.argsort(frame["label"].to_numpy(), kind="stable"))
    else:
        order = rng.permutation(len(frame))
    # JPEG files have this suffix too, so that a check of formats must read the files, not only
    # their names.
    return [f"image{number:06d}.png" for number in order]


def _encoding(
    y: np.ndarray, flaws: list[str], rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each file is a JPEG file, and the quality of its compression."""
    is_jpeg = np.zeros(len(y), dtype=bool)
    quality = np.full(len(y), 90)
    if "format" in flaws:
        is_jpeg = is_marked(y, rng)
    if "compression" in flaws:
        is_jpeg[:] = True
        quality = np.where(is_marked(y, rng), 40, 90)
    return is_jpeg, quality
