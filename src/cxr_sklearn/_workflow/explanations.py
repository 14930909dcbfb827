"""Write activation maps of image files as pictures, and their figures as a table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from .._utils.files import replace_file
from .._utils.values import is_blank, is_missing
from ..datasets._output_files import check_not_read
from ..inspection import ActivationMaps, ClassActivationDisplay, class_activation_map
from ..inspection._class_activation_map import explained_model
from ..inspection._explained_images import network_sized_images
from ..inspection._map_measures import energy_shares
from ..metrics._display_data import pyplot
from ..preprocessing._lung_segmentation import lung_masks, segment_lungs
from .pipeline import read_masked

TABLE = "explanations.csv"

_PICTURE_INCHES, _DOTS_PER_INCH = (8.0, 4.2), 100

# Letters of a file name that all systems accept, and their largest number.
_UNSAFE, _MOST_LETTERS = re.compile(r"[^A-Za-z0-9._-]+"), 60


@dataclass(frozen=True)
class ExplainOptions:
    """How images are explained.

    Attributes
    ----------
    target, versus : str or None
        Classes, as in :func:`class_activation_map`.
    method : str
    has_lungs : bool
        Whether the lungs are found and drawn.
    """

    target: str | None
    versus: str | None
    method: str
    has_lungs: bool


def check_explanations(folder: str | os.PathLike[str], inputs: Iterable[str]) -> None:
    """Raise if the folder of the pictures cannot be used. Call it before the computation.

    Parameters
    ----------
    folder : str or path
        Made if it does not exist.
    inputs : iterable of str
        Files and folders that are read.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the folder cannot be made, contains other files, or is inside of a folder of inputs,
        where the pictures would be read as radiographs; or if the table is an input.
    """
    pyplot()
    name = os.fspath(folder)
    real = Path(os.path.realpath(folder))
    inputs = list(inputs)
    check_not_read(real / TABLE, "--out", inputs)
    for read in inputs:
        source = Path(os.path.realpath(read))
        if source.is_dir() and (real == source or source in real.parents):
            raise OSError(
                f"--out {name!r} is invalid: it is inside of the input {os.fspath(read)!r}, where "
                "the pictures would be read as radiographs; expected another folder. Pass a folder "
                "outside of DATA."
            )
    try:
        real.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--out {name!r} could not be made ({error.strerror}); expected a folder, or the name "
            "of a new one in a folder that can be written. Pass another name."
        ) from error
    if any(real.iterdir()) and not (real / TABLE).exists():
        raise OSError(
            f"--out {name!r} is invalid: it contains other files; expected a new or an empty "
            "folder, or one of an earlier run. Pass another name."
        )


def check_not_inside(folder: str | os.PathLike[str], paths: Iterable[str]) -> None:
    """Raise if an image is in the folder of the pictures, which a picture could replace.

    Parameters
    ----------
    folder : str or path
    paths : iterable of str
        Images that are read.

    Raises
    ------
    OSError
    """
    real = os.path.realpath(folder)
    for path in paths:
        if os.path.dirname(os.path.realpath(path)) == real:
            raise OSError(
                f"--out {os.fspath(folder)!r} is invalid: it contains the image {path!r}, which a "
                "picture could replace; expected a folder without images of DATA. Pass another "
                "name."
            )


def patients_of(files: pd.DataFrame) -> np.ndarray | None:
    """Return the patient of each file, or None if the files have no patients.

    Parameters
    ----------
    files : DataFrame
        ``path``, and ``patient`` if it is known. Each file of an unknown patient is one of its own.
    """
    if "patient" not in files:
        return None
    known = [f"patient {name}" for name in files["patient"]]
    is_unknown = [is_missing(name) or is_blank(name) for name in files["patient"]]
    return np.where(is_unknown, "file " + files["path"].astype(str), known)


def write_explanations(
    pipeline: Pipeline,
    files: pd.DataFrame,
    folder: str | os.PathLike[str],
    options: ExplainOptions,
    batch: int,
    progress: Callable[[], Any],
) -> tuple[pd.DataFrame, np.ndarray]:
    """Write a picture per file, and a table of all.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        From :func:`load_pipeline`; its loader must have ``on_error="mask"``.
    files : DataFrame
        ``path``, and further columns, which are not used.
    folder : str or path
        Gets the pictures and ``explanations.csv``.
    options : ExplainOptions
    batch : int
        Number of files to read at a time.
    progress : callable
        Called after each file.

    Returns
    -------
    table : DataFrame of n_files rows
        The table that was written.
    X : ndarray
        Rows of pixels of the files that could be read.
    """
    loader, model = pipeline.named_steps["loader"], pipeline.named_steps["model"]
    records: list[dict[str, Any]] = []
    rows = []
    for start in range(0, len(files), batch):
        paths = files["path"].iloc[start : start + batch].tolist()
        X = read_masked(loader, [[path] for path in paths])
        reasons = {failure.row: failure.reason for failure in loader.failures_}
        readable = np.flatnonzero(loader.readable_)
        explained = _explained(model, X[readable], options) if len(readable) else None
        for row, path in enumerate(paths):
            record = {"path": path, "error": reasons.get(row, "")}
            if explained is not None and row not in reasons:
                place = int(np.searchsorted(readable, row))
                name = picture_name(start + row, path)
                explained.draw(place, Path(folder) / name)
                record |= explained.figures(place) | {"picture": name}
            records.append(record)
            progress()
        rows.append(X[readable])
    columns = ["path", *_COLUMNS, "picture", "error"]
    table = pd.DataFrame(records, columns=columns)
    with replace_file(Path(folder) / TABLE) as stream:
        text = table.to_csv(index=False, float_format="%.6f")
        stream.write(text.encode("utf-8", "backslashreplace"))
    return table, np.concatenate(rows)


_COLUMNS = ("target", "versus", "probability", "energy_in_lungs", "area_of_lungs")


@dataclass(frozen=True, eq=False)
class _Explained:
    """The maps of a batch of images.

    Attributes
    ----------
    found : ActivationMaps
    images : ndarray of shape (n, side, side)
    lungs : ndarray of shape (n, side, side), dtype bool, or None
    """

    found: ActivationMaps
    images: np.ndarray
    lungs: np.ndarray | None

    def figures(self, row: int) -> dict[str, Any]:
        """Return the figures of one image."""
        figures: dict[str, Any] = {
            "target": self.found.target[row],
            "versus": self.found.versus,
            "probability": self.found.probabilities[row],
        }
        if self.lungs is not None:
            part = slice(row, row + 1)
            figures["energy_in_lungs"] = energy_shares(self.found.maps[part], self.lungs[part])[0]
            figures["area_of_lungs"] = self.lungs[row].mean()
        return figures

    def draw(self, row: int, path: Path) -> None:
        """Write the radiograph, and the radiograph with its map, as a PNG file."""
        # Not through pyplot, whose state belongs to the user.
        from matplotlib.figure import Figure

        figure = Figure(figsize=_PICTURE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
        plain, mapped = figure.subplots(1, 2)
        part = slice(row, row + 1)
        lungs = None if self.lungs is None else self.lungs[part]
        ClassActivationDisplay(self._found(part), self.images[part], masks=lungs).plot(mapped)
        plain.imshow(self.images[row], cmap="gray", vmin=0, vmax=1)
        plain.set_axis_off()
        plain.set_title("radiograph, as the network gets it", fontsize=9)
        with replace_file(path) as stream:
            figure.savefig(stream, format="png")

    def _found(self, part: slice) -> ActivationMaps:
        found = self.found
        return ActivationMaps(
            maps=found.maps[part],
            probabilities=found.probabilities[part],
            target=found.target[part],
            versus=found.versus,
            method=found.method,
        )


def _explained(model: Any, X: np.ndarray, options: ExplainOptions) -> _Explained:
    found = class_activation_map(
        model, X, target=options.target, versus=options.versus, method=options.method
    )
    images = network_sized_images(*explained_model(model, X))
    lungs = None
    if options.has_lungs:
        lungs = lung_masks(segment_lungs(images), *images.shape[1:])
    return _Explained(found, images, lungs)


def picture_name(number: int, path: str) -> str:
    """Return the file name of a picture, which is unique, and which all systems accept."""
    stem = _UNSAFE.sub("_", Path(path).stem)[:_MOST_LETTERS].strip("._") or "image"
    return f"{number + 1:05d}_{stem}.png"
