"""Results of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ._finding import Finding


@dataclass(frozen=True)
class Audit:
    """What :func:`audit` found.

    Attributes
    ----------
    n_images, n_patients : int
        Readable images, and patients among them.
    classes : DataFrame
        Per class ``images``, ``patients``, ``share``.
    unreadable : DataFrame
        ``path`` and ``reason``.
    images : DataFrame
        The readable images: ``path``, ``class``, ``patient`` and ``source``.
    sources : DataFrame
        Images by source (rows) and class (columns).
    sources_are_inferred : bool
        Whether sources are families of file names, for want of a column.
    cramers_v : dict of str to (float, float)
        By column (``"source"``, ``"view"``): Cramér's V with the class, and its permutation
        p-value, patients being permuted. NaN where a column has one value.
    single_source_classes : dict of str to str
        Classes all of whose images come from one source, and the source, where there are several
        sources. Classes of fewer than 10 patients count only if source and class are associated.
    baselines : DataFrame
        ``baseline``, ``metric``, ``classes`` ("" for all, a class against the rest, or a pair),
        ``value``, 95 % patient-bootstrap interval ``low``, ``high``, ``chance``, and ``p``, of a
        one-sided test against chance. No rows, if fewer than two classes have two patients.
    duplicates : DataFrame
        Pairs: ``first``, ``second`` (paths), ``kind`` ("exact", "near", "mirrored" or
        "reframed"), ``distance``, ``correlation``, ``same_class``, ``same_patient``.
    patients_in_several_classes : list of str
    turned : list of str
        Paths of films that look upside down or inverted.
    ages : DataFrame or None
        Per class ``known``, ``median`` (years) and ``children`` (share under 18).
    findings : list of Finding
        Worst first.
    """

    n_images: int
    n_patients: int
    classes: pd.DataFrame
    unreadable: pd.DataFrame
    images: pd.DataFrame
    sources: pd.DataFrame
    sources_are_inferred: bool
    cramers_v: dict[str, tuple[float, float]]
    single_source_classes: dict[str, str]
    baselines: pd.DataFrame
    duplicates: pd.DataFrame
    patients_in_several_classes: list[str]
    turned: list[str]
    ages: pd.DataFrame | None
    findings: list[Finding] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return a row per finding."""
        columns = list(Finding.__dataclass_fields__)
        return pd.DataFrame([vars(f) for f in self.findings], columns=columns)

    def baseline_table(self) -> pd.DataFrame:
        """Return a line per baseline, and its figures as text: value (interval)."""
        text = [
            f"{value:.2f} ({low:.2f}–{high:.2f})"
            for value, low, high in self.baselines[["value", "low", "high"]].to_numpy()
        ]
        columns = (self.baselines["metric"] + " " + self.baselines["classes"]).str.strip()
        table = pd.DataFrame(
            {"baseline": self.baselines["baseline"], "column": columns, "cell": text}
        )
        wide = table.pivot(index="baseline", columns="column", values="cell")
        return wide.loc[table["baseline"].unique(), columns.unique()]

    def __str__(self) -> str:
        from ._audit_report import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from ._audit_report import as_html

        return as_html(self)

    def to_html(self, path: Any, *, thumbnails: bool = True) -> Path:
        """Write a page that needs no other file, with the figure inside.

        The page contains names of files and patients: those that are unreadable, upside down,
        duplicates, or in several classes.

        Parameters
        ----------
        path : str or path
            File of the page. An existing file is replaced as a whole, but never if it is an image,
            one of the files that were audited, or a ``metadata.csv``.
        thumbnails : bool, default=True
            Whether the page shows small copies of these images, up to 200. The files are read
            again.

        Returns
        -------
        path : Path

        Raises
        ------
        OSError
            If the page cannot be written, or would replace one of these files.
        """
        from ._audit_report import write_page

        return write_page(self, path, thumbnails)

    def plot(self) -> Any:
        """Draw the baselines beside chance, and the classes by source.

        Returns
        -------
        figure : matplotlib.figure.Figure
        """
        from ._audit_report import draw

        return draw(self)
