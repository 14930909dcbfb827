"""Lists of the images and patients that an audit found, as text, JSON and HTML tables."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from .._images.decode import decode_image
from .._utils.messages import one_line
from .._utils.quiet import quiet
from ._audit_result import AuditResult

N_LISTED = 20  # entries of a list in text
_N_THUMBNAILS = 200  # of a page
_THUMBNAIL_SIDE = 96  # pixels, the longer side
_PATHS = ("path", "first", "second")  # columns


@dataclass(frozen=True)
class Listing:
    """A list of files or patients that a check found.

    Attributes
    ----------
    title : str
    attribute : str
        Name of the attribute of :class:`Audit`, and key in JSON.
    frame : DataFrame
        One row per file or pair, with paths in the columns ``path``, ``first`` and ``second``, and
        the class in the column ``class``. A list of patients has one row per image.
    lines : list of str
        A line of text per entry.
    """

    title: str
    attribute: str
    frame: pd.DataFrame
    lines: list[str]

    @property
    def heading(self) -> str:
        """Title with the number of entries."""
        return f"{self.title}: {len(self.lines)}"


def listings(result: AuditResult) -> list[Listing]:
    """Return the lists of an audit, without empty ones."""
    images = result.images
    turned = images[images["path"].isin(result.turned)]
    shared = images[images["patient"].isin(result.patients_in_several_classes)]
    shared = shared.sort_values(["patient", "class", "path"], kind="stable")
    shared = shared[["patient", "class", "path"]]
    found = [
        Listing(
            "Unreadable files",
            "unreadable",
            result.unreadable,
            [f"{row.path}: {row.reason}" for row in result.unreadable.itertuples()],
        ),
        Listing("Images upside down or inverted", "turned", turned, turned["path"].tolist()),
        Listing(
            "Duplicates",
            "duplicates",
            result.duplicates,
            [_duplicate_line(row) for row in result.duplicates.itertuples()],
        ),
        Listing(
            "Patients in several classes",
            "patients_in_several_classes",
            shared,
            [_patient_line(str(name), part) for name, part in shared.groupby("patient")],
        ),
    ]
    return [listing for listing in found if listing.lines]


def _patient_line(patient: str, images: pd.DataFrame) -> str:
    classes = [f"{name}: {', '.join(part['path'])}" for name, part in images.groupby("class")]
    return f"{patient}: {'; '.join(classes)}"


def _duplicate_line(row: Any) -> str:
    classes = "one class" if row.same_class else "two classes"
    patients = "one patient" if row.same_patient else "two patients"
    return f"{row.first} = {row.second} ({row.kind}, {classes}, {patients})"


def as_lines(result: AuditResult) -> list[str]:
    """Return the lists as lines of text, the first 20 entries of each."""
    lines = []
    for listing in listings(result):
        lines += ["", listing.heading]
        lines += [f"  {one_line(line)}" for line in listing.lines[:N_LISTED]]
        if (more := len(listing.lines) - N_LISTED) > 0:
            lines.append(f"  and {more} more: in the page, in JSON and in {listing.attribute}")
    return lines


def as_json(result: AuditResult) -> dict[str, pd.DataFrame]:
    """Return all lists by the names of their attributes, also empty ones."""
    names = ("unreadable", "turned", "duplicates", "patients_in_several_classes")
    empty = {name: pd.DataFrame() for name in names}
    return empty | {listing.attribute: listing.frame for listing in listings(result)}


def as_sections(
    result: AuditResult, *, has_thumbnails: bool = False, max_rows: int | None = None
) -> list[str]:
    """Return the lists as HTML.

    Parameters
    ----------
    result : AuditResult
    has_thumbnails : bool, default=False
        Whether to read the files again, and show the first 200 images.
    max_rows : int, default=None
        Number of rows of a list to show; all by default.

    Returns
    -------
    parts : list of str
    """
    parts = []
    left = _N_THUMBNAILS if has_thumbnails else 0
    for listing in listings(result):
        cells = listing.frame.astype(object).map(lambda value: escape(_shown(value)))
        if listing.attribute != "unreadable":
            for name in (name for name in _PATHS if name in cells):
                paths = listing.frame[name].tolist()
                images = [_image(path) for path in paths[: max(0, left)]]
                left -= len(images)
                images += [""] * (len(paths) - len(images))
                texts = cells[name]
                cells[name] = [f"{i}{text}" for i, text in zip(images, texts, strict=True)]
        table = cells.to_html(index=False, escape=False, border=0, max_rows=max_rows)
        parts.append(f"<h3>{listing.heading}</h3>\n{table}")
    if parts:
        what = "file names and patients"
        if has_thumbnails:
            what += f", and small copies of radiographs ({_N_THUMBNAILS} at most)"
        notice = f"This page contains {what}. Share it only where you may share the data."
        parts.insert(0, f"<p><b>{notice}</b></p>")
    return parts


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _image(path: str) -> str:
    """Return a small copy of an image as an HTML element; empty if it can no longer be read."""
    try:
        with quiet():
            grey = decode_image(path).grey
    except OSError:
        return ""
    grey.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    stream = io.BytesIO()
    grey.save(stream, "JPEG", quality=70)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}"><br>'
