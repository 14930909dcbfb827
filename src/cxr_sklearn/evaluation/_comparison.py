"""Results of a comparison of models."""

from __future__ import annotations

import json
import textwrap
from html import escape
from typing import Any

import pandas as pd

from ..metrics._metric_names import LOWER_IS_BETTER, metric_name
from ._text import WIDTH, _shortened, cell, table_html


class Comparison:
    """Differences between models on the same images, made by :func:`compare`.

    Attributes
    ----------
    frame : DataFrame
        One row per pair of models and metric: ``model``, ``reference``, ``metric``, ``class``,
        ``difference`` (model less reference), ``low``, ``high``, ``method``, ``p``, ``p_adjusted``
        (Holm's method over the pairs of models, separately for each metric and class),
        ``n_images`` and ``n_patients``.
    confidence_level : float
        Confidence level of the intervals.
    n_permutations : int
        Number of permutations behind each p-value.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cxr_sklearn.evaluation import compare, evaluate
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["a", "b"], 50)
    >>> X = rng.normal(size=(100, 1)) + 2 * (y == "b")[:, None]
    >>> models = {"logistic": LogisticRegression(), "dummy": DummyClassifier()}
    >>> models = {name: model.fit(X[::2], y[::2]) for name, model in models.items()}
    >>> evaluation = evaluate(models, X[1::2], y[1::2], groups=np.arange(50), random_state=0)
    >>> comparison = compare(evaluation, metrics="balanced_accuracy")
    >>> bool(comparison.frame.loc[0, "p"] < 0.05)
    True
    """

    def __init__(
        self, frame: pd.DataFrame, confidence_level: float, n_permutations: int, unit: str
    ) -> None:
        self.frame = frame
        self.confidence_level = confidence_level
        self.n_permutations = n_permutations
        self._unit = unit

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of `frame`."""
        return self.frame.copy()

    def to_dict(self) -> dict[str, Any]:
        """Return the results as a dict of plain values."""
        # Through JSON, so that NaN becomes None and numpy's numbers become Python's.
        rows = json.loads(self.frame.to_json(orient="records", double_precision=15))
        return {
            "confidence_level": self.confidence_level,
            "n_permutations": self.n_permutations,
            "differences": rows,
        }

    def __str__(self) -> str:
        lines = []
        for (model, reference), rows in self.frame.groupby(["model", "reference"], sort=False):
            title = f"{model} less {reference}"
            lines.append(f"{_shortened(title, 48):48} {'difference':21} {'p':>8}")
            for row in rows.to_dict("records"):
                lines.append(self._line(row))
            lines.append("")
        lines.append(textwrap.fill(self._footnote(), WIDTH))
        return "\n".join(lines)

    def _line(self, row: dict[str, Any]) -> str:
        name = f"  {metric_name(row['metric'])} {row['class']}".rstrip()
        if row["metric"] in LOWER_IS_BETTER:
            name += " (lower is better)"
        difference = {"value": row["difference"], "low": row["low"], "high": row["high"]}
        text = cell(difference, signed=True)
        return f"{_shortened(name, 48):48} {text:21} {row['p_adjusted']:>8.4f}"

    def _footnote(self) -> str:
        n_pairs = len(self.frame[["model", "reference"]].drop_duplicates())
        adjusted = ""
        if n_pairs > 1:
            adjusted = f", adjusted for {n_pairs} pairs of models with Holm's method"
        return (
            f"Brackets: {100 * self.confidence_level:g} % intervals of the difference, both models "
            f"on the same resamples of {self._unit}. p: {self.n_permutations} permutations of "
            f"{self._unit}{adjusted}."
        )

    def __repr__(self) -> str:
        pairs = self.frame[["model", "reference"]].drop_duplicates()
        names = ", ".join(f"{a} less {b}" for a, b in pairs.itertuples(index=False))
        return f"<Comparison: {names}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>{table_html(self.frame)}"
