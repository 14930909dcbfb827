"""Options that several commands share, and loading of what they name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class _Jobs(click.ParamType):
    """A number of threads; -1 for all cores."""

    name = "integer"

    def convert(self, value: Any, parameter: Any, context: Any) -> int:
        n = click.INT.convert(value, parameter, context)
        if n == 0:
            self.fail("0; expected 1 or more, or -1 for all cores", parameter, context)
        return n


JOBS = _Jobs()

# which options a form of DATA takes; any other that is given is a mistake
_FORMS: dict[str, tuple[str, ...]] = {
    "folder": (),
    "table": ("root", "path", "label", "patient", "source", "label_map", "skip_missing"),
    "nih": ("root", "label_map", "skip_missing"),
    "covidx": ("root", "skip_missing"),
    "dicom": ("labels", "label", "on", "salt"),
}


def _label_map(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict:
    pairs = [text.rpartition("=") for text in values]
    for text, (old, _, new) in zip(values, pairs, strict=True):
        if not old or not new:
            raise click.BadParameter(f"{text!r}; expected LABEL=CLASS")
        if sum(old == other for other, _, _ in pairs) > 1:
            raise click.BadParameter(f"{old!r} twice; expected one class for it")
    return {old: new for old, _, new in pairs}


_DATA = (
    click.argument("data", type=click.Path(exists=True)),
    click.option(
        "--form",
        type=click.Choice(list(_FORMS)),
        help="What DATA is: class folders, a CSV file, the NIH's Data_Entry CSV, a COVIDx label "
        "file, or a folder of DICOM files whose headers tell the rest.  [default: folder or table]",
    ),
    click.option(
        "--root",
        type=click.Path(exists=True, file_okay=False),
        help="Folder of the files that a table names.  [default: that of the table]",
    ),
    click.option("--path", default="filename", show_default=True, help="Column of a CSV."),
    click.option("--label", default="label", show_default=True, help="Column of a CSV."),
    click.option("--patient", help="Column of a CSV."),
    click.option("--source", help="Column of a CSV."),
    click.option(
        "--label-map",
        multiple=True,
        callback=_label_map,
        metavar="LABEL=CLASS",
        help="Rename or merge labels of a CSV; others are left out. May be repeated.",
    ),
    click.option("--skip-missing", is_flag=True, help="Leave out files that are not there."),
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
    click.option("--jobs", type=JOBS, default=None, help="Threads that read files.  [default: 1]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def data_options(command: Callable) -> Callable:
    for option in reversed(_DATA):
        command = option(command)
    return command


def load(options: dict[str, Any]) -> Any:
    """Return the Bunch of DATA, and say what was left out of it."""
    data = Path(options["data"])
    form = options["form"] or ("folder" if data.is_dir() else "table")
    _check_form(form, data)
    bunch = _loaded_as(form, data, options)
    click.echo(bunch.DESCR, err=True)
    return bunch


def _loaded_as(form: str, data: Path, options: dict[str, Any]) -> Any:
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
    columns = {name: options[name] for name in ("path", "label", "patient", "source")}
    return datasets.load_xray_table(
        data,
        root=root,
        **({"preset": "nih"} if form == "nih" else columns),
        label_map=options["label_map"] or None,
        on_missing=on_missing,
    )


def _check_form(form: str, data: Path) -> None:
    """Refuse options that the form of DATA does not take, rather than ignore them."""
    if (form in ("folder", "dicom")) != data.is_dir():
        found, other = ("folder", "file") if data.is_dir() else ("file", "folder")
        raise click.UsageError(f"--form {form}: DATA={str(data)!r} is a {found}, not a {other}")
    context = click.get_current_context()
    for name in dict.fromkeys(name for names in _FORMS.values() for name in names):
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in _FORMS[form]:
            forms = ", ".join(other for other, names in _FORMS.items() if name in names)
            raise click.UsageError(
                f"--{name.replace('_', '-')} is of no use with --form {form}; it is for {forms}"
            )
        if given and form == "dicom" and name in ("label", "on") and not context.params["labels"]:
            raise click.UsageError(f"--{name} is of no use without --labels")


def literal(text: str) -> Any:
    """Return a JSON value (``0.5``, ``true``, ``null``), or the text itself."""
    try:
        return json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text
