"""Load images from folders, one folder per class."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from .._images.formats import IMAGE_SUFFIXES, looks_like_image
from .._utils.files import sha256
from .._utils.messages import some
from ._bunch import make_bunch
from ._columns import as_strings
from ._file_search import (
    check_folder,
    curated_subfolders,
    relative_path,
    subfolders,
    visible_entries,
    visible_files,
)
from ._folder_metadata import ImageFile, Metadata, read_metadata
from ._option_check import check_option
from ._patients import nih_patient

LAYOUTS = ("auto", "class", "source/class")


def load_xray_folder(
    root: str | os.PathLike[str],
    *,
    patient_pattern: str | Callable[[str], str] | None = None,
    layout: str = "auto",
    content_hash: bool = False,
) -> Bunch:
    """Load the paths of chest X-rays that are sorted into one folder per class.

    Parameters
    ----------
    root : str or path
        Folder of class folders, ``root/<class>/<image>``, or of such folders of several sources,
        ``root/<source>/<class>/<image>``. Hidden files and folders are ignored. An additional
        file ``root/metadata.csv`` may describe the images: it has a column ``filename`` (a name,
        or a path relative to `root`) and any of ``label``, ``patient``, ``source``, ``view``,
        ``split``, ``age``, ``sex`` and others.
    patient_pattern : str or callable, default=None
        How to read patients that ``metadata.csv`` does not contain: a regular expression that is
        searched in the file name, and the first group of which is the patient, or a function from
        a path to its patient, such as :func:`patient_from_covidx`. By default the names of the
        NIH's files are recognised (``00001299_003.png`` is of the patient ``00001299``).
    layout : {"auto", "class", "source/class"}, default="auto"
        Meaning of the folders in `root`. By default they are sources if they contain no images
        themselves but folders with images, and classes otherwise. ``DESCR`` states the layout.
    content_hash : bool, default=False
        Whether ``frame`` gets a column ``sha256``. Every file is read for that.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        data : ndarray of shape (n_samples, 1), dtype object
            Paths, sorted by source, class and file name in the order of Unicode.
        target : ndarray of shape (n_samples,), of str
            The class folder of each file.
        groups : ndarray of shape (n_samples,), of str
            The patient of each file: from ``metadata.csv``, else by `patient_pattern`. If neither
            gives a patient, the file counts as a separate patient.
        sources : ndarray of shape (n_samples,), of str, or None
            The source folder of each file, or the source in ``metadata.csv``; ``""`` where it is
            unknown. None if it is unknown for all files.
        frame : DataFrame of n_samples rows
            The columns ``path``, ``label``, ``patient`` and ``source``, and those of
            ``metadata.csv`` under their own names (``original_path`` for one called ``path``).
        target_names : list of str
            The classes, sorted.
        ignored : list of str
            Files that were not loaded: files in class folders that are not images by suffix or
            content, folders in class folders, and images outside the class folders.
        ignored_reasons : list of str
            The reason for each of `ignored`.
        missing : list of str
            Files that ``metadata.csv`` names and that do not exist.
        DESCR : str
            Description of the data set: numbers of images, patients, classes and sources.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be read.
    ValueError
        If the folder contains no class folders with images, ``metadata.csv`` lacks the column
        ``filename`` or has contradictory rows for a file, or a parameter is invalid.

    See Also
    --------
    load_xray_table : Load images with the labels of a table.
    select_rows : Select images of a loaded data set.

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
    check_option("layout", layout, LAYOUTS)
    found_layout = _find_layout(root) if layout == "auto" else layout
    images, ignored = _find_images(root, found_layout)
    _check_is_parent_of_class_folders(root, len(images))
    _check_images_found(root, images, layout)
    metadata = read_metadata(root, images)
    if content_hash:
        metadata.extra["sha256"] = [sha256(image.path) for image in images]
    # The folder states the source where the layout has source folders.
    sources = []
    for image, source in zip(images, metadata.sources, strict=True):
        sources.append(image.source or source)
    return make_bunch(
        title=f"Chest X-rays from the folder {root.resolve().name!r}",
        paths=[str(image.path) for image in images],
        labels=[image.label for image in images],
        patients=_patients(root, images, metadata, patient_of),
        sources=sources,
        extra=metadata.extra,
        ignored=ignored,
        missing=metadata.missing,
        notes=_notes(root, layout, found_layout),
    )


def _notes(root: Path, layout: str, found_layout: str) -> list[str]:
    """Return lines of ``DESCR`` about the layout and the folders that are not loaded."""
    notes = [f"layout: {found_layout}"]
    if layout == "auto":
        notes[0] += ", as found"
    skipped = []
    for folder in _folders_above_classes(root, found_layout):
        skipped += [relative_path(path, root) for path in curated_subfolders(folder)]
    if skipped:
        notes.append(f"folders written by curate, skipped: {some(skipped)}")
    return notes


