"""The command line: ``cxr-sklearn`` or ``python -m cxr_sklearn``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from tqdm import tqdm

from . import __version__, _preflight
from ._files import replace_file
from ._images import XRayLoader, all_unreadable
from .datasets._audit import SEVERITIES
from .exceptions import UnreadableImageWarning

MODELS = {
    "ovo": "ResNetOvO",
    "ovr": "ResNetOvR",
    "stacking": "ResNetStacking",
    "single": "ResNetClassifier",
}
_READ_AT_ONCE = 256
_LISTED = 20
_STEPS = ("loader", "guard", "model")
_EXIT_CODES = """
\b
Exit codes:
  0    done
  1    bad input, or the work failed; one line on the error output says why
  2    wrong usage
  3    audit --fail-on: there is a finding of that severity
  130  interrupted
"""


class _Program(click.Group):
    """Report what users can mend in one line, and exit as documented."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default", UserWarning)
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly
        except (OSError, ValueError, TypeError, MemoryError) as error:
            click.echo(f"error: {_one_line(error)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted; the same command, given again, starts or goes on", err=True)
            ctx.exit(130)


def _warn(message: Any, *rest: Any, **more: Any) -> None:
    click.echo(f"warning: {_one_line(message)}", err=True)


def _one_line(error: Any) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@click.group(cls=_Program, epilog=_EXIT_CODES, context_settings={"max_content_width": 96})
@click.version_option(__version__, prog_name="cxr-sklearn")
def main() -> None:
    """Classify chest X-rays with combined ResNets, and find out whether the data allow it.

    For research only: nothing here is a medical device.
    """


# -- what several commands share ----------------------------------------------------------------


class _Jobs(click.ParamType):
    """A number of threads; -1 for all cores."""

    name = "integer"

    def convert(self, value: Any, parameter: Any, context: Any) -> int:
        n = click.INT.convert(value, parameter, context)
        if n == 0:
            self.fail("0; expected 1 or more, or -1 for all cores", parameter, context)
        return n


