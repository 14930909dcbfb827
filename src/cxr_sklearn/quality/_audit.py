"""Audit a data set before a model is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils import Bunch

from ._audit_checks import _Auditor, _check_classes
from ._audit_result import Audit
from ._measurements import measure_films


def audit(
    bunch: Bunch, *, n_jobs: int | None = None, progress: Callable[[], Any] | None = None
) -> Audit:
    """Look for what lets a classifier succeed without seeing disease.

    Classifiers are trained on everything but the lungs (headers, file sizes, file names, the
    border of the image, thumbnails, grey levels) and judged on patients that they have not seen.
    Where these do better than chance, a network can too, and its figures say little about
    patients.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
        As a loader returns it, for instance :func:`~cxr_sklearn.datasets.load_xray_folder`.
    n_jobs : int, default=None
        Threads that decode, and processes that fit the baselines.
    progress : callable, default=None
        Called after each file.

    Returns
    -------
    result : Audit

    Raises
    ------
    ValueError
        If there are fewer than two classes, before any file is read, or fewer than two classes
        with readable images.

    Notes
    -----
    The baselines are cross-validated by patient, which takes two patients of each class. They leave
    out classes of one patient, and a finding names these.

    Each check that tests something against chance does so at a level of 1 %. How often each speaks
    without a flaw is measured in the user guide. The thumbnail and the grey histogram see the
    lungs, if dimly. They are what a network must beat, and no finding by themselves.

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
    films = measure_films(list(bunch.data[:, 0]), n_jobs, progress)
    return _Auditor(bunch, films, n_jobs).result()
