"""Checks of an audit on files, classes, patients and images.

Each check returns its findings. A check that also computes a table for the result takes or
returns this table.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from scipy.stats import kruskal

from ..preprocessing._thumbnails import MIN_UPRIGHT_CORRELATION, equalise, mean_radiograph
from ._audit_data import AuditData, count
from ._finding import ALPHA, Finding

_FEW_PATIENTS = 30
_ADULT_AGE = 18  # years

# A larger difference between the classes' shares of children is serious.
_MAX_DIFFERENCE_OF_CHILDREN = 0.2

# File names of Kermany et al. (2018), which is the class "pneumonia" of many collections.
_CHILDRENS_FILE = re.compile(r"(person\d+_(bacteria|virus)_\d+|(NORMAL2-)?IM-\d{4}-\d{4})", re.I)


def check_files(unreadable: pd.DataFrame) -> list[Finding]:
    """Report files that could not be read."""
    if unreadable.empty:
        return []
    return [
        Finding(
            "files",
            "warning",
            f"{count(len(unreadable), 'file')} could not be read",
            "They are left out of everything below.",
            "The list of unreadable files has the reason of each: replace or remove them.",
        )
    ]


def class_table(data: AuditData) -> pd.DataFrame:
    """Return the number of images and patients of each class, and its share of the images."""
    by_class = data.patient_table().groupby("class")["patient"]
    table = by_class.agg(images="size", patients="nunique")
    table["share"] = table["images"] / len(data.y)
    return table


def check_class_sizes(classes: pd.DataFrame) -> list[Finding]:
    """Report the scarcest class if it has few patients."""
    scarcest = classes["patients"].idxmin()
    n_patients = classes.loc[scarcest, "patients"]
    if n_patients >= _FEW_PATIENTS:
        return []
    return [
        Finding(
            "classes",
            "warning",
            f"{scarcest} has {n_patients} patients",
            "Figures for it have wide intervals, whatever the model.",
            "Report them with patient-bootstrap intervals, or add patients.",
        )
    ]


def check_patients_are_known(data: AuditData) -> list[Finding]:
    """Report data in which each image is a patient of its own."""
    if len(set(data.groups)) < len(data.y):
        return []
    return [
        Finding(
            "patients",
            "note",
            "every image counts as a patient of its own",
            "If patients have several images, these may be in both the training and the test "
            "set, and figures are then too good.",
            "Give the patients: a column of metadata.csv, or patient_pattern.",
        )
    ]


def patients_in_several_classes(data: AuditData) -> list[str]:
    """Return the patients with images in two classes or more."""
    n_classes = data.patient_table().groupby("patient")["class"].nunique()
    return [str(name) for name in n_classes.index[n_classes > 1]]


def check_patients_in_several_classes(patients: list[str]) -> list[Finding]:
    """Report patients with images in several classes."""
    if not patients:
        return []
    return [
        Finding(
            "patients in several classes",
            "note",
            f"images in two classes or more: {count(len(patients), 'patient')}",
            "The disease may have changed between the images, or the labels contradict each other. "
            "If you do not split by patient, a model is tested on patients that it was trained on.",
            "Split by patient (groups=bunch.groups), and check the labels of these images.",
        )
    ]


def images_in_other_orientation(data: AuditData) -> list[str]:
    """Return the paths of images that are upside down or inverted."""
    thumbnails = data.measurements.thumbnails
    correlation = equalise(thumbnails) @ mean_radiograph(thumbnails)
    return [str(path) for path in data.paths[correlation < MIN_UPRIGHT_CORRELATION]]


def check_orientation(paths: list[str]) -> list[Finding]:
    """Report images that seem to be upside down or inverted."""
    if not paths:
        return []
    return [
        Finding(
            "orientation",
            "note",
            f"possibly upside down or inverted: {count(len(paths), 'image')}",
            "They correlate negatively with the mean radiograph of the set.",
            "The list of these images has their paths: turn them, or leave them out.",
        )
    ]


def age_table(data: AuditData) -> pd.DataFrame | None:
    """Return for each class how many ages are known, their median, and the share of children."""
    ages = data.ages
    if ages is None:
        return None
    by_class = ages.groupby(data.y)
    table = pd.DataFrame({"known": by_class.count(), "median": by_class.median()})
    table["children"] = by_class.agg(_share_of_children)
    table.index.name = "class"
    return table


def _share_of_children(ages: pd.Series) -> float:
    return float((ages.dropna() < _ADULT_AGE).mean())


def check_ages(data: AuditData, table: pd.DataFrame | None) -> list[Finding]:
    """Report ages that differ between the classes."""
    if table is None:
        return []
    known = data.patient_table().assign(age=data.ages).dropna()
    # A patient with many images must not count more than others.
    known = known.drop_duplicates(["patient", "class"])
    samples = [part["age"].to_numpy() for _, part in known.groupby("class")]
    if len(samples) < 2 or known["age"].nunique() < 2:
        return []
    p = kruskal(*samples).pvalue
    if p > ALPHA:
        return []
    medians = ", ".join(f"{name} {median:.0f}" for name, median in table["median"].items())
    severity, meaning = "warning", "A network may recognise age instead of disease."
    if table["children"].max() - table["children"].min() > _MAX_DIFFERENCE_OF_CHILDREN:
        severity = "serious"
        meaning = (
            "A network may recognise age instead of disease: one class contains children, another "
            "adults."
        )
    return [
        Finding(
            "age and class",
            severity,
            f"ages differ between the classes (median years: {medians}; p {p:.2g})",
            meaning,
            "Match the ages of the classes, or leave the children out.",
        )
    ]


def check_children_by_name(data: AuditData) -> list[Finding]:
    """Report the public set of children that is often mixed with images of adults."""
    ages = data.ages
    if ages is not None and ages.notna().any():
        # The ages themselves say more than the names.
        return []
    is_child = np.array([_CHILDRENS_FILE.match(name) is not None for name in data.names])
    if not is_child.any() or is_child.all():
        return []
    shares = pd.Series(is_child).groupby(data.y).mean()
    difference = shares.max() - shares.min()
    listed = ", ".join(f"{label} {share:.0%}" for label, share in shares.items())
    return [
        Finding(
            "children",
            "serious" if difference > _MAX_DIFFERENCE_OF_CHILDREN else "warning",
            f"{is_child.sum()} files have names like those of a data set of children ({listed})",
            "The set of Kermany et al. (2018) contains children of one to five years. A "
            "network may recognise their age instead of disease.",
            "Leave them out, or give the ages (a column age) to have them compared.",
        )
    ]
