"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from joblib import cpu_count

from .data_forms import FORMS, PREDICTION_FORMS
from .output import echo


class _Jobs(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions
    """Number of threads, at most the number of cores. -1 stands for all cores."""

    name = "integer"

    def convert(self, value: Any, parameter: Any, context: Any) -> int:
        n = click.INT.convert(value, parameter, context)
        if n == 0 or n < -1:
            self.fail(f"{n}; expected 1 or more, or -1 for all cores", parameter, context)
        if n > cpu_count():
            echo(f"--jobs {n}: {cpu_count()} are used, one per core", err=True)
            return cpu_count()
        return n


def _label_map(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Return a dict from label to class."""
    # The last "=" separates them, because labels may contain one.
    pairs = [text.rpartition("=") for text in values]
    for text, (old, _, new) in zip(values, pairs, strict=True):
        if not old or not new:
            raise click.BadParameter(f"{text!r}; expected LABEL=CLASS")
        if sum(old == other for other, _, _ in pairs) > 1:
            raise click.BadParameter(f"{old!r} twice; expected one class for it")
    return {old: new for old, _, new in pairs}


def _form(forms: dict[str, Any], text: str) -> Callable[..., Any]:
    return click.option("--form", type=click.Choice(list(forms)), help=text)


_FILES = (
    click.option(
        "--root",
        type=click.Path(exists=True, file_okay=False),
        help="Folder of the files that a table names.  [default: that of the table]",
    ),
    click.option("--path", default="filename", show_default=True, help="Column of a CSV."),
    click.option("--label", default="label", show_default=True, help="Column of a CSV."),
)
_PATIENT_AND_SOURCE = tuple(
    click.option(
        f"--{name}", help=f"Column of a CSV.  [default: {name}, if the table has it]", default=name
    )
    for name in ("patient", "source")
)
_LABEL_MAP = click.option(
    "--label-map",
    multiple=True,
    callback=_label_map,
    metavar="LABEL=CLASS",
    help="Rename or merge labels of a CSV; others are left out. May be repeated.",
)
_REST = (
    click.option("--skip-missing", is_flag=True, help="Leave out files that do not exist."),
    click.option(
        "--labels",
        type=click.Path(exists=True, dir_okay=False),
        help="CSV of labels of DICOM files.  [default: their folders]",
    ),
    click.option(
        "--on",
        type=click.Choice(["path", "SOPInstanceUID", "StudyInstanceUID", "PatientID"]),
        default="path",
        show_default=True,
        help="Column by which --labels finds DICOM files.",
    ),
    click.option(
        "--salt",
        envvar="CXR_SKLEARN_SALT",
        show_envvar=True,
        help="Secret that makes the pseudonyms of DICOM patients the same each time.",
    ),
    click.option(
        "--jobs",
        type=_Jobs(),
        help="Threads that read files, at most one per core; audit fits its baselines in as many "
        "processes, at most 5.  [default: 1]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
_DATA = (
    click.argument("data", type=click.Path(exists=True)),
    _form(
        FORMS,
        "Form of DATA: class folders, a CSV file, the NIH's Data_Entry CSV, a COVIDx label file, "
        "or a folder of DICOM files described by their headers.  [default: folder or table]",
    ),
    *_FILES,
    *_PATIENT_AND_SOURCE,
    _LABEL_MAP,
    *_REST,
)
_PREDICTION_DATA = (
    click.argument("data", nargs=-1, required=True, type=click.Path(exists=True)),
    _form(
        PREDICTION_FORMS,
        "Form of DATA: image files and folders of any depth, a text file with a path per line, a "
        "CSV file, or what train reads.  [default: images, list for one .txt file, table for "
        "another file that is not an image]",
    ),
    *_FILES,
    *_PATIENT_AND_SOURCE,
    *_REST,
)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument DATA with its options to a command that needs labels."""
    return _with(command, _DATA)


def prediction_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument DATA with its options to a command that needs no labels."""
    return _with(command, _PREDICTION_DATA)


def _with(
    command: Callable[..., Any], options: tuple[Callable[..., Any], ...]
) -> Callable[..., Any]:
    # Decorators are applied from the last to the first, so that the help lists them in order.
    for option in reversed(options):
        command = option(command)
    return command


def literal(text: str) -> Any:
    """Return a JSON value (``0.5``, ``true``, ``null``), or the text itself.

    Python's ``None``, ``True`` and ``False`` are accepted as well.
    """
    try:
        return json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text
