"""Forms of the argument DATA: the options of each form, and how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pandas as pd

from .output import echo

# Options of each form. Any other option raises an error.
FORMS: dict[str, tuple[str, ...]] = {
    "folder": (),
    "table": ("root", "path", "label", "patient", "source", "label_map", "skip_missing"),
    "nih": ("root", "label_map", "skip_missing"),
    "covidx": ("root", "skip_missing"),
    "dicom": ("labels", "label", "on", "salt"),
}
PREDICTION_FORMS: dict[str, tuple[str, ...]] = {
    "images": (),
    "list": ("root", "skip_missing"),
    **FORMS,
}
_FOLDERS = ("folder", "dicom")


def load(options: dict[str, Any]) -> Any:
    """Return the Bunch of DATA, and report which files were left out."""
    data = Path(options["data"])
    form = options["form"] or ("folder" if data.is_dir() else "table")
    _check_kind(form, data)
    _check_options(form, FORMS)
    bunch = _bunch(form, data, options)
    echo(bunch.DESCR, err=True)
    return bunch


def select(options: dict[str, Any]) -> pd.DataFrame:
    """Return the files to predict, with label, patient and source if these are known."""
    from .._images.formats import looks_like_image
    from ..datasets import _selection

    given = options["data"]
    data = Path(given[0])
    # A single file that is not an image is a list or a table of files.
    is_named = len(given) == 1 and data.is_file() and not looks_like_image(data)
    default = "list" if data.suffix.lower() == ".txt" else "table"
    form = options["form"] or (default if is_named else "images")
    _check_options(form, PREDICTION_FORMS)
    if form == "images":
        files, n_left_out, skipped = _selection.from_paths(given)
        if n_left_out:
            echo(f"files that are not images, left out: {n_left_out}", err=True)
        if skipped:
            echo(f"folders written by curate, skipped: {', '.join(skipped)}", err=True)
        return files
    if len(given) > 1:
        raise click.UsageError(f"--form {form}: DATA has {len(given)} values; expected one")
    _check_kind(form, data)
    root, skip = options["root"], options["skip_missing"]
    if form == "list":
        return _selection.from_list(str(data), root, skip_missing=skip)
    if form in ("table", "nih"):
        columns = {name: options[name] for name in ("path", "label", "patient", "source")}
        return _selection.from_table(
            str(data),
            root,
            columns=columns,
            required=[name for name in columns if _is_given(name)],
            is_nih=form == "nih",
            skip_missing=skip,
        )
    bunch = _bunch(form, data, options)
    echo(bunch.DESCR, err=True)
    return _selection.from_bunch(bunch)


def _bunch(form: str, data: Path, options: dict[str, Any]) -> Any:
    from .. import datasets

    on_missing = "list" if options["skip_missing"] else "raise"
    root = options["root"] or data.parent
    if form == "folder":
        return datasets.load_xray_folder(data)
    if form == "dicom":
        names = {name: options[name] for name in ("labels", "label", "on", "salt")}
        return datasets.load_dicom_folder(data, **names)
    if form == "covidx":
        return datasets.load_covidx(data, root, on_missing=on_missing)
    columns = {"preset": "nih"} if form == "nih" else _table_columns(data, options)
    return datasets.load_xray_table(
        data,
        root=root,
        **columns,
        label_map=options["label_map"] or None,
        on_missing=on_missing,
    )


def _table_columns(data: Path, options: dict[str, Any]) -> dict[str, str | None]:
    """Return the columns of a table. Patient and source are None unless they are given or exist."""
    from ..datasets._columns import read_table

    columns = {name: options[name] for name in ("path", "label", "patient", "source")}
    headings = read_table(data, "DATA").columns
    for name in ("patient", "source"):
        if not _is_given(name) and columns[name] not in headings:
            columns[name] = None
    return columns


def _check_kind(form: str, data: Path) -> None:
    """Raise if a form is for folders and DATA is a file, or the other way round."""
    if (form in _FOLDERS) != data.is_dir():
        found, other = ("folder", "file") if data.is_dir() else ("file", "folder")
        raise click.UsageError(f"--form {form}: DATA={str(data)!r} is a {found}, not a {other}")


def _check_options(form: str, forms: dict[str, tuple[str, ...]]) -> None:
    """Raise if an option is given that does not apply to the form of DATA."""
    context = click.get_current_context()
    for name in dict.fromkeys(name for names in forms.values() for name in names):
        if _is_given(name) and name not in forms[form]:
            others = ", ".join(other for other, names in forms.items() if name in names)
            raise click.UsageError(
                f"--{name.replace('_', '-')} does not apply to --form {form}; it is for {others}"
            )
        is_of_labels = form == "dicom" and name in ("label", "on")
        if _is_given(name) and is_of_labels and not context.params["labels"]:
            raise click.UsageError(f"--{name} does not apply without --labels")


def _is_given(name: str) -> bool:
    """Return whether an option is on the command line, and not a default or in the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE
