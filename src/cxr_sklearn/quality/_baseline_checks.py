"""Check of an audit: baselines that predict the class without the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._audit_data import AuditData
from ._finding import ALPHA, Finding
from ._shortcuts import judged, out_of_fold, shortcuts

_COLUMNS = ["baseline", "metric", "classes", "value", "low", "high", "chance", "p"]

# A baseline is a serious finding only if the interval of its AUC lies above this value.
_SERIOUS_AUC = 0.7


@dataclass(frozen=True)
class _Shortcut:
    """Texts for the finding on one kind of baseline.

    Attributes
    ----------
    check, severity, meaning, remedy : str
        As in :class:`Finding`.
    """

    check: str
    severity: str
    meaning: str
    remedy: str


# By the beginning of the baseline's name. Thumbnails, grey histograms and "lungs only" see the
# lungs, if dimly, and are no findings.
_SHORTCUTS = {
    "header": _Shortcut(
        "header",
        "serious",
        "Format, colour mode or size of the files give the class away. A network sees what they "
        "leave in the pixels: resampling, compression, margins.",
        "Bring all files to one form from the originals; test on other sources.",
    ),
    "border": _Shortcut(
        "border",
        "serious",
        "The border of the image, without lungs, gives the class away: collimation, markers, "
        "positioning, or the habit of a hospital.",
        "Compare your model with one trained on images whose lungs are blanked; crop to the lungs "
        "with LungCrop; test on other sources.",
    ),
    "lungs blanked": _Shortcut(
        "image without lungs",
        "serious",
        "Coarse images in which the box around the lungs has one grey level give the class away. "
        "A network may learn the rest of the image: borders, arms, letters, exposure.",
        "Compare your model with the same model on blanked lungs (cross_evaluate); crop to the "
        "lungs with LungCrop; test on other sources.",
    ),
    "file": _Shortcut(
        "file size and name",
        "note",
        "A network does not see the file size or the name. But if they predict the class, the "
        "classes were probably collected from different sources or series, and a network may see "
        "other traces of these. The file size per pixel also depends on the texture of the image.",
        "Read it as a hint of how the classes were collected.",
    ),
}


# What a baseline sees, where its name does not state it.
_SEEN = {"lungs blanked": "image without the lungs"}


def classes_of_one_patient(data: AuditData) -> list[str]:
    """Return the classes that cannot be cross-validated by patient."""
    n_patients = data.patient_table().groupby("class")["patient"].nunique()
    return n_patients.index[n_patients < 2].tolist()


def baseline_table(data: AuditData, n_jobs: int | None) -> pd.DataFrame:
    """Return the figures of all baselines; no rows if fewer than two classes have two patients."""
    keep = ~np.isin(data.y, classes_of_one_patient(data))
    classes, codes = np.unique(data.y[keep], return_inverse=True)
    if len(classes) < 2:
        return pd.DataFrame(columns=_COLUMNS)
    groups = data.groups[keep]
    names = list(np.array(data.names, dtype=object)[keep])
    rows = []
    for shortcut in shortcuts(data.measurements.take(keep), names):
        probabilities = out_of_fold(shortcut, codes, groups, n_jobs)
        for figure in judged(probabilities, codes, list(classes), groups):
            rows.append({"baseline": shortcut.name, **figure})
    return pd.DataFrame(rows)


def check_classes_of_one_patient(data: AuditData, baselines: pd.DataFrame) -> list[Finding]:
    """Report the classes that the baselines leave out."""
    classes = classes_of_one_patient(data)
    if not classes:
        return []
    consequence = "are left out" if baselines.empty else "leave these images out"
    return [
        Finding(
            "baselines",
            "warning",
            f"classes with images of one patient: {', '.join(classes)}",
            "The baselines (header, border, file size and name, thumbnail, lungs blanked, lungs "
            "only, grey histogram) are cross-validated by patient, which takes two patients of "
            f"each class; they {consequence}.",
            "Add patients of these classes, or leave the classes out.",
        )
    ]


def check_baselines(baselines: pd.DataFrame) -> list[Finding]:
    """Report baselines that do not see the lungs, and predict the class better than chance."""
    findings: list[Finding] = []
    if baselines.empty:
        return findings
    aucs = baselines[baselines["metric"] == "AUC"]
    for kind, shortcut in _SHORTCUTS.items():
        rows = aucs[aucs["baseline"].str.startswith(kind)]
        overall = rows[rows["classes"] == ""]
        best = overall.loc[overall["p"].idxmin()]
        # Bonferroni's correction, because the border is measured in several widths.
        if best["p"] > ALPHA / len(overall):
            continue
        # The class, or the pair of classes, that is predicted best.
        most_telling = rows.loc[rows["value"].idxmax()]
        severity = shortcut.severity
        if severity == "serious" and most_telling["low"] < _SERIOUS_AUC:
            severity = "warning"
        in_detail = ""
        if most_telling["classes"]:
            in_detail = f", {most_telling['classes']} {most_telling['value']:.2f}"
        findings.append(
            Finding(
                shortcut.check,
                severity,
                f"a classifier that sees the {_SEEN.get(kind, best['baseline'])} only reaches AUC "
                f"{best['value']:.2f} ({best['low']:.2f}–{best['high']:.2f}){in_detail}; chance is "
                "0.50",
                shortcut.meaning,
                shortcut.remedy,
            )
        )
    return findings
