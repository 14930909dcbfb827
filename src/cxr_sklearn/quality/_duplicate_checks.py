"""Check of an audit: images that occur twice."""

from __future__ import annotations

import pandas as pd

from ._audit_data import AuditData, count
from ._duplicates import find_duplicates
from ._finding import Finding
from ._keypoints import MIN_SIDE


def check_small_images(data: AuditData) -> list[Finding]:
    """Report images in which copies in another framing cannot be found."""
    n_small = int(data.measurements.is_small.sum())
    if not n_small:
        return []
    return [
        Finding(
            "small images",
            "note",
            f"compared in equal framing only: {count(n_small, 'image')}",
            f"Images of fewer than {MIN_SIDE} pixels have too little detail to find copies "
            "that were cropped, rotated or inverted.",
            "Audit larger copies of these images.",
        )
    ]


def duplicate_table(data: AuditData, n_jobs: int | None) -> pd.DataFrame:
    """Return the pairs of images of equal content, with their classes and patients compared."""
    pairs = find_duplicates(data.measurements, n_jobs=n_jobs)
    first, second = pairs["first"].to_numpy(dtype=int), pairs["second"].to_numpy(dtype=int)
    return pd.DataFrame(
        {
            "first": data.paths[first],
            "second": data.paths[second],
            "kind": pairs["kind"].to_numpy(),
            "distance": pairs["distance"].to_numpy(),
            "correlation": pairs["correlation"].to_numpy(),
            "same_class": data.y[first] == data.y[second],
            "same_patient": data.groups[first] == data.groups[second],
        }
    )


def check_duplicates(duplicates: pd.DataFrame) -> list[Finding]:
    """Report pairs of duplicates that a split by patient or by class does not keep together."""
    is_same_class, is_same_patient = duplicates["same_class"], duplicates["same_patient"]
    n_in_two_classes = int((~is_same_class).sum())
    n_of_two_patients = int((is_same_class & ~is_same_patient).sum())
    findings = []
    if n_in_two_classes:
        findings.append(
            Finding(
                "duplicates across classes",
                "serious",
                f"one image in two classes: {count(n_in_two_classes, 'pair')}",
                "One of the two labels is wrong, and the model is tested on images it has seen.",
                "The list of duplicates has their paths: leave both out, as curate does.",
            )
        )
    if n_of_two_patients:
        findings.append(
            Finding(
                "duplicates",
                "warning",
                f"one image under two patients: {count(n_of_two_patients, 'pair')}",
                "A split by patient does not keep them on one side.",
                "The list of duplicates has their paths: keep one of each, as curate does.",
            )
        )
    return findings
