"""Folders of images, a class each."""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from sklearn.utils import Bunch

from .._images.formats import IMAGE_SUFFIXES, looks_like_image
from .._utils.files import sha256
from .._utils.messages import some
from ._bunch import make_bunch
from ._columns import as_text, check_one_spelling, read_table, text_of, with_numbers
from ._file_search import check_folder, curated_in, folders_in, listing, relative
from ._patients import nih_patient

LAYOUTS = ("auto", "class", "source/class")


class _Film(NamedTuple):
    path: Path
    label: str
    source: str


def load_xray_folder(
    root: str | os.PathLike,
    *,
    patient_pattern: str | Callable[[str], str] | None = None,
    layout: str = "auto",
    content_hash: bool = False,
) -> Bunch:
    """Load the paths of chest X-rays that stand in one folder per class.

    Parameters
    ----------
    root : str or path
        Folder of class folders, ``root/<class>/<image>``, or of such folders of several sources,
        ``root/<source>/<class>/<image>``. Hidden files and folders are ignored. Beside them,
        ``root/metadata.csv`` may tell more: it has a column ``filename`` (a name, or a path
        relative to `root`) and any of ``label``, ``patient``, ``source``, ``view``, ``split``,
        ``age``, ``sex`` and others.
    patient_pattern : str or callable, default=None
        For files whose patient ``metadata.csv`` does not tell: a regular expression whose first
        group, searched for in a file's name, is the patient, or a function from a path to its
        patient, such as :func:`patient_from_covidx`. By default the NIH's names are known
        (``00001299_003.png`` is patient ``00001299``).
    layout : {"auto", "class", "source/class"}, default="auto"
        What the folders in `root` are. By default sources, if none of them holds an image and
        folders in them do; else classes. ``DESCR`` says which.
    content_hash : bool, default=False
        Whether ``frame`` gets a column ``sha256``, for which every file is read.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        data : ndarray of shape (n_samples, 1), dtype object
            Paths, in the order of source, class and file name, by code points.
        target : ndarray of shape (n_samples,), of str
            The class folder of each file.
        groups : ndarray of shape (n_samples,), of str
            The patient of each file: from ``metadata.csv``, else by `patient_pattern`, else each
            file its own.
        sources : ndarray of shape (n_samples,), of str, or None
            The source folder of each file, or what ``metadata.csv`` says; ``""`` where that says
            nothing. None if it is unknown for all.
        frame : DataFrame of n_samples rows
            The columns ``path``, ``label``, ``patient`` and ``source``, and those of
            ``metadata.csv`` under their own names (``original_path`` for one called ``path``).
        target_names : list of str
            The classes, sorted.
        ignored : list of str
            What was set aside: files in class folders that are no images by suffix or content,
            folders in class folders, and images beside the class folders.
        ignored_reasons : list of str
            Why, for each of `ignored`.
        missing : list of str
            Files that ``metadata.csv`` names and that are not there.
        DESCR : str
            What was found.

    Raises
    ------
    OSError
        If there is no such folder, or it cannot be read.
    ValueError
        If it holds no class folders with images, if ``metadata.csv`` lacks the column
        ``filename`` or contradicts itself about a file, or a parameter makes no sense.

    See Also
    --------
    load_xray_table : Labels in a table.
    select_rows : Restrict what a loader returned to some of its images.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import load_xray_folder
    >>> with TemporaryDirectory() as root:
    ...     for name in ["Normal/00000001_000.png", "Normal/00000001_001.png", "Pneumonia/a.png"]:
    ...         (Path(root) / name).parent.mkdir(exist_ok=True)
    ...         (Path(root) / name).touch()
    ...     bunch = load_xray_folder(root)
    >>> bunch.groups.tolist()
    ['00000001', '00000001', 'Pneumonia/a.png']
    """
    root = check_folder(root, "root", "a folder with one folder per class")
    patient_of = _patient_parser(patient_pattern)
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r}; expected one of {', '.join(map(repr, LAYOUTS))}")
    taken = _detected(root) if layout == "auto" else layout
    films, ignored = _scan(root, taken)
    _check_parent(root, len(films))
    if not films:
        raise ValueError(
            f"root={os.fspath(root)!r} holds no class folder with images; expected "
            f"{root.resolve().name}/<class>/<image> or "
            f"{root.resolve().name}/<source>/<class>/<image>, of the suffixes "
            f"{', '.join(IMAGE_SUFFIXES)} or DICOM: check layout={layout!r} too"
        )
    told, missing = _metadata(root, films)
    extra = with_numbers(told.drop(columns=["filename", "label", "patient", "source"]))
    if content_hash:
        extra["sha256"] = [sha256(film.path) for film in films]
    patients = [
        named or patient_of(str(film.path)) or relative(film.path, root)
        for named, film in zip(told["patient"], films, strict=True)
    ]
    notes = [f"layout: {taken}{', as found' if layout == 'auto' else ''}"]
    if skipped := _skipped(root, taken):
        notes.append(f"folders written by curate, skipped: {some(skipped)}")
    return make_bunch(
        title=f"Chest X-rays from the folder {root.resolve().name!r}",
        paths=[str(film.path) for film in films],
        labels=[film.label for film in films],
        patients=patients,
        sources=[f.source or named for f, named in zip(films, told["source"], strict=True)],
        extra=extra,
        ignored=ignored,
        missing=missing,
        notes=notes,
    )


