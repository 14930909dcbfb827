"""``cxr-sklearn predict``."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import click

from .._workflow import estimates
from ..datasets._output_files import check_not_read, check_target
from ..exceptions import (
    ConfoundingWarning,
    ExchangeabilityWarning,
    OutOfDistributionWarning,
    UnreadableImageWarning,
)
from .data_forms import select
from .options import prediction_options
from .output import echo, print_json, progress, source_figures
from .program import main


@main.command(
    short_help="Write a model's probabilities for images.",
    epilog="\b\nExamples:\n  cxr-sklearn predict model.joblib new_xrays/ --out predictions.csv"
    "\n  cxr-sklearn predict model.joblib a.png b.dcm --out predictions.csv"
    "\n  cxr-sklearn predict model.joblib labels.csv --root images/ --out predictions.csv",
)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@prediction_options
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="CSV file.")
@click.option(
    "--reading-list",
    type=click.Path(file_okay=False),
    help="Folder for the paths of the referred images, the least certain first.",
)
@click.option("--batch", type=click.IntRange(1), default=256, show_default=True, help="Files read.")
def predict(model: str, out: str, reading_list: str | None, batch: int, **options: Any) -> None:
    """Write the probabilities that MODEL predicts for the images of DATA.

    DATA contains image files or folders of any depth, or one list or table of images. --form sets
    the form of DATA.

    A row per file: path; label, patient and source where DATA has them; probability of each class;
    prediction; and likeness, which is below 0.3 for images unlike the training set. For a file
    that cannot be read, the probabilities are empty, and the column error contains the reason.

    A model that was trained with --refer-risk adds the columns decision (a class, or "refer"),
    prediction_set (the plausible classes) and confidence. --reading-list writes the referred images
    to two files of a folder: referred.txt (paths) and referred.csv (with their predictions).

    A model file is a pickle and can run any code: load none that you do not trust.
    """
    from .._workflow.pipeline import load_pipeline, predict_files, write_predictions
    from .._workflow.reading_list import check_reading_list, write_reading_list

    check_target(out, "--out", [model, *options["data"], options["root"], options["labels"]])
    files = select(options)
    check_not_read(out, "--out", files["path"])
    pipeline = load_pipeline(model)
    pipeline.named_steps["loader"].set_params(on_error="mask", n_jobs=options["jobs"])
    classifier, sources = (pipeline.named_steps[name] for name in ("model", "sources"))
    if reading_list is not None:
        check_reading_list(reading_list, classifier, [model, *files["path"]])
    # the model inside a referral rule
    network = getattr(classifier, "estimator_", classifier)
    predicted = partial(predict_files, pipeline)
    paths = files["path"].tolist()
    echo(estimates.predicting(paths, network, predicted, batch, out), err=True)
    with progress(len(files), "predicting") as step:
        written = write_predictions(pipeline, files, out, batch, step)
    failed, unlike, referred = written.n_unreadable, written.n_unlike, written.referred
    if reading_list is not None:
        write_reading_list(reading_list, referred)
    if options["as_json"]:
        counts: dict[str, Any] = {"images": len(files), "unreadable": failed, "unlike": unlike}
        counts |= {} if referred is None else {"referred": len(referred)}
        if written.comparison is not None:
            counts |= {"exchangeability_p": written.comparison.p_value}
        print_json({"out": out, **counts, **source_figures(sources)})
    else:
        echo(f"{len(files) - failed} of {len(files)} images predicted; written to {out}")
        if referred is not None:
            listed = f"; their paths are in {reading_list}" if reading_list else ""
            echo(f"{len(referred)} images are referred{listed}")
    _warn(pipeline, failed, unlike, written.comparison)


def _warn(pipeline: Any, failed: int, unlike: int, comparison: Any) -> None:
    """Warn of files without a prediction, and of predictions that may be wrong."""
    from ..referral._prediction_mixin import P_OF_WARNING

    if failed:
        text = f"{failed} files could not be read. See the column error."
        warnings.warn(text, UnreadableImageWarning, stacklevel=2)
    if unlike:
        threshold = pipeline.named_steps["guard"].offset_
        text = (
            f"{unlike} images are unlike the training set (likeness below {threshold:g}), and "
            "their predictions may be meaningless. See the column likeness."
        )
        warnings.warn(text, OutOfDistributionWarning, stacklevel=2)
    if comparison is not None and comparison.p_value < P_OF_WARNING:
        text = (
            f"the images are unlike those that the referral rule was calibrated on ({comparison}), "
            "so that nothing is guaranteed: train with --refer-risk on images of this place"
        )
        warnings.warn(text, ExchangeabilityWarning, stacklevel=2)
    if message := pipeline.named_steps["sources"].message_:
        warnings.warn(message, ConfoundingWarning, stacklevel=2)
