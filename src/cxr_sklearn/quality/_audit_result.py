"""Data of an audit's result."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from ._finding import Finding


@dataclass(frozen=True)
class AuditResult:
    """Data of an audit's result. :class:`Audit` describes them, and shows them."""

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
        """Return a row per baseline and a column per figure, as strings with the interval."""
        cells = []
        for value, low, high in self.baselines[["value", "low", "high"]].to_numpy():
            cells.append(f"{value:.2f} ({low:.2f}–{high:.2f})")
        columns = (self.baselines["metric"] + " " + self.baselines["classes"]).str.strip()
        table = pd.DataFrame(
            {"baseline": self.baselines["baseline"], "column": columns, "cell": cells}
        )
        wide = table.pivot(index="baseline", columns="column", values="cell")
        return wide.loc[table["baseline"].unique(), columns.unique()]
