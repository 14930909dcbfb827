"""Files that a table names, one value per row of it."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from sklearn.utils import Bunch

from .._images.formats import IMAGE_SUFFIXES
from .._utils.messages import some
from ._bunch import make_bunch
from ._columns import as_text
from ._file_search import files_below, locate, relative
from ._patients import patient_of_path

ON_MISSING = ("raise", "list")


def check_on_missing(on_missing: str) -> None:
    """Raise unless `on_missing` is one of its two values."""
    if on_missing not in ON_MISSING:
        raise ValueError(f"on_missing={on_missing!r}; expected 'raise' or 'list'")


@dataclass(frozen=True)
class Listing:
    """Columns of a table of images, one value per row.

    Parameters
    ----------
    names : sequence of str
        Files, see :func:`~cxr_sklearn.datasets._file_search.locate`.
    labels, patients : sequence of str
        An empty patient is found by the path, else each file is its own.
    sources : sequence of str, or None
        Empty where unknown.
    extra : DataFrame
        Further columns.
    """

    names: Sequence[str]
    labels: Sequence[str]
    patients: Sequence[str]
    sources: Sequence[str] | None
    extra: pd.DataFrame

    def take(self, rows: Sequence[int]) -> Listing:
        """Return some of the rows."""
        return Listing(
            [self.names[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.patients[row] for row in rows],
            None if self.sources is None else [self.sources[row] for row in rows],
            self.extra.iloc[list(rows)],
        )


def listed_bunch(
    listing: Listing,
    *,
    root: Path,
    where: str,
    on_missing: str,
    patient_of: Callable[[str], str] | None = None,
    joins_patients: bool = False,
    notes: Sequence[str] = (),
) -> Bunch:
    """Return the Bunch of files that a table names.

    Parameters
    ----------
    listing : Listing
        Several rows of one file become one if they agree in label, patient and source.
    root : Path
        Folder of the images.
    where : str
        The table, for messages.
    on_missing : {"raise", "list"}
        What to do about files that do not exist.
    patient_of : callable or None
        From a path to its patient; by default by the names of well-known collections.
    joins_patients : bool
        Whether patients who share an image become one patient. Otherwise that is an error.
    notes : sequence of str
        Further lines of ``DESCR``.

    Returns
    -------
    bunch : Bunch
    """
    found = locate(root, listing.names)
    listing, more = _one_row_per_file(listing, found, where, joins_patients)
    names = listing.names
    missing = missing_files(names, found, root, where, on_missing == "list", "on_missing='list'")
    listing = listing.take([row for row, name in enumerate(names) if found[name] is not None])
    paths = [path for name in listing.names if (path := found[name]) is not None]

    def patient(path: Path, name: str) -> str:
        found = patient_of(str(path)) if patient_of else patient_of_path(_seen_from(path, root))
        return str(found or name)

    return make_bunch(
        title=f"Chest X-rays of the table {Path(where).name!r}",
        paths=[str(path) for path in paths],
        labels=listing.labels,
        patients=[
            known or patient(path, name)
            for known, path, name in zip(listing.patients, paths, listing.names, strict=True)
        ],
        sources=listing.sources,
        extra=listing.extra,
        missing=missing,
        notes=[*notes, *more],
    )


def missing_files(
    names: Sequence[str],
    found: Mapping[str, Path | None],
    root: Path,
    where: str,
    may_lack: bool,
    option: str,
) -> list[str]:
    """Return the names of files that do not exist.

    Parameters
    ----------
    names : sequence of str
    found : mapping of str to Path or None
        From :func:`~cxr_sklearn.datasets._file_search.locate`.
    root : Path
    where : str
        The table or list, for messages.
    may_lack : bool
        Whether some files need not exist. One at least must.
    option : str
        How a user requests that, for messages.

    Returns
    -------
    missing : list of str

    Raises
    ------
    FileNotFoundError
    """
    missing = [name for name in names if found[name] is None]
    if missing and (not may_lack or len(missing) == len(names)):
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} files that {where} names are not below "
            f"{os.fspath(root)!r} ({some(missing)}); expected all, or with {option} some: "
            f"{_hint(missing, root)}"
        )
    return missing


def _seen_from(path: Path, root: Path) -> str:
    """Return `path` relative to `root` if it is below, else the whole path.

    A table may name files by absolute paths, which `root` need not contain, and `root` may be
    relative to the working directory.
    """
    if not path.is_relative_to(root):
        path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return relative(path, root) if path.is_relative_to(root) else path.as_posix()


def _hint(missing: Sequence[str], root: Path) -> str:
    """Return what to do about files that do not exist."""
    first = root.resolve().name
    if all(name.replace("\\", "/").split("/")[0] == first for name in missing):
        return f"the names begin with {first!r}, so pass the folder that contains it as root"
    images = (path for path in files_below(root) if path.suffix.lower() in IMAGE_SUFFIXES)
    example = next((relative(path, root) for path in images), None)
    if example is None:
        return "there is no image below this folder, so pass another as root"
    return f"compare the names with {some([example])}, which is there"


# -- several rows of one file -------------------------------------------------------------------


def _one_row_per_file(
    listing: Listing, found: Mapping[str, Path | None], where: str, joins_patients: bool
) -> tuple[Listing, list[str]]:
    """Return one row for each file, and lines about those that had several."""
    rows_of = defaultdict(list)
    for row, name in enumerate(listing.names):
        # without a file, as far as names can tell
        path = found[name] or posixpath.normpath(name)
        rows_of[os.path.normcase(path)].append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    if not several:
        return listing, []
    _check_agreement(listing, several, where, joins_patients)
    notes = [f"further rows of a file left out: {sum(map(len, several)) - len(several)}"]
    if joins_patients:
        patients, n_joined = _joined(listing.patients, several)
        listing = replace(listing, patients=patients)
        if n_joined:
            notes.append(f"patients who share an image with another and became one: {n_joined}")
    columns = _differing_columns(listing.extra, several)
    if columns:
        notes.append(f"columns left out, since rows of a file differ in them: {some(columns)}")
        listing = replace(listing, extra=listing.extra.drop(columns=columns))
    return listing.take([rows[0] for rows in rows_of.values()]), notes


def _check_agreement(
    listing: Listing, several: Sequence[Sequence[int]], where: str, joins_patients: bool
) -> None:
    """Raise if rows of one file contradict each other; no message names a patient."""
    values: dict[str, Sequence[str] | None] = {
        "file name": listing.names,
        "label": listing.labels,
        "patient": None if joins_patients else listing.patients,
        "source": listing.sources,
    }
    for what, cells in values.items():
        if cells is None:
            continue
        bad = [rows for rows in several if len({cells[row] for row in rows}) > 1]
        if bad:
            names = [" = ".join(dict.fromkeys(listing.names[row] for row in rows)) for rows in bad]
            raise ValueError(
                f"{where} has several rows for {len(bad)} files that differ in their {what} "
                f"({some(names)}); expected one row per image: combine these rows, or remove the "
                "wrong ones"
            )


def _differing_columns(extra: pd.DataFrame, several: Sequence[Sequence[int]]) -> list[str]:
    first = extra.iloc[[rows[0] for rows in several for _ in rows[1:]]]
    other = extra.iloc[[row for rows in several for row in rows[1:]]]
    return [name for name in extra if as_text(first[name]) != as_text(other[name])]


def _joined(patients: Sequence[str], several: Sequence[Sequence[int]]) -> tuple[list[str], int]:
    """Return patients of whom those with an image in common are one, and how many went."""
    one_of: dict[str, str] = {}

    def first(patient: str) -> str:
        while patient in one_of:
            patient = one_of[patient]
        return patient

    for rows in several:
        for row in rows[1:]:
            kept, other = first(patients[rows[0]]), first(patients[row])
            if kept != other:
                one_of[other] = kept
    return [first(patient) for patient in patients], len(one_of)