def _check_parent(root: Path, n_loaded: int) -> None:
    """Raise if root looks like a class folder itself: most of its images are not in folders.

    Such a folder may have folders of its own, such as one of thumbnails, which are not classes.
    """
    n_images = sum(looks_like_image(path) for path in listing(root) if not os.path.isdir(path))
    if n_images > n_loaded:
        parent = root.resolve().parent
        raise ValueError(
            f"root={os.fspath(root)!r} contains {n_images} images itself and {n_loaded} in class "
            "folders, so it seems to be a class folder; expected a folder with one folder per "
            f"class: pass its parent, {os.fspath(parent)!r}, or move the images into class folders"
        )


def _patient_parser(pattern: Any) -> Callable[[str], str | None]:
    """Return a function from a path to its patient, or to None."""
    if pattern is None:
        return lambda path: nih_patient(Path(path).name)
    if callable(pattern):
        return lambda path: as_text([pattern(path)])[0]
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"patient_pattern={pattern!r} is no regular expression ({error})"
        ) from error
    if compiled.groups < 1:
        raise ValueError(
            f"patient_pattern={pattern!r} has no group; expected one around the patient, "
            "such as '^(p[0-9]+)_'"
        )

    def search(path: str) -> str | None:
        match = compiled.search(Path(path).name)
        return match.group(1) if match else None

    return search


def _has_image(folder: Path) -> bool:
    return any(looks_like_image(path) for path in listing(folder) if not os.path.isdir(path))


def _detected(root: Path) -> str:
    folders = folders_in(root)
    if any(map(_has_image, folders)):
        return "class"
    within = (inner for folder in folders for inner in folders_in(folder))
    return "source/class" if any(map(_has_image, within)) else "class"


def _skipped(root: Path, layout: str) -> list[str]:
    """Return the folders that curate has written where a layout has class or source folders."""
    outer = [root] if layout == "class" else [root, *folders_in(root)]
    return [relative(path, root) for folder in outer for path in curated_in(folder)]


def _scan(root: Path, layout: str) -> tuple[list[_Film], list[tuple[str, str]]]:
    """Return the images in class folders, and what else stands there, with the reason."""
    if layout == "class":
        outer, classes = [root], [("", folder) for folder in folders_in(root)]
    else:
        sources = folders_in(root)
        outer = [root, *sources]
        classes = [(s.name, folder) for s in sources for folder in folders_in(s)]
    beside = [path for folder in outer for path in listing(folder) if not os.path.isdir(path)]
    ignored = [(str(p), "beside the class folders") for p in beside if looks_like_image(p)]
    films = []
    for source, folder in classes:
        for path in listing(folder):
            if os.path.isdir(path):
                ignored.append((str(path), "a folder in a class folder"))
            elif looks_like_image(path):
                films.append(_Film(path, folder.name, source))
            else:
                ignored.append((str(path), "no image by suffix or content"))
    return films, ignored


# -- metadata.csv -----------------------------------------------------------------------------


def _metadata(root: Path, films: list[_Film]) -> tuple[pd.DataFrame, list[str]]:
    """Return the row of metadata.csv for each film, empty cells where it has none.

    Also the names in it of files that are not there.
    """
    own = ["filename", "label", "patient", "source"]
    path = root / "metadata.csv"
    if not path.is_file():
        return pd.DataFrame("", index=range(len(films)), columns=own, dtype=object), []
    table = read_table(path, "metadata.csv", own)
    names = text_of(table, "filename", str(path), "a column filename")
    for column in ("patient", "source"):
        if column in table:
            check_one_spelling(as_text(table[column]), f"{path}: the column {column!r}")
    table = table.reindex(columns=[*own, *(c for c in table if c not in own)], fill_value="")
    rows = defaultdict(list)
    for number, name in enumerate(names):
        if name:
            rows[posixpath.normpath(name)].append(number)
    chosen = [_row_of(film, root, rows, table, path) for film in films]
    there = {name for film in films for name in (film.path.name, relative(film.path, root))}
    missing = [name for name in rows if name not in there]
    return table.reindex(chosen, fill_value="").reset_index(drop=True), missing


def _row_of(
    film: _Film, root: Path, rows: dict[str, list[int]], table: pd.DataFrame, path: Path
) -> int:
    """Return the number of the film's row, -1 if it has none."""
    numbers = rows.get(relative(film.path, root)) or rows.get(film.path.name)
    if not numbers:
        return -1
    if len(numbers) == 1:  # also if it has another label: a folder may be named otherwise
        return numbers[0]
    for name, value in (("label", film.label), ("source", film.source)):
        cells = table[name].to_numpy()
        for wanted in (value, ""):
            if same := [number for number in numbers if cells[number] == wanted]:
                numbers = same
                break
    candidates = table.iloc[numbers].drop(columns=["label", "source"])
    differing = [name for name in candidates if candidates[name].nunique() > 1]
    if differing:
        raise ValueError(
            f"{path}: {film.path.name} has {len(numbers)} rows for the label {film.label!r} that "
            f"differ in {', '.join(differing)}; expected one row per file, labelled by its folder"
        )
    return numbers[0]
