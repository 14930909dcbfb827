"""Load COVIDx by its published label files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pandas as pd
from sklearn.utils import Bunch

from .._images.formats import IMAGE_SUFFIXES
from ._csv_files import read_text
from ._file_search import check_file, check_folder, locate
from ._image_rows import ImageRows
from ._missing_files import ON_MISSING
from ._option_check import check_option
from ._table_bunch import bunch_of_rows

# The labels of all published versions: versions with three classes and versions with two.
LABELS = ("normal", "pneumonia", "COVID-19", "negative", "positive")


class _Line(NamedTuple):
    """Content of a line of a label file."""

    # The pairs of patient and file into which the text before the label can be divided, the most
    # likely pair first.
    patients_and_files: list[tuple[str, str]]
    label: str
    source: str


def read_covidx_labels(
    label_file: str | os.PathLike[str], *, labels: Sequence[str] | None = None
) -> pd.DataFrame:
    r"""Read a label file of COVIDx, of any version, without the images.

    Use it to look at the classes, patients and sources of a version before you download its
    images.

    Parameters
    ----------
    label_file : str or path
        A file such as ``train_COVIDx9A.txt``. A line contains the patient, the file, the label
        and, except in old test files, the source of an image, with blanks between them. Patients
        and files may contain blanks themselves (``COVID 1 COVID(1).png COVID-19 sirm``).
    labels : sequence of str, default=None
        The labels to look for, in the spelling to return. Upper and lower case in the file are
        equal. By default the labels of the published files: normal, pneumonia, COVID-19, negative
        and positive.

    Returns
    -------
    frame : DataFrame
        The columns ``patient``, ``filename``, ``label`` and ``source``, of str, in the order of
        the file. ``source`` has the spelling of the file, and is ``""`` in lines without a source.

    Raises
    ------
    OSError
        If the file does not exist.
    ValueError
        If a line has no label, or the file is empty or not a text file.

    See Also
    --------
    load_covidx : The same with the paths of the images.

    Notes
    -----
    The label is the first of `labels` that follows a word with the suffix of an image. The text
    before it is divided into patient and file where the two agree except for punctuation. If they
    agree nowhere, it is divided after its first word.

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
    rows = []
    for line in _read_lines(label_file, labels):
        patient, filename = line.patients_and_files[0]
        rows.append((patient, filename, line.label, line.source))
    names = ["patient", "filename", "label", "source"]
    return pd.DataFrame(rows, columns=names, dtype=object)


