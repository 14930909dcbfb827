"""``cxr-sklearn evaluate``."""

from __future__ import annotations

from typing import Any

import click

from ..datasets._output_files import check_not_read, check_target
from .data_forms import load
from .options import data_options
from .output import echo, print_json, progress
from .program import main


def _prevalence(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, float] | None:
    """Return a dict from class to share, or None."""
    shares = {}
    for text in values:
        name, _, share = text.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            message = f"{text!r}; expected CLASS=SHARE, such as COVID-19=0.02"
            raise click.BadParameter(message) from None
    return shares or None


@main.command(
    short_help="Test a model on labelled images, with intervals by patient.",
    epilog="\b\nExamples:\n  cxr-sklearn evaluate model.joblib test_xrays/ --out evaluation.json"
    "\n  cxr-sklearn evaluate model.joblib labels.csv --root images/ --subgroup age --subgroup sex"
    "\n  cxr-sklearn evaluate model.joblib test_xrays/ --prevalence COVID-19=0.02",
)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@data_options
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file of all figures.")
@click.option(
    "--subgroup",
    "subgroups",
    multiple=True,
    metavar="COLUMN",
    help="Column of the labels, such as age, sex or view. May be repeated.",
)
@click.option(
    "--prevalence",
    multiple=True,
    callback=_prevalence,
    metavar="CLASS=SHARE",
    help="Share of a class for which PPV and NPV are computed. May be repeated.",
)
@click.option(
    "--worst", type=click.IntRange(0), default=5, show_default=True, help="Errors to list."
)
@click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the resamples.")
def evaluate(model: str, out: str | None, worst: int, **options: Any) -> None:
    """Test MODEL on the labelled images of DATA, which it has not seen.

    Figures have intervals by patient, and are given for each source and subgroup. The file --out
    contains all of them and the probabilities, but no paths and no identifiers; compare reads it.

    A model file is a pickle and can run any code: load none that you do not trust.
    """
    from .. import evaluation
    from .._workflow.pipeline import load_pipeline, read_rows

    if out is not None:
        check_target(out, "--out", [model, options["data"], options["root"], options["labels"]])
    bunch = load(options)
    if out is not None:
        check_not_read(out, "--out", bunch.data[:, 0])
    subgroups = _columns(bunch.frame, options["subgroups"])
    pipeline = load_pipeline(model)
    loader = pipeline.named_steps["loader"].set_params(n_jobs=options["jobs"])
    with progress(len(bunch.data), "reading") as step:
        X = read_rows(loader, bunch.data, step)
    model_step = pipeline.named_steps["model"]
    # the model inside a referral rule, whose predictions are the same
    name = type(getattr(model_step, "estimator_", model_step)).__name__
    found = evaluation.evaluate(
        {name: pipeline[1:]},
        X,
        bunch.target,
        groups=bunch.groups,
        sources=_known_sources(bunch),
        subgroups=subgroups,
        prevalence=options["prevalence"],
        n_resamples=options["resamples"],
        random_state=options["seed"],
    )
    if out is not None:
        found.to_json(out)
    if options["as_json"]:
        content = found.to_dict()
        # The probabilities of all images are for the file.
        print_json({k: v for k, v in content.items() if k not in ("images", "probabilities")})
        return
    echo(str(found))
    _list_worst(found, bunch, worst)
    if out is not None:
        echo(f"\nwritten to {out}")


def _columns(frame: Any, names: tuple[str, ...]) -> Any:
    """Return the columns of subgroups, or raise if there is no such column."""
    for name in names:
        if name not in frame.columns:
            raise ValueError(
                f"--subgroup {name}: DATA has no such column; expected one of "
                f"{', '.join(map(str, frame.columns))}"
            )
    return frame[list(names)] if names else None


def _known_sources(bunch: Any) -> Any:
    """Return the sources, or None if there are none. Unknown ones are one source."""
    if bunch.sources is None:
        return None
    return [source or "unknown" for source in bunch.sources]


def _list_worst(found: Any, bunch: Any, n: int) -> None:
    errors = found.worst(n)
    if errors.empty:
        return
    echo("\nmost confident errors:")
    for row in errors.to_dict("records"):
        path = bunch.data[row["index"], 0]
        confidence = row[f"p_{row['prediction']}"]
        echo(f"  {path}: {row['true']}, predicted {row['prediction']} ({confidence:.2f})")
