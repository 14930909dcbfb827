"""What every loader returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._columns import as_text

# the columns that every frame begins with
CORE = ("path", "label", "patient", "source")


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
        What every image has.
    sources : sequence of str, of length n, or None
        Empty where unknown.
    extra : DataFrame of n rows, or None
        Further columns of ``frame``. One that has the name of a column every frame has, and other
        content, is kept with ``original_`` before its name.
    ignored : iterable of (str, str)
        Path and reason of what was set aside.
    missing : iterable of str
        Files that a table names and that are not there.
    notes : iterable of str
        Further lines of ``DESCR``. They must not hold identifiers of patients.

    Returns
    -------
    bunch : Bunch

    Raises
    ------
    ValueError
        If a label or a source has a line break.
    """
    for what, values in (("label", labels), ("source", sources or [])):
        for value in set(values):
            if value.splitlines() not in ([value], []):
                raise ValueError(
                    f"the {what} {value!r} contains a line break; expected text in one line: "
                    "rename the folder, or correct the table"
                )
    ignored = sorted(ignored)
    known = sources is not None and any(sources)
    # object columns hold every file name, also one that is no valid text, with any pandas
    if sources is None:
        sources = [""] * len(paths)
    columns = (paths, labels, patients, sources)
    frame = pd.DataFrame(
        {n: pd.Series(list(c), dtype=object) for n, c in zip(CORE, columns, strict=True)}
    )
    if extra is not None:
        frame = pd.concat([frame, _beside_core(extra.reset_index(drop=True), frame)], axis=1)
    bunch = _aligned(frame, has_sources=known)
    bunch.update(
        ignored=[path for path, _ in ignored],
        ignored_reasons=[reason for _, reason in ignored],
        missing=list(missing),
    )
    reasons = Counter(bunch.ignored_reasons)
    aside = [f"set aside: {count} ({reason})" for reason, count in sorted(reasons.items())]
    if bunch.missing:
        aside.append(f"missing: {len(bunch.missing)} files")
    bunch.DESCR = "\n".join([f"{title}: {_summary(bunch)}", *notes, *aside])
    return bunch


def select_rows(bunch: Bunch, rows: Any) -> Bunch:
    """Restrict what a loader returned to some of its images, everything kept aligned.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
        From a loader of ``cxr_sklearn.datasets``.
    rows : array-like of bool of shape (n_samples,), or of int
        A mask, such as ``bunch.frame["view"] == "PA"``, or row numbers in the order wanted, such
        as ``bunch.frame.query("age >= 18").index``. Negative ones count from the end.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        With the same keys. ``frame`` is numbered from 0 again, ``target_names`` holds the classes
        that are left, ``ignored`` and ``missing`` are those of the whole, and ``DESCR`` tells both
        what was selected and what from. Keys that you added are left out. Where you have changed
        ``data``, ``target``, ``groups`` or ``sources``, ``frame`` follows them.

    Raises
    ------
    TypeError
        If `rows` is neither a mask nor row numbers, or `bunch` comes from elsewhere.
    ValueError
        If a mask has another length, a row is not there, or none is selected.

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
            f"bunch is {type(bunch).__name__} without frame and groups; expected what a loader of "
            "cxr_sklearn.datasets returns"
        )
    index = _row_numbers(rows, len(bunch.frame))
    # the arrays count: they are what users relabel
    current = {"path": bunch.data[:, 0], "label": bunch.target, "patient": bunch.groups}
    if bunch.sources is not None:
        current["source"] = bunch.sources
    frame = bunch.frame.assign(**{k: pd.Series(list(v), dtype=object) for k, v in current.items()})
    frame = frame.iloc[index].reset_index(drop=True)
    part = _aligned(frame, has_sources=bunch.sources is not None)
    part.update(
        ignored=list(bunch.ignored),
        ignored_reasons=list(bunch.ignored_reasons),
        missing=list(bunch.missing),
    )
    part.DESCR = (
        f"Selected {len(index)} of {len(bunch.frame)} rows: {_summary(part)}\n"
        f"Selected from:\n{bunch.DESCR}"
    )
    return part


def _aligned(frame: pd.DataFrame, *, has_sources: bool) -> Bunch:
    """Return the arrays that `frame` says, beside it."""
    target, groups, sources = (
        np.array(frame[name].tolist(), dtype=str) for name in ("label", "patient", "source")
    )
    return Bunch(
        data=frame["path"].to_numpy(dtype=object)[:, None],
        target=target,
        groups=groups,
        sources=sources if has_sources else None,
        frame=frame,
        target_names=sorted(set(target.tolist())),
    )


def _beside_core(extra: pd.DataFrame, core: pd.DataFrame) -> pd.DataFrame:
    """Drop columns that repeat the core, and rename those that only share a name with it."""
    for name in CORE:
        if name not in extra:
            continue
        if as_text(extra[name]) == core[name].tolist():
            extra = extra.drop(columns=name)
            continue
        other = f"original_{name}"
        while other in extra:
            other = f"original_{other}"
        extra = extra.rename(columns={name: other})
    return extra


def _summary(bunch: Bunch) -> str:
    lines = [f"{len(bunch.target)} images of {len(set(bunch.groups.tolist()))} patients."]
    for kind, values in (("", bunch.target), ("source ", bunch.sources)):
        if values is not None:
            counts = sorted(Counter(values.tolist()).items())
            lines += [f"{kind}{name or 'unknown'}: {count} images" for name, count in counts]
    return "\n".join(lines)


def _row_numbers(rows: Any, n: int) -> np.ndarray:
    array = np.asarray(rows)
    if array.dtype == bool and array.ndim == 1:
        if len(array) != n:
            raise ValueError(f"rows is a mask of {len(array)} values; expected {n}, one per image")
        array = np.flatnonzero(array)
    elif array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TypeError(
            f"rows is {type(rows).__name__} of {array.dtype} values; expected a mask (bool, one "
            "per image) or row numbers (int), without holes"
        )
    if array.size == 0:
        raise ValueError(f"rows selects none of {n} images; expected one or more")
    array = array.astype(np.intp)
    outside = array[(array < -n) | (array >= n)]
    if outside.size:
        raise ValueError(f"rows names row {outside[0]}; expected numbers from 0 to {n - 1}")
    return array
