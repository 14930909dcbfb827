"""Files to predict: given one by one, in folders, or named by a list or a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from .._images.formats import looks_like_image
from ._columns import check_no_empty_cells, column_as_strings, read_table
from ._csv_files import read_text
from ._file_search import check_file, check_folder, files_below, locate
from ._missing_files import missing_files
from ._patients import nih_identifier
from ._table import NIH

# Columns of the result that describe a file, if they are known.
KNOWN = ("label", "patient", "source")
# Suffixes of lists and tables, which are not images.
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".list", ".gz", ".xlsx")


def from_paths(paths: Sequence[str]) -> tuple[pd.DataFrame, int, list[str]]:
    """Return images given one by one, and the images in folders, whatever their subfolders.

    Parameters
    ----------
    paths : sequence of str
        Files and folders.

    Returns
    -------
    files : DataFrame
        The column ``path``, each file once, whatever the spellings of its path. Files that are
        given themselves need not look like images.
    n_left_out : int
        Number of files in the folders that are not images.
    skipped : list of str
        Folders that ``curate`` has written, in the given folders. They are not read.

    Raises
    ------
    OSError
        If there is no image.
    ValueError
        If a folder is the output of ``curate``, or a file is a list or a table.
    """
    found: list[str] = []
    skipped: list[str] = []
    n_left_out = 0
    for path in paths:
        if not os.path.isdir(path):
            _check_not_text(path)
            found.append(path)
            continue
        folder = check_folder(path, "DATA", "images")
        below = [str(file) for file in files_below(folder, skipped)]
        images = [file for file in below if looks_like_image(file)]
        n_left_out += len(below) - len(images)
        found += images
    if not found:
        named = ", ".join(map(repr, paths))
        raise OSError(
            f"DATA={named} contains no image; expected files such as .png, .jpg or .dcm. Correct "
            "the path."
        )
    files = pd.DataFrame({"path": found}, dtype=object)
    return _each_once(files), n_left_out, list(dict.fromkeys(skipped))


def _check_not_text(path: str) -> None:
    if path.lower().endswith(_TEXT_SUFFIXES) and not looks_like_image(path):
        raise ValueError(
            f"DATA={path!r} is invalid: by its name it is a list or a table; expected images and "
            "folders. Predict a list or a table in a separate call, with --form list or --form "
            "table."
        )


def _each_once(files: pd.DataFrame) -> pd.DataFrame:
    """Drop rows that repeat another row, if paths of one file under several spellings are equal."""
    folders: dict[str, str] = {}
    keys = []
    for path in files["path"]:
        folder, name = os.path.split(path)
        # Only the folder is resolved, so that a link and the file it points to have a row each.
        if folder not in folders:
            folders[folder] = os.path.realpath(folder or os.curdir)
        keys.append(os.path.normcase(os.path.join(folders[folder], name)))
    return files[~files.assign(path=keys).duplicated()].reset_index(drop=True)


def from_list(
    path: str, root: str | os.PathLike[str] | None = None, *, skip_missing: bool = False
) -> pd.DataFrame:
    """Return the files that a text file names, one a line.

    Parameters
    ----------
    path : str
        Text file, in an encoding of :func:`~cxr_sklearn.datasets._csv_files.read_text`. Empty lines
        are ignored.
    root : str or path, default=None
        Folder of the files; by default the folder of the list.
    skip_missing : bool, default=False
        Whether to leave out files that do not exist, rather than raise.

    Returns
    -------
    files : DataFrame
        The column ``path``, each file once.
    """
    text = read_text(check_file(path, "DATA", "a text file with a path per line"))
    # splitlines would also split names that contain characters such as U+0085.
    names = [line.strip() for line in text.split("\n") if line.strip()]
    if not names:
        raise ValueError(
            f"DATA={path!r} is invalid: it names no file; expected a path per line. Add lines."
        )
    files = pd.DataFrame({"path": names}, dtype=object)
    return _existing(files, root, path, skip_missing)


def from_table(
    path: str,
    root: str | os.PathLike[str] | None = None,
    *,
    columns: dict[str, str | None],
    required: Sequence[str] = (),
    is_nih: bool = False,
    skip_missing: bool = False,
) -> pd.DataFrame:
    """Return the files that a CSV file names, and what it contains of label, patient and source.

    Parameters
    ----------
    path : str
        CSV file.
    root : str or path, default=None
        Folder of the files; by default the folder of the table.
    columns : dict of str to (str or None)
        Column of ``"path"``, ``"label"``, ``"patient"`` and ``"source"``. None, or a name that the
        table lacks, means that it is not known, except for the path.
    required : sequence of str
        Keys of `columns` whose column must exist.
    is_nih : bool, default=False
        Whether the table is the NIH's, which decides about `columns`.
    skip_missing : bool, default=False
        Whether to leave out files that do not exist, rather than raise.

    Returns
    -------
    files : DataFrame
        ``path``, and those of ``label``, ``patient`` and ``source`` that are known. Cells may be
        empty: a file needs no label to be predicted. Rows that are equal in all of these are one;
        a file has several rows where they differ.
    """
    columns = dict(NIH) if is_nih else columns
    table = read_table(path, "DATA", [name for name in columns.values() if name])
    required = list(columns) if is_nih else ["path", *required]
    known = {}
    for name, column in columns.items():
        if column is not None and (name in required or column in table):
            remedy = f"Pass one of these as --{name}."
            known[name] = column_as_strings(table, column, path, remedy)
    files = pd.DataFrame(known, dtype=object)
    if not len(files):
        raise ValueError(
            f"{path} is invalid: it has no rows; expected one row per image. Add rows."
        )
    check_no_empty_cells(files["path"], path, str(columns["path"]), "Remove these rows.")
    if is_nih:
        files["patient"] = list(map(nih_identifier, files["patient"]))
    return _existing(files, root, path, skip_missing)


def from_bunch(bunch: Bunch) -> pd.DataFrame:
    """Return the files of a Bunch, with label, patient and source where they are known.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch

    Returns
    -------
    files : DataFrame
        ``path``, ``label``, ``patient``, and ``source`` if it is known.
    """
    values = {"path": bunch.data[:, 0], "label": bunch.target, "patient": bunch.groups}
    if bunch.sources is not None:
        values["source"] = bunch.sources
    # A user may have replaced an array by a Series. Its index must not reorder the values.
    columns = {name: np.asarray(value) for name, value in values.items()}
    return pd.DataFrame(columns, dtype=object)


def _existing(
    files: pd.DataFrame, root: str | os.PathLike[str] | None, where: str, skip_missing: bool
) -> pd.DataFrame:
    """Return the rows whose file exists, with its path; raise if others are not to be skipped."""
    # A list in the output of curate is accepted, because its manifest names files elsewhere.
    if root is None:
        root = Path(where).parent
    else:
        root = check_folder(root, "root", "a folder with the images")
    found = locate(root, files["path"])
    exists = np.array([found[name] is not None for name in files["path"]])
    missing_files(files["path"], found, root, where, skip_missing, "--skip-missing")
    files = files[exists].reset_index(drop=True)
    files["path"] = [str(found[name]) for name in files["path"]]
    return _each_once(files)
