"""``cxr-sklearn compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .output import echo, print_json
from .program import main


@main.command(
    short_help="Compare models that were evaluated on the same images.",
    epilog="\b\nExample:\n  cxr-sklearn compare ovo.json single.json --metric roc_auc_ovr",
)
@click.argument(
    "evaluations", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False)
)
@click.option("--reference", help="Model that the others are compared with.  [default: all pairs]")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Metric, such as balanced_accuracy. May be repeated.  [default: five common ones]",
)
@click.option("--permutations", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    evaluations: tuple[str, ...],
    reference: str | None,
    metrics: tuple[str, ...],
    permutations: int,
    as_json: bool,
) -> None:
    """Compare the models of EVALUATIONS, files that evaluate wrote for the same images.

    Differences have intervals by patient, and p-values from a permutation test. A model is named by
    its file.
    """
    from ..evaluation import Evaluation
    from ..evaluation import compare as compare_evaluations

    named = _named({path: Evaluation.from_json(path) for path in evaluations})
    found = compare_evaluations(
        named, reference=reference, metrics=list(metrics) or None, n_permutations=permutations
    )
    if as_json:
        print_json(found.to_dict())
    else:
        echo(str(found))


def _named(by_path: dict[str, Any]) -> dict[str, Any]:
    """Return the evaluations by the names of their files, or by their paths if these are equal."""
    stems = [Path(path).stem for path in by_path]
    if len(set(stems)) < len(stems):
        return by_path
    return dict(zip(stems, by_path.values(), strict=True))
