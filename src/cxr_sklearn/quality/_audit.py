"""Audit a data set before a model is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._audit_data import AuditData, readable_images
from ._audit_report import as_html, as_text, draw, write_page
from ._audit_result import AuditResult
from ._baseline_checks import baseline_table, check_baselines, check_classes_of_one_patient
from ._duplicate_checks import check_duplicates, check_small_images, duplicate_table
from ._finding import SEVERITIES
from ._image_checks import (
    age_table,
    check_ages,
    check_children_by_name,
    check_class_sizes,
    check_files,
    check_orientation,
    check_patients_are_known,
    check_patients_in_several_classes,
    class_table,
    images_in_other_orientation,
    patients_in_several_classes,
)
from ._measure import measure_images
from ._measurements import ImageMeasurements, check_measurements
from ._source_checks import (
    associations_with_class,
    check_associations,
    check_single_sources,
    check_source_names,
    check_unknown_sources,
    classes_of_one_source,
    source_table,
)


@dataclass(frozen=True)
class Audit(AuditResult):
    """Result of :func:`audit`: tables, and the findings that follow from them.

    Attributes
    ----------
    n_images, n_patients : int
        Number of readable images, and of their patients.
    classes : DataFrame
        For each class the number of ``images`` and ``patients``, and the ``share`` of the images.
    unreadable : DataFrame
        ``path`` and ``reason``.
    images : DataFrame
        The readable images: ``path``, ``class``, ``patient`` and ``source``.
    sources : DataFrame
        Images by source (rows) and class (columns).
    sources_are_inferred : bool
        Whether the sources are families of file names, because the bunch has no sources.
    cramers_v : dict of str to (float, float)
        By column (``"source"``, ``"view"``): Cramér's V with the class, and its
        p-value from a permutation of the patients. If a column or the class has one value only, V
        is NaN and the p-value is 1.
    single_source_classes : dict of str to str
        Classes with images from one source only, and this source. Empty if the data have fewer than
        two sources. Classes of fewer than 10 patients count only if source and class are
        associated.
    baselines : DataFrame
        ``baseline``, ``metric``, ``classes`` ("" for all, a class against the rest, or a pair),
        ``value``, 95 % patient-bootstrap interval ``low``, ``high``, ``chance``, and ``p``, of a
        one-sided test against chance. No rows, if fewer than two classes have two patients.
    duplicates : DataFrame
        Pairs: ``first``, ``second`` (paths), ``kind`` ("exact", "near", "mirrored" or
        "reframed"), ``distance``, ``correlation``, ``same_class``, ``same_patient``.
    patients_in_several_classes : list of str
        Patients with images in two classes or more.
    turned : list of str
        Paths of images that seem to be upside down or inverted.
    ages : DataFrame or None
        For each class the number of ``known`` ages, their ``median`` in years, and the share of
        ``children`` (under 18). None if the bunch has no ages.
    findings : list of Finding
        The most serious ones are first.
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_html(self, path: Any, *, thumbnails: bool = True) -> Path:
        """Write a page that needs no other file, with the figure inside.

        The page contains the names of files that are unreadable, upside down or duplicates, and of
        patients in several classes.

        Parameters
        ----------
        path : str or path
            File of the page. An existing file is replaced as a whole, but never if it is an image,
            one of the files that were audited, or a ``metadata.csv``.
        thumbnails : bool, default=True
            Whether the page shows small copies of the listed images, at most 200. Their files are
            read again.

        Returns
        -------
        path : Path

        Raises
        ------
        OSError
            If the page cannot be written, or would replace a file that must not be replaced.
        """
        return write_page(self, path, thumbnails)

    def plot(self) -> Any:
        """Draw the baselines with their intervals, and the number of images by class and source.

        Returns
        -------
        figure : matplotlib.figure.Figure
        """
        return draw(self)


