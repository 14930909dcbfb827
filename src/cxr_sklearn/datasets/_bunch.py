"""Make the Bunch that every loader returns, and select rows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._columns import as_strings

# Every frame begins with these columns.
CORE_COLUMNS = ("path", "label", "patient", "source")


def make_bunch(
    *,
    title: str,
    paths: Sequence[str],
    labels: Sequence[str],
    patients: Sequence[str],
    sources: Sequence[str] | None = None,
    extra: pd.DataFrame | None = None,
    ignored: Iterable[tuple[str, str]] = (),
    missing: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Bunch:
    """Return the Bunch of a loader from one value per image.

    Parameters
    ----------
    title : str
        First words of ``DESCR``.
    paths, labels, patients : sequence of str, of length n
        Path, class and patient of each image.
    sources : sequence of str, of length n, or None
        Source of each image, empty if it is unknown.
    extra : DataFrame of n rows, or None
        More columns of ``frame``. A column that has the name of one of the columns of every frame,
        but other content, is kept under a name with the prefix ``original_``.
    ignored : iterable of (str, str)
        Path of each file that was not loaded, and the reason.
    missing : iterable of str
        Names of files that a table lists and that do not exist.
    notes : iterable of str
        More lines of ``DESCR``. They must not contain identifiers of patients.

    Returns
    -------
    bunch : Bunch

    Raises
    ------
    ValueError
        If a label or a source contains a line break.
    """
    _check_one_line("label", labels)
    _check_one_line("source", sources or [])
    has_sources = sources is not None and any(sources)
    if sources is None:
        sources = [""] * len(paths)
    frame = _core_frame(paths, labels, patients, sources)
    if extra is not None:
        extra = _without_core_names(extra.reset_index(drop=True), frame)
        frame = pd.concat([frame, extra], axis=1)

    bunch = _bunch_of_frame(frame, has_sources=has_sources)
    # The two lists are filled together, so that each reason belongs to the file at its position.
    bunch.ignored = []
    bunch.ignored_reasons = []
    for path, reason in sorted(ignored):
        bunch.ignored.append(path)
        bunch.ignored_reasons.append(reason)
    bunch.missing = list(missing)
    lines = [f"{title}: {_counts(bunch)}", *notes, *_counts_of_absent_files(bunch)]
    bunch.DESCR = "\n".join(lines)
    return bunch


def select_rows(bunch: Bunch, rows: Any) -> Bunch:
    """Return some of the images of a loaded data set, with labels, patients and sources.

    Use it to restrict a data set by what is known of the images, for example to one view or to
    adults: all arrays and the frame are selected together, so that they stay aligned.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
        Result of a loader of ``cxr_sklearn.datasets``.
    rows : array-like of bool of shape (n_samples,), or of int
        A mask, such as ``bunch.frame["view"] == "PA"``, or row numbers in the order in which the
        rows are returned, such as ``bunch.frame.query("age >= 18").index``. Negative row numbers
        count from the end.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        A new Bunch with the same keys. ``frame`` has a new index from 0, and ``target_names``
        contains the classes of the selected images. ``ignored`` and ``missing`` are unchanged, and
        ``DESCR`` describes both the selection and the original data set. Keys that you added are
        left out. If you have replaced ``data``, ``target``, ``groups`` or ``sources``, ``frame``
        contains the new values.

    Raises
    ------
    TypeError
        If `rows` is neither a mask nor row numbers, or `bunch` is not the result of a loader.
    ValueError
        If a mask has another length, a row does not exist, or no row is selected.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import load_xray_folder, select_rows
    >>> with TemporaryDirectory() as root:
    ...     for name in ["Normal/00000001_000.png", "Normal/00000001_001.png", "Pneumonia/a.png"]:
    ...         (Path(root) / name).parent.mkdir(exist_ok=True)
    ...         (Path(root) / name).touch()
    ...     bunch = load_xray_folder(root)
    >>> first = ~bunch.frame["patient"].duplicated()
    >>> select_rows(bunch, first).target.tolist()
    ['Normal', 'Pneumonia']
    """
    if not isinstance(getattr(bunch, "frame", None), pd.DataFrame) or "groups" not in bunch:
        raise TypeError(
            f"bunch is invalid: its type is {type(bunch).__name__}, without frame and groups; "
            "expected the result of a loader of cxr_sklearn.datasets. Pass what the loader "
            "returned."
        )
    numbers = _row_numbers(rows, len(bunch.frame))
    frame = _current_frame(bunch).iloc[numbers].reset_index(drop=True)
    selected = _bunch_of_frame(frame, has_sources=bunch.sources is not None)
    # Copies, so that a change of the selection does not change the original.
    for key in ("ignored", "ignored_reasons", "missing"):
        selected[key] = list(bunch[key])
    selected.DESCR = (
        f"Selected {len(numbers)} of {len(bunch.frame)} rows: {_counts(selected)}\n"
        f"Selected from:\n{bunch.DESCR}"
    )
    return selected


# -- frame and arrays -----------------------------------------------------------------------------


def _check_one_line(kind: str, values: Iterable[str]) -> None:
    # Labels and sources are headings of tables and parts of messages, which have one line each.
    for value in set(values):
        if value and value.splitlines() != [value]:
            raise ValueError(
                f"the {kind} {value!r} is invalid: it contains a line break; expected one line. "
                "Rename the folder, or correct the table."
            )


def _core_frame(
    paths: Sequence[str], labels: Sequence[str], patients: Sequence[str], sources: Sequence[str]
) -> pd.DataFrame:
    columns = {}
    for name, values in zip(CORE_COLUMNS, (paths, labels, patients, sources), strict=True):
        columns[name] = _object_column(values)
    return pd.DataFrame(columns)


def _object_column(values: Iterable[str]) -> pd.Series:
    # The string type of newer versions of pandas rejects file names that are not valid text.
    return pd.Series(list(values), dtype=object)


def _without_core_names(extra: pd.DataFrame, core: pd.DataFrame) -> pd.DataFrame:
    """Return `extra` without columns that repeat a core column; rename others of the same name."""
    for name in CORE_COLUMNS:
        if name not in extra:
            continue
        if as_strings(extra[name]) == core[name].tolist():
            extra = extra.drop(columns=name)
            continue
        new_name = f"original_{name}"
        while new_name in extra:
            new_name = f"original_{new_name}"
        extra = extra.rename(columns={name: new_name})
    return extra


def _current_frame(bunch: Bunch) -> pd.DataFrame:
    """Return the frame of a bunch with the values that its arrays have now.

    Users relabel images by changing the arrays, which leaves the frame as it was.
    """
    frame = bunch.frame.assign(
        path=_object_column(bunch.data[:, 0]),
        label=_object_column(bunch.target),
        patient=_object_column(bunch.groups),
    )
    if bunch.sources is not None:
        frame = frame.assign(source=_object_column(bunch.sources))
    return frame


def _bunch_of_frame(frame: pd.DataFrame, *, has_sources: bool) -> Bunch:
    """Return a Bunch of a frame and the arrays of its core columns."""
    target = np.array(frame["label"].tolist(), dtype=str)
    sources = None
    if has_sources:
        sources = np.array(frame["source"].tolist(), dtype=str)
    return Bunch(
        data=frame["path"].to_numpy(dtype=object)[:, None],
        target=target,
        groups=np.array(frame["patient"].tolist(), dtype=str),
        sources=sources,
        frame=frame,
        target_names=sorted(set(target.tolist())),
    )


# -- description ----------------------------------------------------------------------------------


def _counts(bunch: Bunch) -> str:
    """Return the number of images in total, of each class and of each source."""
    n_patients = len(set(bunch.groups.tolist()))
    lines = [f"{len(bunch.target)} images of {n_patients} patients."]
    for label, n_images in sorted(Counter(bunch.target.tolist()).items()):
        lines.append(f"{label or 'unknown'}: {n_images} images")
    if bunch.sources is not None:
        for source, n_images in sorted(Counter(bunch.sources.tolist()).items()):
            lines.append(f"source {source or 'unknown'}: {n_images} images")
    return "\n".join(lines)


def _counts_of_absent_files(bunch: Bunch) -> list[str]:
    """Return lines with the number of files that were not loaded, by reason."""
    lines = []
    for reason, n_files in sorted(Counter(bunch.ignored_reasons).items()):
        lines.append(f"set aside: {n_files} ({reason})")
    if bunch.missing:
        lines.append(f"missing: {len(bunch.missing)} files")
    return lines


# -- rows -----------------------------------------------------------------------------------------


def _row_numbers(rows: Any, n_images: int) -> np.ndarray:
    """Return the row numbers that a mask or an array of row numbers selects."""
    array = np.asarray(rows)
    if array.dtype == bool and array.ndim == 1:
        if len(array) != n_images:
            raise ValueError(
                f"rows is invalid: it is a mask of {len(array)} values for {n_images} images; "
                "expected one value per image. Compute the mask from bunch.frame."
            )
        array = np.flatnonzero(array)
    # The type of an empty list is float; it selects no rows, which is another error.
    elif array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TypeError(
            f"rows is invalid: its type is {type(rows).__name__}, of {array.dtype} values; "
            "expected a mask (bool, one per image) or row numbers (int), one-dimensional and "
            "without missing values. Use a condition such as bunch.frame['view'] == 'PA'."
        )
    if array.size == 0:
        raise ValueError(
            f"rows is invalid: it selects none of {n_images} images; expected one or more. Correct "
            "the condition or the row numbers."
        )
    array = array.astype(np.intp)
    outside = array[(array < -n_images) | (array >= n_images)]
    if outside.size:
        raise ValueError(
            f"rows is invalid: the row {outside[0]} does not exist; expected numbers from 0 to "
            f"{n_images - 1}. Take them from the index of bunch.frame."
        )
    return array