_JOBS = _Jobs()

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
    click.option("--jobs", type=_JOBS, default=None, help="Threads that read files.  [default: 1]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def _data_options(command: Callable) -> Callable:
    for option in reversed(_DATA):
        command = option(command)
    return command


def _load(options: dict[str, Any]) -> Any:
    """Return the Bunch of DATA, and say what was left out of it."""
    data = Path(options["data"])
    form = options["form"] or ("folder" if data.is_dir() else "table")
    _check_form(form, data)
    bunch = _loaded_as(form, data, options)
    click.echo(bunch.DESCR, err=True)
    return bunch


def _loaded_as(form: str, data: Path, options: dict[str, Any]) -> Any:
    from . import datasets

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


def _check_place(file: str | None, *inputs: str | None) -> None:
    """Find out before the work whether its result can be written, and is none of its inputs."""
    if file is None:
        return
    for given in inputs:
        if given is not None and os.path.exists(file) and os.path.samefile(file, given):
            raise OSError(f"{file!r} is what is to be read; expected another file for the result")
    folder = Path(os.path.realpath(file)).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "a folder that cannot be written to" if folder.is_dir() else "no such folder"
        raise OSError(
            f"{file!r} cannot be written: {str(folder)!r} is {found}; expected a folder to write "
            "into: make it, or give another"
        )


@contextlib.contextmanager
def _progress(total: int, what: str) -> Iterator[Callable[[], Any]]:
    """Show a bar on the error output, if that is a terminal."""
    with tqdm(total=total, desc=what, unit=" files", disable=None, file=sys.stderr) as bar:
        yield lambda: bar.update()


def _print_json(value: Any) -> None:
    plain = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
    click.echo(json.dumps(plain, indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return json.loads(value.reset_index().to_json(orient="records"))
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


# -- audit and curate ---------------------------------------------------------------------------


@main.command(
    short_help="Find what lets a classifier succeed without seeing disease.",
    epilog="\b\nExample:\n  cxr-sklearn audit xrays/ --html audit.html --fail-on serious",
)
@_data_options
@click.option("--html", type=click.Path(dir_okay=False), help="Also write a page.")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    help="Exit with 3 if there is a finding of this severity or worse.",
)
def audit(html: str | None, fail_on: str | None, **options: Any) -> None:
    """Look for what lets a classifier succeed on DATA without seeing disease.

    DATA is a folder of class folders, a CSV file of file names and labels, or what --form says.
    """
    from .datasets import audit as run

    _check_place(html, options["data"], options["labels"])
    bunch = _load(options)
    click.echo(_preflight.reading(bunch, options["jobs"]), err=True)
    with _progress(len(bunch.data), "reading") as step:
        result = run(bunch, n_jobs=options["jobs"], progress=step)
    if html:
        result.to_html(html)
    if options["as_json"]:
        _print_json(
            {
                "images": result.n_images,
                "patients": result.n_patients,
                "unreadable": result.unreadable,
                "classes": result.classes,
                "cramers_v": {name: v for name, (v, _) in result.cramers_v.items()},
                "findings": [vars(finding) for finding in result.findings],
                "baselines": result.baselines,
            }
        )
    else:
        click.echo(str(result))
        for path, reason in result.unreadable.to_numpy()[:_LISTED]:
            click.echo(f"unreadable: {path}: {reason}")
        if len(result.unreadable) > _LISTED:
            click.echo(f"and {len(result.unreadable) - _LISTED} more: see --json")
    if fail_on is not None:
        failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        if any(finding.severity in failing for finding in result.findings):
            raise click.exceptions.Exit(3)


def _rule(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict:
    from .datasets import CurationRules

    known = CurationRules.__dataclass_fields__
    rules: dict[str, Any] = {}
    for text in values:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise click.BadParameter(
                f"{text!r}; expected NAME=VALUE, NAME one of {', '.join(known)}"
            )
        rules[name] = _literal(value)
    return rules


def _literal(text: str) -> Any:
    """Return a JSON value (``0.5``, ``true``, ``null``), or the text itself."""
    try:
        return json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text


@main.command(
    short_help="Sort images into kept, to review, and rejected.",
    epilog="\b\nExample:\n  cxr-sklearn curate xrays/ curated/ --rule min_side=150 "
    "--rule max_colour=None",
)
@_data_options
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@click.option("--link", is_flag=True, help="Symbolic links instead of copies.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    callback=_rule,
    metavar="NAME=VALUE",
    help="A limit of CurationRules; None switches it off. May be repeated.",
)
def curate(out: str, dry_run: bool, link: bool, rules: dict, **options: Any) -> None:
    """Sort the images of DATA into kept, to review, and rejected; write the first two to OUT."""
    from .datasets import CurationRules
    from .datasets import curate as run

    bunch = _load(options)
    copied_to = None if dry_run or link else out
    click.echo(_preflight.reading(bunch, options["jobs"], copied_to), err=True)
    with _progress(len(bunch.data), "reading") as step:
        result = run(
            bunch,
            out,
            rules=CurationRules(**rules),
            mode="link" if link else "copy",
            dry_run=dry_run,
            n_jobs=options["jobs"],
            progress=step,
        )
    if options["as_json"]:
        _print_json({"out": result.out, "files": result.manifest})
    else:
        click.echo(str(result))
        click.echo(f"\nwritten to {result.out}" if result.out else "\ndry run: nothing written")


# -- train and predict --------------------------------------------------------------------------


_WITH_OPTIONS = {
    "backbone": "--backbone",
    "weights": "--weights",
    "trainable": "--trainable",
    "image_size": "--image-size",
    "max_epochs": "--max-epochs",
    "memory": "--memory",
    "random_state": "--seed",
    "verbose": "--verbose",
}


def _setting(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    settings = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r}; expected NAME=VALUE")
        if name in _WITH_OPTIONS:
            raise click.BadParameter(
                f"{text!r}; {name} has an option of its own, {_WITH_OPTIONS[name]}"
            )
        found = _literal(value)
        settings[name] = tuple(found) if isinstance(found, list) else found
    return settings


@main.command(
    short_help="Train a model, judge it on patients set apart, and save it.",
    epilog="\b\nExample:\n  cxr-sklearn train xrays/ --out model.joblib --model ovo --set lr=3e-4 "
    '--set "hidden_layer_sizes=[128]"',
)
@_data_options
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="File of the model.")
@click.option("--model", type=click.Choice(list(MODELS)), default="ovo", show_default=True)
@click.option("--backbone", default="resnet50", show_default=True)
@click.option(
    "--weights", default="imagenet", show_default=True, help="imagenet, none, or a state dict."
)
@click.option("--trainable", default="head", show_default=True, help="First trained stage.")
@click.option("--image-size", type=click.IntRange(8), default=224, show_default=True)
@click.option("--max-epochs", type=click.IntRange(1), help="[default: the model's]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_setting,
    metavar="NAME=VALUE",
    help="Any other parameter of the model, as JSON. May be repeated.",
)
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 0.5),
    default=0.2,
    show_default=True,
    help="Share of patients to judge the model by, to the nearest 1/2, 1/3, 1/4, …; 0 for none.",
)
@click.option("--memory", type=click.Path(file_okay=False), help="Folder that keeps activations.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--verbose", "-v", is_flag=True, help="Print the loss of every epoch.")
def train(out: str, test_fraction: float, **options: Any) -> None:
    """Train a model on DATA, judge it on patients set apart, and save it.

    The file is a pipeline: a loader of files, a guard that warns of images unlike the training set
    (MeanRadiograph), and the model.
    """
    from sklearn.metrics import classification_report
    from sklearn.pipeline import Pipeline

    from .datasets import MeanRadiograph
    from .metrics import classification_table

    _check_place(out, options["data"], options["labels"], _file(options["weights"]))
    model = _model(options)
    bunch = _load(options)
    train_rows, test_rows = _split(bunch, test_fraction, options["seed"])
    loader = XRayLoader(image_size=options["image_size"], n_jobs=options["jobs"])
    click.echo(_preflight.training(bunch, train_rows, model, loader, out), err=True)
    X = _read(loader, bunch.data)
    guard = MeanRadiograph().fit(X[train_rows])
    model.fit(X[train_rows], bunch.target[train_rows], groups=bunch.groups[train_rows])
    summary: dict[str, Any] = {"model": str(out), "train_images": len(train_rows)}
    if len(test_rows):
        predicted = model.predict(X[test_rows])
        table = classification_table(bunch.target[test_rows], predicted)
        figures = classification_report(
            bunch.target[test_rows], predicted, output_dict=True, zero_division=np.nan
        )
        summary |= {"test_images": len(test_rows), "figures": figures}
    pipeline = Pipeline(list(zip(_STEPS, (loader, guard, model), strict=True)))
    with replace_file(out) as stream:
        joblib.dump(pipeline, stream)
    if options["as_json"]:
        _print_json(summary)
        return
    if len(test_rows):
        n_patients = len(set(bunch.groups[test_rows]))
        click.echo(f"\n{len(test_rows)} images of {n_patients} patients set apart:\n{table}")
    click.echo(f"\nsaved {out} ({Path(out).stat().st_size / 2**20:.0f} MiB)")


