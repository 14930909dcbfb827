"""The published label files of COVIDx."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import NamedTuple

import pandas as pd
from sklearn.utils import Bunch

from .._images.formats import IMAGE_SUFFIXES
from ._columns import read_text
from ._file_search import check_file, check_folder, locate
from ._listed import Listing, check_on_missing, listed_bunch

# of every version published
LABELS = ("normal", "pneumonia", "COVID-19", "negative", "positive")


class _Row(NamedTuple):
    # (patient, file) as the words before the label can be divided, the likeliest first
    divisions: list[tuple[str, str]]
    label: str
    source: str


def read_covidx_labels(
    label_file: str | os.PathLike, *, labels: Sequence[str] | None = None
) -> pd.DataFrame:
    r"""Read a label file of COVIDx, of any version, without its images.

    Parameters
    ----------
    label_file : str or path
        Such as ``train_COVIDx9A.txt``: a line per image with patient, file, label and, except in
        old test files, the source, between blanks. Patients and files may have blanks in
        themselves (``COVID 1 COVID(1).png COVID-19 sirm``).
    labels : sequence of str, default=None
        The labels to look for, in the spelling to return; their case means nothing. By default
        those of the published files: normal, pneumonia, COVID-19, negative and positive.

    Returns
    -------
    frame : DataFrame
        The columns ``patient``, ``filename``, ``label`` and ``source``, of str, in the order of
        the file. ``source`` is ``""`` where there is none, and else as it is written.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a line has no label, or the file is no text or empty.

    See Also
    --------
    load_covidx : The same with the paths of the images.

    Notes
    -----
    The label is the first of `labels` that follows a word with an image's suffix. What stands
    before it is divided where patient and file agree but for punctuation, else after its first
    word.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import read_covidx_labels
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "train.txt"
    ...     text = "3 a.jpeg pneumonia cohen\nCOVID 1 COVID(1).png COVID-19 sirm\n"
    ...     _ = file.write_text(text)
    ...     read_covidx_labels(file)
       patient      filename      label source
    0        3        a.jpeg  pneumonia  cohen
    1  COVID 1  COVID(1).png   COVID-19   sirm
    """
    rows = [(*row.divisions[0], row.label, row.source) for row in _read(label_file, labels)]
    names = ["patient", "filename", "label", "source"]
    return pd.DataFrame(rows, columns=names, dtype=object)


def load_covidx(
    label_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    labels: Sequence[str] | None = None,
    on_missing: str = "raise",
) -> Bunch:
    r"""Load the paths, labels, patients and sources of COVIDx from its published label files.

    Parameters
    ----------
    label_file : str or path
        A label file of any version, such as ``train_COVIDx9A.txt``.
    image_root : str or path
        Folder of the images, which may be in folders below it.
    labels : sequence of str, default=None
        The labels to look for, see :func:`read_covidx_labels`.
    on_missing : {"raise", "list"}, default="raise"
        What to do if files do not exist: stop, or leave them out and list them in ``missing``.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        As :func:`load_xray_folder` returns it, in the order of the label file. ``frame`` has a
        column ``filename`` in addition to the common ones. Label sets differ by version, and so do
        the spellings of sources, which are kept as they are. Lines that name one file become one
        if their labels and sources agree. If their patients differ, as in version 4, these become
        one patient, so that no split can divide them; ``DESCR`` states how many.

    Raises
    ------
    OSError
        If the label file, the folder or images do not exist.
    ValueError
        If a line has no label, the lines of a file differ in label or source, or a name belongs to
        several files.

    See Also
    --------
    read_covidx_labels : The label file alone.
    patient_from_covidx : Patients from the names of the images.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import load_covidx
    >>> with TemporaryDirectory() as folder:
    ...     root = Path(folder)
    ...     text = "3 a.jpeg pneumonia cohen\nCOVID 1 COVID(1).png COVID-19 sirm\n"
    ...     _ = (root / "train.txt").write_text(text)
    ...     (root / "a.jpeg").touch()
    ...     bunch = load_covidx(root / "train.txt", root, on_missing="list")
    >>> bunch.target.tolist(), bunch.sources.tolist(), bunch.missing
    (['pneumonia'], ['cohen'], ['COVID(1).png'])
    """
    root = check_folder(image_root, "image_root", "a folder with the images")
    check_on_missing(on_missing)
    rows = _read(label_file, labels)
    found = locate(root, (name for row in rows for _, name in row.divisions))
    # if a line can be read in several ways, the file that exists decides
    taken = [next((d for d in row.divisions if found[d[1]]), row.divisions[0]) for row in rows]
    names = [name for _, name in taken]
    listing = Listing(
        names,
        labels=[row.label for row in rows],
        patients=[patient for patient, _ in taken],
        sources=[row.source for row in rows],
        extra=pd.DataFrame({"filename": pd.Series(names, dtype=object)}),
    )
    return listed_bunch(
        listing,
        root=root,
        where=os.fspath(label_file),
        on_missing=on_missing,
        joins_patients=True,
    )


def _read(label_file: str | os.PathLike, labels: Sequence[str] | None) -> list[_Row]:
    path = check_file(label_file, "label_file", "a label file of COVIDx")
    labels = LABELS if labels is None else labels
    if isinstance(labels, str) or not len(labels) or not all(map(_is_word, labels)):
        raise ValueError(f"labels={labels!r}; expected a list of words without blanks")
    spelling = {label.casefold(): label for label in labels}
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = _parse(line, spelling)
        if row is None:
            raise ValueError(
                f"{path}: line {number} has none of the labels {', '.join(labels)} after a patient "
                "and a file; expected <patient> <file> <label> <source>: name others by labels="
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no line with text; expected a label file of COVIDx")
    return rows


def _is_word(label: object) -> bool:
    return isinstance(label, str) and len(label.split()) == 1 and label == label.strip()


def _parse(line: str, spelling: dict[str, str]) -> _Row | None:
    """Return what a line says; None if it has no label."""
    words = list(re.finditer(r"\S+", line))
    # a patient and a file stand before it; counting fields fails where these have blanks
    places = [i for i, word in enumerate(words) if i > 1 and word.group().casefold() in spelling]
    if not places:
        return None
    named = [i for i in places if words[i - 1].group().lower().endswith(IMAGE_SUFFIXES)]
    at = named[0] if named else places[-1]
    head, source = words[:at], line[words[at].end() :].strip()
    label = spelling[words[at].group().casefold()]
    return _Row(_divisions(line, head), label, source)


def _divisions(line: str, head: list[re.Match]) -> list[tuple[str, str]]:
    """Return the ways to divide words into patient and file, the likeliest first."""
    start, end = head[0].start(), head[-1].end()
    ways = [(line[start : a.end()], line[b.start() : end]) for a, b in pairwise(head)]
    agreeing = [way for way in ways if _letters(way[0]) == _letters(PurePath(way[1]).stem)]
    return agreeing or ways


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()
