"""Text of an evaluation for terminals, and HTML for notebooks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from ..metrics._intervals import BCA, EXACT
from ..metrics._metric_names import metric_name
from ._results import Results

WIDTH = 80
_CELL = 18  # characters of "0.81 [0.77, 0.85]" and of the mark of an exact interval
_OVERALL = ("balanced_accuracy", "roc_auc_ovr", "log_loss")
_PER_CLASS = ("sensitivity", "specificity", "ppv")


def summary(evaluation: Results) -> str:
    """Return a summary in lines of at most 80 characters."""
    n_classes = len(evaluation.classes)
    unit = "" if evaluation.unit == "images" else f" of {evaluation.n_patients} patients"
    blocks = [textwrap.fill(note, WIDTH) for note in evaluation.notes]
    blocks.append(f"{evaluation.n_images} test images{unit}, {n_classes} classes")
    blocks.append(_overall_table(evaluation))
    for model in evaluation.models:
        blocks.append(_class_table(evaluation, model))
    if not evaluation.gains.empty:
        blocks.append(_gain_table(evaluation))
    differing = _differing_subsets(evaluation)
    if differing:
        blocks.append(differing)
    blocks.append(textwrap.fill(_footnote(evaluation), WIDTH))
    return "\n\n".join(blocks)


def html(evaluation: Results) -> str:
    """Return the summary and the main tables as HTML."""
    parts = [f"<pre>{escape(summary(evaluation))}</pre>"]
    for table in (evaluation.overall, evaluation.per_class):
        parts.append(table_html(table))
    return "".join(parts)


def table_html(table: pd.DataFrame) -> str:
    """Return a table as HTML without its index."""
    return table.to_html(index=False, max_rows=60, float_format="{:.3f}".format)


def cell(row: Any, signed: bool = False) -> str:
    """Return a figure with its interval, such as "0.81 [0.77, 0.85]"."""
    form = "{:+.2f}" if signed else "{:.2f}"
    if not np.isfinite(row["value"]):
        return "-"
    value = form.format(row["value"])
    if not np.isfinite(row["low"]):
        return f"{value} [-, -]"
    mark = "*" if row.get("method") == EXACT else ""
    return f"{value} [{form.format(row['low'])}, {form.format(row['high'])}]{mark}"


def _overall_table(evaluation: Results) -> str:
    width = WIDTH - len(_OVERALL) * (_CELL + 1)
    header = [metric_name(metric) for metric in _OVERALL]
    lines = [_line("model", header, width)]
    overall = evaluation.overall
    for model in [*evaluation.models, *evaluation.baselines]:
        rows = overall[overall["model"] == model].set_index("metric")
        cells = []
        for metric in _OVERALL:
            cells.append(cell(rows.loc[metric]) if metric in rows.index else "-")
        lines.append(_line(model, cells, width))
    return "\n".join(lines)


def _class_table(evaluation: Results, model: str) -> str:
    width = WIDTH - len(_PER_CLASS) * (_CELL + 1) - 9
    header = [metric_name(metric) for metric in _PER_CLASS]
    unit = "patients" if evaluation.unit == "patients" else "images"
    lines = [_shortened(model, WIDTH), _line("  class", header, width, unit)]
    per_class = evaluation.per_class
    rows = per_class[per_class["model"] == model]
    for label in evaluation.classes.tolist():
        of_class = rows[rows["class"] == label].set_index("metric")
        cells = [cell(of_class.loc[metric]) for metric in _PER_CLASS]
        n_patients = int(of_class.loc["sensitivity", "n_patients"])
        lines.append(_line(f"  {label}", cells, width, str(n_patients)))
    return "\n".join(lines)


def _gain_table(evaluation: Results) -> str:
    gains = evaluation.gains[evaluation.gains["metric"] == "balanced_accuracy"]
    lines = ["gain in balanced accuracy on the same images"]
    for row in gains.to_dict("records"):
        name = f"  {row['model']} over {row['baseline']}"
        gain = {"value": row["difference"], "low": row["low"], "high": row["high"]}
        lines.append(f"{_shortened(name, 58):58} {cell(gain, signed=True)}")
    return "\n".join(lines)


def _differing_subsets(evaluation: Results) -> str:
    """List the subsets whose balanced accuracy or sensitivity differs from that of the rest."""
    subsets = evaluation.subsets
    if subsets.empty:
        return ""
    chosen = subsets["excludes_0"] & subsets["metric"].isin(["balanced_accuracy", "sensitivity"])
    chosen &= subsets["model"].isin(evaluation.models)
    lines = ["subsets whose interval of the difference to the other images excludes 0"]
    for row in subsets[chosen].to_dict("records"):
        what = f"{metric_name(row['metric'])} {row['class']}".strip()
        name = f"  {row['column']}={row['level']}: {what}, {row['model']}"
        difference = {
            "value": row["difference"],
            "low": row["difference_low"],
            "high": row["difference_high"],
        }
        lines.append(f"{_shortened(name, 58):58} {cell(difference, signed=True)}")
    if len(lines) == 1:
        return "no subset differs from the other images in balanced accuracy or sensitivity"
    return "\n".join(lines)


def _footnote(evaluation: Results) -> str:
    settings = evaluation._settings
    kind = "BCa" if settings.method == BCA else "percentile"
    text = (
        f"Brackets: {100 * settings.confidence_level:g} % intervals from {settings.n_resamples} "
        f"bootstrap resamples of {evaluation.unit} ({kind})."
    )
    overall, per_class = evaluation.overall, evaluation.per_class
    shown = pd.concat(
        [
            overall[overall["metric"].isin(_OVERALL)],
            per_class[per_class["metric"].isin(_PER_CLASS)],
        ]
    )
    shown = shown[shown["model"].isin(evaluation.models)]
    if (shown["method"] == EXACT).any():
        text += f" *: exact, from the number of {evaluation.unit}."
    return text


def _line(name: str, cells: Sequence[str], width: int, count: str | None = None) -> str:
    text = f"{_shortened(name, width):{width}}"
    if count is not None:
        text += f"{count:>8} "
    for value in cells:
        text += f" {value:<{_CELL}}"
    return text.rstrip()


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return f"{text[: width - 3]}..."
