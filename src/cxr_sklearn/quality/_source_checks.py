"""Checks of an audit on the sources of the images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .._utils.messages import some
from ..metrics._association import cramers_v
from ._audit_data import AuditData, count
from ._finding import ALPHA, Finding
from ._source_association import single_source_classes, unknown_shares
from ._sources import remedy_for_sources, similar_sources

# From this value of Cramér's V on, an association with the class is serious.
_SERIOUS_ASSOCIATION = 0.5
_N_NAMED = 5  # pairs of similar names in a finding


def source_table(data: AuditData) -> pd.DataFrame:
    """Return the number of images by source (rows) and class (columns)."""
    return pd.crosstab(data.sources, data.y, rownames=["source"], colnames=["class"])


def associations_with_class(data: AuditData) -> dict[str, tuple[float, float]]:
    """Return Cramér's V with the class, and its p-value, of the source and of the view."""
    columns = {"source": data.sources}
    if "view" in data.frame:
        columns["view"] = data.frame["view"].fillna("").astype(str).to_numpy(dtype=str)
    associations = {}
    for name, values in columns.items():
        is_known = values != ""
        associations[name] = cramers_v(values[is_known], data.y[is_known], data.groups[is_known])
    return associations


def check_associations(
    data: AuditData, associations: dict[str, tuple[float, float]]
) -> list[Finding]:
    """Report sources and views that are associated with the class."""
    findings = []
    for name, (v, p) in associations.items():
        # NaN, the p-value of a column with one value, is not significant.
        if not p <= ALPHA:
            continue
        what = name
        remedy = f"Use one {name} only, or balance it within each class."
        if name == "source":
            remedy = _remedy(data)
            if data.sources_are_inferred:
                what = "family of file names"
        findings.append(
            Finding(
                f"{name} and class",
                _severity(v),
                f"{what} and class are associated (Cramér's V {v:.2f}, p {p:.3f})",
                f"A network that recognises the {what} can predict the class.",
                remedy,
            )
        )
    return findings


def _severity(v: float) -> str:
    return "serious" if v >= _SERIOUS_ASSOCIATION else "warning"


def _remedy(data: AuditData) -> str:
    if data.sources_are_inferred:
        return (
            "Give the source of every image in a column source. Then balance the sources within "
            "each class."
        )
    return remedy_for_sources(data.y, data.sources)


def check_unknown_sources(data: AuditData) -> list[Finding]:
    """Report images without a source, and whether these are of certain classes."""
    is_known = data.sources != ""
    if is_known.all():
        return []
    n_unknown = int((~is_known).sum())
    findings = [
        Finding(
            "sources",
            "note",
            f"the source of {count(n_unknown, 'image')} is not known",
            "The checks of sources leave these images out.",
            "Give the source of every image.",
        )
    ]
    v, p = cramers_v(is_known, data.y, data.groups)
    if p <= ALPHA and not data.sources_are_inferred:
        shares = unknown_shares(data.y, data.sources)
        findings.append(
            Finding(
                "unknown sources and class",
                _severity(v),
                f"source known or unknown and class are associated (Cramér's V {v:.2f}, p {p:.3f}; "
                f"unknown: {shares})",
                "Images without a source may come from a source of their own. A network that "
                "recognises it can predict the class.",
                "Give the source of every image.",
            )
        )
    return findings


def _has_several_sources(data: AuditData) -> bool:
    known = set(data.sources) - {""}
    return not data.sources_are_inferred and len(known) > 1


def check_source_names(data: AuditData) -> list[Finding]:
    """Report sources that may be the same under different spellings."""
    if not _has_several_sources(data):
        return []
    pairs = similar_sources(set(data.sources) - {""})
    if not pairs:
        return []
    named = some((f"{first!r} and {second!r}" for first, second in pairs), "; ", _N_NAMED)
    return [
        Finding(
            "sources",
            "note",
            f"similar names of sources: {named}",
            "They count as different sources.",
            "Correct the spelling, if these are the same.",
        )
    ]


def classes_of_one_source(data: AuditData, p: float) -> dict[str, str]:
    """Return the classes whose images all come from one source, and this source.

    Parameters
    ----------
    data : AuditData
    p : float
        P-value of the association of source and class.
    """
    if not _has_several_sources(data):
        return {}
    is_known: np.ndarray = data.sources != ""
    y, sources, groups = data.y[is_known], data.sources[is_known], data.groups[is_known]
    return single_source_classes(y, sources, groups, p)


def check_single_sources(single: dict[str, str], p: float) -> list[Finding]:
    """Report classes whose images all come from one source."""
    if not single:
        return []
    named = ", ".join(f"{label} from {source}" for label, source in single.items())
    return [
        Finding(
            "single-source classes",
            "serious" if p <= ALPHA else "warning",
            f"classes from one source only: {named}",
            "Any property of images of this source also identifies the class. No split of these "
            "images shows whether a model recognises the disease or the hospital.",
            "Add images of these classes from other sources. Then test with LeaveOneSourceOut, "
            "which raises an error if a class comes from one source only.",
        )
    ]