def load_covidx(
    label_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    on_missing: str = "raise",
) -> Bunch:
    r"""Load the paths, labels, patients and sources of COVIDx from a published label file.

    The paths, labels and patients are the ``X``, ``y`` and ``groups`` of a classifier. The images
    are not opened.

    Parameters
    ----------
    label_file : str or path
        A label file of any version, such as ``train_COVIDx9A.txt``.
    image_root : str or path
        Folder of the images. They may be in folders below it.
    labels : sequence of str, default=None
        The labels to look for, see :func:`read_covidx_labels`.
    on_missing : {"raise", "list"}, default="raise"
        What to do if images do not exist: raise an error, or leave them out and list them in
        ``missing``.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        As :func:`load_xray_folder` returns it, in the order of the label file. ``frame`` has the
        additional column ``filename``. Label sets and spellings of sources differ between
        versions, and are not changed. Lines with the same file become one row if their labels and
        sources agree. If their patients differ, as in version 4, these patients become one, so
        that no split can divide them; ``DESCR`` contains their number.

    Raises
    ------
    OSError
        If the label file, the folder or images do not exist.
    ValueError
        If a line has no label, the lines of a file differ in label or source, or a name belongs to
        several files.

    See Also
    --------
    read_covidx_labels : Read a label file without the images.
    patient_from_covidx : Read patients from the names of the images.

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
    check_option("on_missing", on_missing, ON_MISSING)
    lines = _read_lines(label_file, labels)
    return bunch_of_rows(
        _image_rows(lines, root),
        root=root,
        where=os.fspath(label_file),
        on_missing=on_missing,
        joins_patients=True,
    )


def _image_rows(lines: list[_Line], root: Path) -> ImageRows:
    """Return the rows of a label file, with patient and file divided as the images suggest."""
    possible_names = []
    for line in lines:
        for _, name in line.patients_and_files:
            possible_names.append(name)
    found = locate(root, possible_names)

    names, patients = [], []
    for line in lines:
        # If a line can be divided in several ways, the file that exists decides.
        patient, filename = line.patients_and_files[0]
        for possible_patient, possible_name in line.patients_and_files:
            if found[possible_name]:
                patient, filename = possible_patient, possible_name
                break
        patients.append(patient)
        names.append(filename)
    return ImageRows(
        names,
        labels=[line.label for line in lines],
        patients=patients,
        sources=[line.source for line in lines],
        extra=pd.DataFrame({"filename": pd.Series(names, dtype=object)}),
    )


# -- label files ----------------------------------------------------------------------------------


def _read_lines(label_file: str | os.PathLike[str], labels: Sequence[str] | None) -> list[_Line]:
    """Return the lines of a label file that are not empty."""
    path = check_file(label_file, "label_file", "a label file of COVIDx")
    if labels is None:
        labels = LABELS
    _check_labels(labels)
    spellings = {label.casefold(): label for label in labels}
    lines = []
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        line = _parse(text, spellings)
        # The message does not quote the line, because it may identify a patient.
        if line is None:
            raise ValueError(
                f"{path} is invalid: line {number} contains none of the labels "
                f"{', '.join(labels)} after a patient and a file; expected <patient> <file> "
                "<label> <source>. Pass the labels of the file as labels=."
            )
        lines.append(line)
    if not lines:
        raise ValueError(
            f"{path} is invalid: the file contains no text; expected a label file of COVIDx. "
            "Download it again."
        )
    return lines


def _check_labels(labels: Any) -> None:
    # A string is a sequence of strings too, but its letters are not labels.
    is_list_of_words = (
        not isinstance(labels, str) and len(labels) > 0 and all(map(_is_word, labels))
    )
    if not is_list_of_words:
        raise ValueError(
            f"labels={labels!r} is invalid: it is not a list of words; expected a list of strings "
            "without blanks. Pass, for example, labels=['normal', 'pneumonia']."
        )


def _is_word(label: object) -> bool:
    return isinstance(label, str) and len(label.split()) == 1 and label == label.strip()


def _parse(text: str, spellings: dict[str, str]) -> _Line | None:
    """Return the content of a line, or None if it has no label."""
    words = list(re.finditer(r"\S+", text))
    # Counting the fields of a line fails where patient or file contain blanks, so the label is
    # found by its word. At least two words, a patient and a file, precede it.
    positions = []
    for position in range(2, len(words)):
        if words[position].group().casefold() in spellings:
            positions.append(position)
    if not positions:
        return None

    # The source may be spelled like a label, so the first word behind a file name is the label. If
    # no word has the suffix of an image, it is the last one, because the patient and the file may
    # be spelled like labels too.
    label_at = positions[-1]
    for position in positions:
        if words[position - 1].group().lower().endswith(IMAGE_SUFFIXES):
            label_at = position
            break
    label = spellings[words[label_at].group().casefold()]
    source = text[words[label_at].end() :].strip()
    return _Line(_patients_and_files(text, words[:label_at]), label, source)


def _patients_and_files(text: str, words: list[re.Match[str]]) -> list[tuple[str, str]]:
    """Return the ways to divide words into patient and file, the most likely way first."""
    start, end = words[0].start(), words[-1].end()
    divisions = []
    for last_of_patient, first_of_file in pairwise(words):
        patient = text[start : last_of_patient.end()]
        filename = text[first_of_file.start() : end]
        divisions.append((patient, filename))
    # Most patients are named like their files: COVID 1 and COVID(1).png.
    agreeing = []
    for patient, filename in divisions:
        if _letters(patient) == _letters(PurePath(filename).stem):
            agreeing.append((patient, filename))
    return agreeing or divisions


def _letters(text: str) -> str:
    """Return the letters and digits of a text in lower case."""
    return re.sub(r"[\W_]+", "", text).casefold()
