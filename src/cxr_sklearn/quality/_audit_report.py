"""Show the result of an audit as text, as an HTML page, and as a figure."""

from __future__ import annotations

import base64
import io
import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._utils.files import replace_file
from ..datasets._output_files import check_target
from ._audit_lists import as_lines, as_sections
from ._audit_result import AuditResult

_MAX_ROWS = 40  # of a table in a notebook
_COLOURS = {"serious": "#b3261e", "warning": "#a15c00", "note": "#3d5a80"}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ccc; text-align: left; }
th, td { white-space: nowrap; font-size: .9rem; }
img { max-width: 100%; }
"""


def as_text(result: AuditResult) -> str:
    """Return the findings, the baselines and the lists of files as text."""
    lines = [
        f"{result.n_images} images of {result.n_patients} patients in "
        f"{len(result.classes)} classes; {len(result.unreadable)} files unreadable",
        "",
    ]
    if not result.findings:
        lines.append("Nothing found.")
    for finding in result.findings:
        lines += [
            f"{finding.severity.upper()}: {finding.check}",
            f"  {finding.found}",
            f"  {finding.meaning}",
            f"  -> {finding.remedy}",
        ]
    if not result.baselines.empty:
        lines += ["", overview(result).to_string()]
    return "\n".join([*lines, *as_lines(result)])


def overview(result: AuditResult) -> pd.DataFrame:
    """Return balanced accuracy and AUC of the baselines over all classes, as text."""
    table = result.baseline_table()
    return table[["balanced accuracy", "AUC"]]


def as_html(result: AuditResult, sections: list[str] | None = None) -> str:
    """Return findings and tables as HTML, without a page around it.

    `sections` are the lists of files and patients, by default short ones for a notebook.
    """
    parts = [
        f"<p><b>{result.n_images} images</b> of {result.n_patients} patients, "
        f"{len(result.unreadable)} files unreadable.</p>"
    ]
    if not result.findings:
        parts.append("<p>Nothing found.</p>")
    for finding in result.findings:
        # The style is part of the element, because a notebook has no style sheet of this package.
        colour = _COLOURS[finding.severity]
        parts.append(
            f'<div style="border-left:.3rem solid {colour};padding:.1rem .9rem;margin:.9rem 0">'
            f'<b style="color:{colour}">{finding.severity}</b> <b>{escape(finding.check)}</b>'
            f"<br>{escape(_sentence(finding.found))}<br>{escape(finding.meaning)}"
            f"<br><i>{escape(finding.remedy)}</i></div>"
        )
    if not result.baselines.empty:
        parts += ["<h3>What succeeds without the lungs</h3>", _table(result.baseline_table())]
    parts += ["<h3>Classes</h3>", _table(result.classes.round(3))]
    what = "families of file names" if result.sources_are_inferred else "sources"
    parts += [f"<h3>Images by {what}</h3>", _table(result.sources)]
    if result.ages is not None:
        parts += ["<h3>Ages</h3>", _table(result.ages.round(2))]
    parts += as_sections(result, max_rows=_MAX_ROWS) if sections is None else sections
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(frame: pd.DataFrame, index: bool = True) -> str:
    """Return a table without the row of its axes' names, cut in the middle if it is long."""
    bare = frame.rename_axis(index=None, columns=None)
    return bare.to_html(index=index, max_rows=_MAX_ROWS, border=0)


def write_page(result: AuditResult, path: Any, has_thumbnails: bool) -> Path:
    """Write a page that needs no other file."""
    check_target(path, "path", [*result.images["path"], *result.unreadable["path"]])
    image = io.BytesIO()
    figure = draw(result)
    figure.savefig(image, format="png", dpi=110)
    picture = base64.b64encode(image.getvalue()).decode()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of chest X-rays</title><style>{_STYLE}</style></head><body>"
        "<h1>Audit of chest X-rays</h1>"
        f'<img alt="Baselines and sources" src="data:image/png;base64,{picture}">'
        f"{as_html(result, as_sections(result, has_thumbnails=has_thumbnails))}</body></html>\n"
    )
    path = Path(os.fspath(path))
    with replace_file(path) as stream:
        stream.write(page.encode("utf-8", "backslashreplace"))
    return path


def _label(name: str) -> str:
    """Return a short name for an axis, in which a dollar sign does not begin a formula."""
    short = name if len(name) <= 24 else name[:23] + "…"
    return short.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def draw(result: AuditResult) -> Any:
    """Draw the baselines with their intervals, and the number of images by class and source."""
    from matplotlib.figure import Figure

    rows = result.baselines[result.baselines["metric"] == "balanced accuracy"]
    table = result.sources.loc[result.sources.sum(axis=1).sort_values(ascending=False).index[:12]]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    where = np.arange(len(rows))[::-1]
    figures = rows[["low", "high", "value"]].to_numpy(float).T
    errors = np.abs(figures[:2] - figures[2])
    left.errorbar(rows["value"], where, xerr=errors, fmt="o", capsize=3)
    for chance in rows["chance"].unique():
        left.axvline(chance, color="black", linewidth=0.8, linestyle="--")
    left.set_yticks(where, rows["baseline"])
    left.set(title="What succeeds without the lungs", xlabel="balanced accuracy (dashed: chance)")
    left.set_xlim(0, 1)
    left.grid(axis="x", alpha=0.3)
    share = table.to_numpy() / table.to_numpy().sum(axis=1, keepdims=True)
    right.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*share.shape):
        colour = "white" if share[i, j] > 0.6 else "black"
        right.text(j, i, table.iloc[i, j], ha="center", va="center", color=colour)
    classes, labels = ([_label(name) for name in axis] for axis in (table.columns, table.index))
    right.set_xticks(range(table.shape[1]), classes, rotation=20)
    right.set_yticks(range(len(table)), labels)
    inferred = " (families of names)" if result.sources_are_inferred else ""
    right.set_title(f"Images by source{inferred}")
    return figure