def audit(
    bunch: Bunch,
    *,
    measurements: ImageMeasurements | None = None,
    n_jobs: int | None = None,
    progress: Callable[[], Any] | None = None,
) -> Audit:
    """Report what allows a classifier to predict the class without the disease.

    Simple classifiers are trained on information without the lungs (headers, file sizes, file
    names, the border of the image), and tested on other patients. If one of them is better than
    chance, a network can learn the same shortcut, and its scores say little about patients.
    Thumbnails and grey histograms are evaluated too, for comparison with a network.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
        Images, as a loader such as :func:`~cxr_sklearn.datasets.load_xray_folder` returns them.
    measurements : ImageMeasurements, default=None
        Result of :func:`measure_images` for this bunch. If it is passed, no file is decoded.
    n_jobs : int, default=None
        Number of threads that decode, and of processes that fit the baselines.
    progress : callable, default=None
        Function without arguments that is called after each file that is decoded.

    Returns
    -------
    result : Audit

    Raises
    ------
    ValueError
        If there are fewer than two classes, or fewer than two classes with readable images. If
        `measurements` belongs to other images.
    TypeError
        If `measurements` is not an ImageMeasurements.

    Notes
    -----
    The baselines are cross-validated by patient, which requires two patients of each class. They
    leave out classes of one patient, and a finding names these classes.

    Each statistical test uses a significance level of 1 %. The user guide states how often each
    check reports something in data without a flaw. The thumbnail and the grey histogram contain a
    coarse image of the lungs. They show what a network should exceed, and are never reported as
    findings.

    References
    ----------
    .. [1] DeGrave, Janizek and Lee (2021). AI for radiographic COVID-19 detection selects shortcuts
       over signal. Nature Machine Intelligence 3, 610-619.
    .. [2] Maguolo and Nanni (2021). A critic evaluation of methods for COVID-19 automatic detection
       from X-ray images. Information Fusion 76, 1-7.
    .. [3] Kermany et al. (2018). Identifying medical diagnoses and treatable diseases by
       image-based deep learning. Cell 172, 1122-1131.
    .. [4] Roberts et al. (2021). Common pitfalls and recommendations for using machine learning to
       detect and prognosticate for COVID-19 using chest radiographs and CT scans. Nature Machine
       Intelligence 3, 199-217.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import make_chest_phantom_files
    >>> from cxr_sklearn.quality import audit
    >>> with TemporaryDirectory() as root:
    ...     bunch = make_chest_phantom_files(root, 90, confound="format", random_state=0)
    ...     result = audit(bunch)
    >>> [finding.check for finding in result.findings if finding.severity == "serious"]
    ['header']
    """
    _check_classes(bunch.target, "bunch has images of")
    if measurements is None:
        measurements = measure_images(bunch, n_jobs=n_jobs, progress=progress)
    else:
        check_measurements(measurements, bunch)
    data = readable_images(bunch, measurements)
    _check_classes(data.y, "the files that could be read are of")
    unreadable = measurements.frame.loc[~measurements.is_readable, ["path", "error"]]
    unreadable = unreadable.rename(columns={"error": "reason"}).reset_index(drop=True)
    return _run_checks(data, unreadable, n_jobs)


def _check_classes(labels: Any, found: str) -> None:
    """Raise unless there are two classes or more."""
    names = np.unique(np.asarray(labels).astype(str)).tolist()
    if len(names) >= 2:
        return
    classes = f"one class only ({names[0]!r})" if names else "no class"
    raise ValueError(
        f"{found} {classes}; expected 2 or more, because an audit compares classes. Add images of "
        "other classes."
    )


def _run_checks(data: AuditData, unreadable: pd.DataFrame, n_jobs: int | None) -> Audit:
    """Compute the tables of the result, and run every check on them."""
    associations = associations_with_class(data)
    _, p = associations["source"]
    classes = class_table(data)
    single_sources = classes_of_one_source(data, p)
    baselines = baseline_table(data, n_jobs)
    duplicates = duplicate_table(data, n_jobs)
    patients = patients_in_several_classes(data)
    turned = images_in_other_orientation(data)
    ages = age_table(data)
    findings = [
        *check_associations(data, associations),
        *check_files(unreadable),
        *check_class_sizes(classes),
        *check_patients_are_known(data),
        *check_unknown_sources(data),
        *check_source_names(data),
        *check_single_sources(single_sources, p),
        *check_classes_of_one_patient(data, baselines),
        *check_baselines(baselines),
        *check_small_images(data),
        *check_duplicates(duplicates),
        *check_patients_in_several_classes(patients),
        *check_orientation(turned),
        *check_ages(data, ages),
        *check_children_by_name(data),
    ]
    images = {"path": data.paths, "class": data.y, "patient": data.groups, "source": data.sources}
    return Audit(
        n_images=len(data.y),
        n_patients=len(set(data.groups)),
        unreadable=unreadable,
        images=pd.DataFrame(images),
        classes=classes,
        sources=source_table(data),
        sources_are_inferred=data.sources_are_inferred,
        cramers_v=associations,
        single_source_classes=single_sources,
        baselines=baselines,
        duplicates=duplicates,
        patients_in_several_classes=patients,
        turned=turned,
        ages=ages,
        findings=sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)),
    )