def _file(name: str) -> str | None:
    return name if os.path.isfile(name) else None


def _read(loader: Any, paths: np.ndarray) -> np.ndarray:
    """Return the rows of all files, read some hundreds at a time, which a bar shows."""
    rows = np.empty((len(paths), loader.image_size**2), np.uint8)
    masking = clone(loader).set_params(on_error="mask").fit(paths)
    failures = []
    with _progress(len(paths), "reading") as step:
        for start in range(0, len(paths), _READ_AT_ONCE):
            part = paths[start : start + _READ_AT_ONCE]
            rows[start : start + len(part)] = _rows(masking, part)
            failures += masking.failures_
            for _ in part:
                step()
    if failures:  # all of them, as the loader itself would name them
        raise all_unreadable(failures, len(paths))
    loader.fit(paths)
    return rows


def _rows(loader: Any, paths: Any) -> np.ndarray:
    """Return what a loader that masks makes of files, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableImageWarning)
        return loader.transform(paths)


def _model(options: dict[str, Any]) -> Any:
    import cxr_sklearn

    kind = getattr(cxr_sklearn, MODELS[options["model"]])
    known = kind().get_params()
    settings = dict(options["settings"])
    for name in settings:
        if name not in known:
            raise ValueError(
                f"--set {name}: no parameter of {kind.__name__}; see its documentation"
            )
    if options["max_epochs"] is not None:
        settings["max_epochs"] = options["max_epochs"]
    model = kind(
        **{
            "backbone": options["backbone"],
            "weights": None if options["weights"].lower() == "none" else options["weights"],
            "trainable": options["trainable"],
            "image_size": options["image_size"],
            "memory": options["memory"],
            "random_state": options["seed"],
            "verbose": int(options["verbose"]),
            **settings,
        }
    )
    model._validate_params()  # now, rather than when all files have been read
    return model


def _split(bunch: Any, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Set patients apart, in the shares of the classes, each of them in both parts."""
    from sklearn.model_selection import StratifiedGroupKFold

    rows = np.arange(len(bunch.data))
    if not fraction:
        return rows, rows[:0]
    n = max(2, round(1 / fraction))
    if len(set(bunch.groups)) >= n:
        cv = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of scarce classes; see below
            with contextlib.suppress(ValueError):
                for parts in cv.split(rows, bunch.target, bunch.groups):
                    if all(set(bunch.target[part]) == set(bunch.target) for part in parts):
                        return parts
    patients = pd.Series(bunch.groups).groupby(np.asarray(bunch.target)).nunique()
    counts = ", ".join(f"{label} {count}" for label, count in patients.items())
    raise ValueError(
        f"--test-fraction {fraction:g}: no part of the patients has every class and leaves some of "
        f"each to learn from (patients per class: {counts}); expected 2 or more patients of each: "
        "add some, give another fraction, or 0 for no test"
    )


