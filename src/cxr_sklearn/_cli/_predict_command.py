"""``cxr-sklearn predict``."""

from __future__ import annotations

from functools import partial

import click

from .. import _preflight
from .._files import replace_file
from ..datasets._target import check_not_read, check_target
from ._options import JOBS
from ._output import print_json, progress
from ._program import main


@main.command(
    short_help="Write a model's probabilities for a folder of images.",
    epilog="\b\nExample:\n  cxr-sklearn predict model.joblib new_xrays/ --out predictions.csv",
)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="CSV file.")
@click.option("--batch", type=click.IntRange(1), default=256, show_default=True, help="Files read.")
@click.option("--jobs", type=JOBS, default=None, help="Threads that read files.  [default: 1]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(model: str, folder: str, out: str, batch: int, jobs: int | None, as_json: bool) -> None:
    """Write the probabilities that MODEL gives the images in FOLDER, whatever its subfolders.

    A row per file: path, probability of each class, prediction, and likeness: the correlation with
    the mean of the training images, below 0.3 for what is no upright chest film. For a file that
    could not be read there is an error instead.

    A model file is a pickle and can run any code: load none that you do not trust.
    """
    from .._decode import looks_like_image
    from .._pipeline import load_pipeline, predict_files
    from ..datasets._files import check_folder, files_below

    check_target(out, "--out", [model, folder])
    check_folder(folder, "FOLDER", "a folder of images")
    found = [str(path) for path in files_below(folder)]
    paths = [path for path in found if looks_like_image(path)]
    if not paths:
        raise OSError(
            f"FOLDER={folder!r} holds no image; expected files such as .png, .jpg or .dcm"
        )
    check_not_read(out, "--out", found)
    pipeline = load_pipeline(model)
    pipeline.named_steps["loader"].set_params(on_error="mask", n_jobs=jobs)
    threshold = pipeline.named_steps["guard"].offset_
    classifier = pipeline.named_steps["model"]
    predicted = partial(predict_files, pipeline)
    click.echo(_preflight.predicting(paths, classifier, predicted, batch, out), err=True)
    failed = unlike = 0
    with replace_file(out) as stream, progress(len(paths), "predicting") as step:
        for start in range(0, len(paths), batch):
            part = paths[start : start + batch]
            table = predicted(part)
            failed += int((table["error"] != "").sum())
            unlike += int((table["likeness"] < threshold).sum())
            text = table.to_csv(index=False, header=start == 0, float_format="%.6f")
            stream.write(text.encode("utf-8", "backslashreplace"))
            for _ in part:
                step()
    if as_json:
        print_json({"out": out, "images": len(paths), "unreadable": failed, "unlike": unlike})
    else:
        click.echo(f"{len(paths) - failed} of {len(paths)} images predicted; written to {out}")
    if len(found) > len(paths):
        click.echo(f"files that are no images, left out: {len(found) - len(paths)}", err=True)
    if failed:
        click.echo(f"warning: {failed} files could not be read: see the column error", err=True)
    if unlike:
        click.echo(
            f"warning: {unlike} images are unlike those of training (likeness below "
            f"{threshold:g}), and their predictions mean little: see the column likeness",
            err=True,
        )
