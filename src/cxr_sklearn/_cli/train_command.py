"""``cxr-sklearn train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .._images.loader import XRayLoader
from .._utils.files import user_path
from .._workflow import estimates
from ..datasets._output_files import check_not_read, check_target
from .data_forms import load
from .options import data_options, literal
from .output import echo, print_json, progress, referral_figures, source_figures
from .program import main

MODELS = {
    "ovo": "ResNetOvO",
    "ovr": "ResNetOvR",
    "stacking": "ResNetStacking",
    "single": "ResNetClassifier",
}
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
        found = literal(value)
        settings[name] = tuple(found) if isinstance(found, list) else found
    return settings


@main.command(
    short_help="Train a model, judge it on held-out patients, and save it.",
    epilog="\b\nExample:\n  cxr-sklearn train xrays/ --out model.joblib --model ovo --set lr=3e-4 "
    '--set "hidden_layer_sizes=[128]"',
)
@data_options
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
@click.option(
    "--refer-risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Refer images, so that at most this share of the others is wrong.  [default: no referral]",
)
@click.option(
    "--refer-delta",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Greatest probability that --refer-risk does not hold.",
)
@click.option("--memory", type=click.Path(file_okay=False), help="Folder that keeps activations.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--verbose", "-v", is_flag=True, help="Print the loss of every epoch.")
def train(out: str, test_fraction: float, **options: Any) -> None:
    """Train a model on DATA, judge it on held-out patients, and save it.

    The file is a pipeline: a loader of files, a guard that warns of images unlike the training set
    (MeanRadiograph), the association of source and class (SourceAssociation), and the model. If
    source and class of the training images are associated, train warns, and predict repeats the
    warning.

    With --refer-risk, the model is a ReferralClassifier: three tenths of the training patients are
    kept apart to choose the confidence below which predict refers an image.
    """
    from .._workflow.pipeline import (
        fit_pipeline,
        fit_sources,
        read_rows,
        save_pipeline,
        split_patients,
    )
    from ..evaluation import evaluate

    weights = user_path("weights", options["weights"], "file")  # as the model reads it
    inputs = [options[name] for name in ("data", "labels", "root")]
    check_target(out, "--out", [*inputs, weights])
    model = _model(options)
    bunch = load(options)
    check_not_read(out, "--out", bunch.data[:, 0])
    training, held_out = split_patients(bunch, test_fraction, options["seed"])
    sources = fit_sources(bunch, training)  # warns before the work
    loader = XRayLoader(image_size=options["image_size"], n_jobs=options["jobs"])
    echo(estimates.training(bunch, training, model, loader, out), err=True)
    model = _with_referral(model, options)
    with progress(len(bunch.data), "reading") as step:
        X = read_rows(loader, bunch.data, step)
    pipeline = fit_pipeline(loader, model, X, bunch, training)
    evaluation = None
    if len(held_out):
        evaluation = evaluate(
            model,
            X[held_out],
            bunch.target[held_out],
            groups=bunch.groups[held_out],
            random_state=options["seed"],
        )
    save_pipeline(pipeline, out)
    if options["as_json"]:
        summary = _summary(out, len(training), evaluation) | referral_figures(model)
        print_json(summary | source_figures(sources))
        return
    test = (X[held_out], bunch.target[held_out], bunch.groups[held_out])
    _print_results(evaluation, model, test)
    echo(f"\nsaved {out} ({Path(out).stat().st_size / 2**20:.0f} MiB)")


def _with_referral(model: Any, options: dict[str, Any]) -> Any:
    """Return a model that refers the images of which it is not sure, with --refer-risk only."""
    if options["refer_risk"] is None:
        return model
    from ..referral import ReferralClassifier

    return ReferralClassifier(
        model,
        max_risk=options["refer_risk"],
        delta=options["refer_delta"],
        random_state=options["seed"],
    )


def _print_results(evaluation: Any, model: Any, test: tuple[Any, Any, Any]) -> None:
    if evaluation is not None:
        echo(f"\nheld-out patients:\n\n{evaluation}")
    if not hasattr(model, "certificate_"):
        return
    X, y, groups = test
    if len(X):
        title, table = "held-out patients", model.clinic_table(X, y, groups=groups)
    else:
        title, table = "calibration patients", model.clinic_table()
    echo(f"\nreferral:\n\n{model.certificate_}\n\n{title}:\n\n{table.round(1)}")


def _summary(out: str, n_training: int, evaluation: Any) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    summary: dict[str, Any] = {"model": str(out), "train_images": n_training}
    if evaluation is None:
        return summary
    counts = {"test_images": evaluation.n_images, "test_patients": evaluation.n_patients}
    return summary | counts | {"figures": evaluation.to_frame()}


def _model(options: dict[str, Any]) -> Any:
    import cxr_sklearn

    kind = getattr(cxr_sklearn, MODELS[options["model"]])
    known = kind().get_params()
    settings = dict(options["settings"])
    for name in settings:
        if name not in known:
            raise ValueError(
                f"--set {name}: {kind.__name__} has no such parameter. See its documentation."
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