@main.command(
    short_help="Write a model's probabilities for a folder of images.",
    epilog="\b\nExample:\n  cxr-sklearn predict model.joblib new_xrays/ --out predictions.csv",
)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="CSV file.")
@click.option(
    "--batch", type=click.IntRange(1), default=_READ_AT_ONCE, show_default=True, help="Files read."
)
@click.option("--jobs", type=_JOBS, default=None, help="Threads that read files.  [default: 1]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(model: str, folder: str, out: str, batch: int, jobs: int | None, as_json: bool) -> None:
    """Write the probabilities that MODEL gives the images in FOLDER, whatever its subfolders.

    A row per file: path, probability of each class, prediction, and likeness: the correlation with
    the mean of the training images, below 0.3 for what is no upright chest film. For a file that
    could not be read there is an error instead.

    A model file is a pickle and can run any code: load none that you do not trust.
    """
    from ._decode import looks_like_image
    from .datasets._files import files_below

    found = [str(path) for path in files_below(folder)]
    paths = [path for path in found if looks_like_image(path)]
    if not paths:
        raise OSError(
            f"FOLDER={folder!r} holds no image; expected files such as .png, .jpg or .dcm"
        )
    _check_place(out, model)
    pipeline = _loaded(model)
    loader, guard, classifier = (pipeline.named_steps[name] for name in _STEPS)
    loader.set_params(on_error="mask", n_jobs=jobs)

    def predicted(some: list[str]) -> pd.DataFrame:
        return _predictions(loader, guard, classifier, some)

    click.echo(_preflight.predicting(paths, classifier, predicted, batch, out), err=True)
    failed = unlike = 0
    with replace_file(out) as stream, _progress(len(paths), "predicting") as step:
        for start in range(0, len(paths), batch):
            part = paths[start : start + batch]
            table = predicted(part)
            failed += int((table["error"] != "").sum())
            unlike += int((table["likeness"] < guard.offset_).sum())
            text = table.to_csv(index=False, header=start == 0, float_format="%.6f")
            stream.write(text.encode("utf-8", "backslashreplace"))
            for _ in part:
                step()
    if as_json:
        _print_json({"out": out, "images": len(paths), "unreadable": failed, "unlike": unlike})
    else:
        click.echo(f"{len(paths) - failed} of {len(paths)} images predicted; written to {out}")
    if len(found) > len(paths):
        click.echo(f"files that are no images, left out: {len(found) - len(paths)}", err=True)
    if failed:
        click.echo(f"warning: {failed} files could not be read: see the column error", err=True)
    if unlike:
        click.echo(
            f"warning: {unlike} images are unlike those of training (likeness below "
            f"{guard.offset_:g}), and their predictions mean little: see the column likeness",
            err=True,
        )


def _loaded(path: str) -> Any:
    from sklearn.pipeline import Pipeline

    try:
        pipeline = joblib.load(path)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"MODEL={path!r} could not be loaded ({type(error).__name__}); expected a file that "
            "cxr-sklearn train wrote"
        ) from error
    is_ours = isinstance(pipeline, Pipeline) and tuple(pipeline.named_steps) == _STEPS
    if not is_ours or not hasattr(pipeline.named_steps["model"], "classes_"):
        raise ValueError(
            f"MODEL={path!r} holds a {type(pipeline).__name__}; expected a file that cxr-sklearn "
            "train wrote"
        )
    return pipeline


def _predictions(loader: Any, guard: Any, classifier: Any, paths: list[str]) -> pd.DataFrame:
    X = _rows(loader, [[path] for path in paths])
    readable = loader.readable_
    columns = [f"p_{name}" for name in classifier.classes_]
    proba = np.full((len(paths), len(columns)), np.nan)
    likeness = np.full(len(paths), np.nan)
    label = np.full(len(paths), "", dtype=object)
    if readable.any():
        proba[readable] = classifier.predict_proba(X[readable])
        likeness[readable] = guard.score_samples(X[readable])
        label[readable] = classifier.classes_[proba[readable].argmax(axis=1)]
    errors = {failure.row: failure.reason for failure in loader.failures_}
    table = pd.DataFrame(proba, columns=columns)
    table.insert(0, "path", paths)
    table["prediction"] = label
    table["likeness"] = likeness
    table["error"] = [errors.get(row, "") for row in range(len(paths))]
    return table


# -- demo ---------------------------------------------------------------------------------------


@main.command(
    short_help="Try it all on synthetic X-rays.", epilog="\b\nExample:\n  cxr-sklearn demo"
)
@click.argument("folder", required=False, type=click.Path())
@click.option("--output", default="demo_output", show_default=True, help="For model and pictures.")
@click.option("--weights", help="'imagenet' or the path of a ResNet50 state dict.")
def demo(folder: str | None, output: str, weights: str | None) -> None:
    """Train ResNetOvO on phantoms or FOLDER, judge, save and reload it."""
    from ._demo import run_demo

    run_demo(folder, output, weights)
