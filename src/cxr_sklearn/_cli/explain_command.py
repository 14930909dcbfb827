"""``cxr-sklearn explain``."""

from __future__ import annotations

import warnings
from typing import Any

import click

from ..exceptions import UnreadableImageWarning
from .data_forms import select
from .options import prediction_options
from .output import echo, print_json, progress
from .program import main

_METHODS = ("grad-cam", "grad-cam++", "integrated-gradients", "occlusion")


@main.command(
    short_help="Draw which parts of images support a class.",
    epilog="\b\nExamples:\n  cxr-sklearn explain model.joblib new_xrays/ --out maps/"
    "\n  cxr-sklearn explain model.joblib a.png b.dcm --out maps/ --versus Pneumonia"
    "\n  cxr-sklearn explain model.joblib new_xrays/ --out maps/ --target COVID-19",
)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@prediction_options
@click.option(
    "--out", type=click.Path(file_okay=False), required=True, help="Folder of the pictures."
)
@click.option("--target", metavar="CLASS", help="Class to explain.  [default: the predicted one]")
@click.option("--versus", metavar="CLASS", help="Class with which the target is compared.")
@click.option(
    "--method", type=click.Choice(_METHODS), default="grad-cam", show_default=True, help="Method."
)
@click.option(
    "--lungs/--no-lungs", "has_lungs", default=True, help="Find the lungs, and draw their outline."
)
@click.option(
    "--faithfulness/--no-faithfulness",
    "has_faithfulness",
    default=True,
    help="Measure whether the maps can be trusted.",
)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Files read.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the checks.")
def explain(model: str, out: str, **options: Any) -> None:
    """Draw which parts of the images of DATA support the class that MODEL predicts.

    DATA contains image files or folders of any depth, or one list or table of images. --form sets
    the form of DATA.

    The folder --out gets a picture per file, and explanations.csv: path; target, versus and
    probability; share of the positive values inside the lungs, and share of their area; name of
    the picture; and the reason where a file cannot be read.

    The figures that are printed state whether the maps can be trusted: whether they point at the
    lungs, whether the parts that they show matter to the model, and whether they differ from maps
    of networks with random weights.

    A model file is a pickle and can run any code: load none that you do not trust.
    """
    from .._workflow import explanations
    from .._workflow.pipeline import load_pipeline

    read = [model, *options["data"], options["labels"]]
    explanations.check_explanations(out, [name for name in read if name is not None])
    files = select(options)
    explanations.check_not_inside(out, files["path"])
    pipeline = load_pipeline(model)
    pipeline.named_steps["loader"].set_params(on_error="mask", n_jobs=options["jobs"])
    chosen = explanations.ExplainOptions(
        options["target"], options["versus"], options["method"], options["has_lungs"]
    )
    with progress(len(files), "explaining") as step:
        table, X = explanations.write_explanations(
            pipeline, files, out, chosen, options["batch"], step
        )
    n_explained = len(X)
    result = None
    if options["has_faithfulness"] and n_explained:
        result = _faithfulness(pipeline.named_steps["model"], X, files, table, options)
    if options["as_json"]:
        content: dict[str, Any] = {"out": out, "images": len(files), "explained": n_explained}
        if result is not None:
            content |= {"is_informative": result.is_informative, "faithfulness": result.frame}
        print_json(content)
    else:
        echo(f"{n_explained} of {len(files)} images explained; written to {out}")
        if result is not None:
            echo(str(result))
    if n_explained < len(files):
        text = f"{len(files) - n_explained} files could not be read. See the column error."
        warnings.warn(text, UnreadableImageWarning, stacklevel=2)


def _faithfulness(model: Any, X: Any, files: Any, table: Any, options: dict[str, Any]) -> Any:
    """Return whether the maps can be trusted, or None if they are of one patient."""
    from .._workflow.explanations import patients_of
    from ..inspection import faithfulness

    is_explained = (table["error"] == "").to_numpy()
    patients = patients_of(files)
    if patients is not None:
        patients = patients[is_explained]
        if len(set(patients)) < 2:
            text = "all images are of one patient: whether the maps can be trusted is not measured"
            echo(text, err=True)
            return None
    return faithfulness(
        model,
        X,
        target=table.loc[is_explained, "target"].to_numpy(),
        groups=patients,
        method=options["method"],
        random_state=options["seed"],
    )