def _patients(
    root: Path,
    images: list[ImageFile],
    metadata: Metadata,
    patient_of: Callable[[str], str | None],
) -> list[str]:
    """Return the patient of each image: from the metadata, its name, or the whole path."""
    patients = []
    for image, patient in zip(images, metadata.patients, strict=True):
        if not patient:
            # An image of an unknown patient gets its own path, which no other image has. A split
            # by patients can then place it anywhere.
            patient = patient_of(str(image.path)) or relative_path(image.path, root)
        patients.append(patient)
    return patients


def _check_images_found(root: Path, images: list[ImageFile], layout: str) -> None:
    """Raise if the class folders contain no image."""
    if images:
        return
    name = root.resolve().name
    raise ValueError(
        f"root={os.fspath(root)!r} is invalid: it contains no class folder with images; "
        f"expected {name}/<class>/<image> or {name}/<source>/<class>/<image>, with the "
        f"suffixes {', '.join(IMAGE_SUFFIXES)} or in DICOM format. Correct the path, or "
        f"layout={layout!r}."
    )


def _check_is_parent_of_class_folders(root: Path, n_loaded: int) -> None:
    """Raise if `root` seems to be a class folder: most of its images are not in folders.

    Such a folder may contain folders, for example one of thumbnails, which are not classes.
    """
    n_images = sum(looks_like_image(path) for path in visible_files(root))
    if n_images > n_loaded:
        parent = os.fspath(root.resolve().parent)
        raise ValueError(
            f"root={os.fspath(root)!r} is invalid: it contains {n_images} images itself and "
            f"{n_loaded} in class folders, so it seems to be a class folder; expected a folder "
            f"with one folder per class. Pass its parent, {parent!r}, or move the images into "
            "class folders."
        )


def _patient_parser(pattern: Any) -> Callable[[str], str | None]:
    """Return a function from a path to its patient, or to None."""
    # Without a pattern, only names of the NIH's files are recognised.
    if pattern is None:
        return lambda path: nih_patient(Path(path).name)
    if callable(pattern):
        return lambda path: as_strings([pattern(path)])[0]
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"patient_pattern={pattern!r} is invalid: it is not a regular expression ({error}); "
            "expected one with a group around the patient. Pass, for example, '^(p[0-9]+)_'."
        ) from error
    if compiled.groups < 1:
        raise ValueError(
            f"patient_pattern={pattern!r} is invalid: it has no group; expected a group around the "
            "patient. Pass, for example, '^(p[0-9]+)_'."
        )

    def search(path: str) -> str | None:
        match = compiled.search(Path(path).name)
        if match is None:
            return None
        return match.group(1)

    return search


# -- layout ---------------------------------------------------------------------------------------


def _find_layout(root: Path) -> str:
    """Return "source/class" if images are two folders below `root`, and not one."""
    folders = subfolders(root)
    # One image directly in a folder is enough: a class may contain few images, and its folder may
    # contain other folders, which are ignored.
    if any(map(_has_image, folders)):
        return "class"
    for folder in folders:
        if any(map(_has_image, subfolders(folder))):
            return "source/class"
    return "class"


def _has_image(folder: Path) -> bool:
    return any(map(looks_like_image, visible_files(folder)))


def _folders_above_classes(root: Path, layout: str) -> list[Path]:
    """Return the folders in which no image is expected: `root`, and the source folders."""
    if layout == "class":
        return [root]
    return [root, *subfolders(root)]


def _class_folders(root: Path, layout: str) -> list[tuple[str, Path]]:
    """Return each class folder, with its source if the layout has source folders."""
    if layout == "class":
        return [("", folder) for folder in subfolders(root)]
    folders = []
    for source_folder in subfolders(root):
        for folder in subfolders(source_folder):
            folders.append((source_folder.name, folder))
    return folders


def _find_images(root: Path, layout: str) -> tuple[list[ImageFile], list[tuple[str, str]]]:
    """Return the images in class folders, and the other files with the reason to ignore them."""
    ignored = []
    # Images without a class cannot be used for training, so they are reported instead of loaded.
    for folder in _folders_above_classes(root, layout):
        for path in visible_files(folder):
            if looks_like_image(path):
                ignored.append((str(path), "outside the class folders"))
    images = []
    for source, folder in _class_folders(root, layout):
        for path in visible_entries(folder):
            if os.path.isdir(path):
                ignored.append((str(path), "a folder in a class folder"))
            elif looks_like_image(path):
                images.append(ImageFile(path, folder.name, source))
            else:
                ignored.append((str(path), "no image by suffix or content"))
    return images, ignored
