"""Sort the images of a data set into those to reject, to review and to keep."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ..datasets._bunch import select_rows
from ..exceptions import CurationWarning
from ..metrics._association import cramers_v
from ._curate_files import check_out, check_sheet, contact_sheet, write_folders
from ._curation_rules import CurationRules, by_measure, label_suspects
from ._duplicates import duplicate_groups, find_duplicates
from ._measure import measure_images
from ._measurements import ImageMeasurements, check_measurements, paths_of

TIERS = ("reject", "review", "keep")
_UNEVEN_P = 0.01


@dataclass(frozen=True)
class Curation:
    """Result of :func:`curate`.

    Attributes
    ----------
    manifest : DataFrame
        A row per file in the order of the bunch: ``path``, ``label``, ``patient``, ``source``,
        ``tier`` ("reject", "review" or "keep"), ``reasons`` (separated by "; "),
        ``duplicate_of`` (path) and ``output`` (path of the copy or link, relative to `out`; "" if
        there is none).
    kept : sklearn.utils.Bunch or None
        The images of the tier "keep". None if there are no such images.
    out : Path or None
        Folder that was written; None for a dry run.
    """

    manifest: pd.DataFrame
    kept: Bunch | None
    out: Path | None

    def costs(self, by: str = "label") -> pd.DataFrame:
        """Return the number of images of each tier, and the share that is rejected.

        With ``by="reason"``, return the number of rejected or reviewed images per reason (rows) and
        class (columns). An image with several reasons counts once for each.

        Parameters
        ----------
        by : {"label", "source", "reason"}, default="label"

        Returns
        -------
        table : DataFrame
        """
        frame = self.manifest
        if by == "reason":
            reasons = frame[["tier", "label"]].assign(reason=frame["reasons"].str.split("; "))
            reasons = reasons.explode("reason")
            reasons = reasons[reasons["reason"] != ""]
            return pd.crosstab(reasons["reason"], reasons["label"])
        table = pd.crosstab(frame[by], frame["tier"]).reindex(columns=list(TIERS), fill_value=0)
        table["rejected"] = (table["reject"] / table.sum(axis=1)).round(3)
        return table

    def contact_sheet(self, path: Any, tier: str = "reject") -> Path:
        """Draw the images of a tier, by reason.

        Parameters
        ----------
        path : str or path
            PNG file. An existing file is replaced only if it is a contact sheet, so that no
            radiograph is lost.
        tier : {"reject", "review", "keep"}, default="reject"

        Returns
        -------
        path : Path

        Raises
        ------
        OSError
            If the file cannot be written, or exists and is not a contact sheet.
        """
        check_sheet(path, self.manifest["path"])
        return contact_sheet(self.manifest[self.manifest["tier"] == tier], path)

    def __str__(self) -> str:
        parts = [self.costs("label").to_string()]
        if self.manifest["source"].nunique() > 1:
            parts.append(self.costs("source").to_string())
        reasons = self.costs("reason")
        parts.append(reasons.to_string() if len(reasons) else "Nothing rejected or to be reviewed.")
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def curate(
    bunch: Bunch,
    out: Any = None,
    *,
    rules: CurationRules | None = None,
    mode: str = "copy",
    proba: Any = None,
    dry_run: bool = False,
    measurements: ImageMeasurements | None = None,
    n_jobs: int | None = None,
    progress: Callable[[], Any] | None = None,
) -> Curation:
    """Sort images into those to reject, to review by eye, and to keep.

    The authors of the paper removed images of poor quality by eye (section III). This function uses
    the limits in `rules` instead, and reports how many images of each class and source they
    exclude. A rule that excludes more images of one class than of another creates a new shortcut.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
        Images, as a loader returns them. The files are read, but never changed.
    out : str or path, default=None
        Folder for the result, created if it is missing. It contains ``kept/<class>/`` and
        ``kept/metadata.csv``, which :func:`~cxr_sklearn.datasets.load_xray_folder` reads. It also
        contains the same for the images to review in ``review/``, the table ``manifest.csv``, and
        contact sheets of the other images, ``rejected.png`` and ``review.png``. If a run was
        stopped, the same call completes it. A folder with other contents raises an error.
    rules : CurationRules, default=None
        Limits for the decisions. By default those of :class:`CurationRules`.
    mode : {"copy", "link"}, default="copy"
        Whether to copy the files, or to make symbolic links to them.
    proba : array-like of shape (n_samples, n_classes), default=None
        Out-of-fold probabilities, columns in the order of ``bunch.target_names``. Images whose
        label they contradict are sent to review. Such an image has its highest probability for
        another class. This probability is at least the mean for images labelled with that class,
        and the probability of its own label is below the mean for images with this label (confident
        learning).
    dry_run : bool, default=False
        Whether to write no files, as with ``out=None``.
    measurements : ImageMeasurements, default=None
        Result of :func:`measure_images` for this bunch. If it is passed, no file is decoded for the
        decisions.
    n_jobs : int, default=None
        Number of threads that decode and compare images.
    progress : callable, default=None
        Function without arguments that is called after each file that is decoded.

    Returns
    -------
    result : Curation

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    OSError
        If `out` cannot be written, or contains files that no curation wrote.

    Warns
    -----
    CurationWarning
        If the rules reject, or send to review, images of one class or source more often than of
        others.

    Notes
    -----
    Of several duplicates (exact, near, mirrored or reframed) in one class, the image with the most
    pixels is kept. Of images of equal size, the one with the largest file is kept, and then the
    first by path. Duplicates in several classes are all rejected, since one of their labels is
    wrong.
    :func:`~cxr_sklearn.model_selection.check_split` explains these kinds of duplicates, and
    compares patients, which curation does not.

    Files are copied unchanged. DICOM headers therefore still contain the data of the patient. If
    the name of a class is not a valid folder name, its folder has another name. The column
    ``original_label`` of ``metadata.csv`` then contains the name of the class.

    References
    ----------
    .. [1] Kim, Kang and Kim (2020). COVID-19 and Pneumonia Classification with X-ray Images Using
       Combined ResNet50 Model. Section III.
    .. [2] Northcutt, Jiang and Chuang (2021). Confident learning: Estimating uncertainty in dataset
       labels. Journal of Artificial Intelligence Research 70, 1373-1411.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import make_chest_phantom_files
    >>> from cxr_sklearn.quality import CurationRules, curate
    >>> with TemporaryDirectory() as root:
    ...     bunch = make_chest_phantom_files(root, 40, confound="duplicates", random_state=0)
    ...     result = curate(bunch, rules=CurationRules(min_side=64))
    >>> print(result.costs("label")["reject"].sum() >= 2)
    True
    """
    rules = CurationRules() if rules is None else rules
    if mode not in ("copy", "link"):
        raise ValueError(f"mode={mode!r}; expected 'copy' or 'link'")
    suspects = np.zeros(len(bunch.data), dtype=bool)
    if proba is not None:
        suspects = label_suspects(proba, bunch.target, bunch.target_names)
    if measurements is not None:
        # Before anything is written.
        check_measurements(measurements, bunch)
    folder = None
    if out is not None and not dry_run:
        folder = check_out(out, paths_of(bunch))
    if measurements is None:
        measurements = measure_images(bunch, n_jobs=n_jobs, progress=progress)
    manifest = _decide(bunch, measurements, rules, suspects, n_jobs)
    _warn_uneven(manifest, "label", "class")
    _warn_uneven(manifest, "source", "source")
    if folder is not None:
        core = ["path", "label", "patient", "source"]
        columns = bunch.frame.drop(columns=[name for name in core if name in bunch.frame])
        aside = _set_aside(bunch, manifest.columns)
        manifest["output"] = write_folders(manifest, columns, aside, folder, mode)
    keep = (manifest["tier"] == "keep").to_numpy()
    kept = select_rows(bunch, keep) if keep.any() else None
    return Curation(manifest=manifest, kept=kept, out=folder)


def _set_aside(bunch: Bunch, columns: pd.Index) -> pd.DataFrame:
    """Return rows of the manifest for files that the loader did not load."""
    reasons = [f"set aside in loading: {reason}" for reason in bunch.ignored_reasons]
    reasons += ["missing"] * len(bunch.missing)
    rows = pd.DataFrame({"path": [*bunch.ignored, *bunch.missing], "reasons": reasons})
    rows = rows.reindex(columns=columns, fill_value="")
    rows["tier"] = "reject"
    return rows


def _decide(
    bunch: Bunch,
    measurements: ImageMeasurements,
    rules: CurationRules,
    suspects: np.ndarray,
    n_jobs: int | None,
) -> pd.DataFrame:
    """Return the manifest: the tier of each image, and the reasons for it."""
    y = np.asarray(bunch.target)
    by_rule, review = by_measure(measurements, rules)
    reject = {"unreadable": ~measurements.is_readable, **by_rule}
    duplicate_of = np.full(len(y), "", dtype=object)
    if rules.duplicates:
        crossing, spare, duplicate_of = _duplicates(measurements, y, n_jobs)
        reject |= {"duplicate in another class": crossing, "duplicate": spare}
    review["label contradicted"] = suspects

    is_rejected = np.any(list(reject.values()), axis=0)
    is_reviewed = np.any(list(review.values()), axis=0) & ~is_rejected
    tier = np.select([is_rejected, is_reviewed], ["reject", "review"], "keep")
    reasons = []
    for row in range(len(y)):
        # An image that is rejected does not need a review.
        checks = reject if is_rejected[row] else review
        names = [name for name, hits in checks.items() if hits[row]]
        if "unreadable" in names:
            error = measurements.frame["error"].iloc[row]
            names = [f"unreadable ({error})".replace("; ", ", ")]
        reasons.append("; ".join(names))

    sources = bunch.get("sources")
    return pd.DataFrame(
        {
            "path": measurements.frame["path"],
            "label": y,
            "patient": np.asarray(bunch.groups),
            "source": "" if sources is None else np.asarray(sources),
            "tier": tier,
            "reasons": reasons,
            "duplicate_of": duplicate_of,
            "output": "",
        }
    )


def _duplicates(
    measurements: ImageMeasurements, y: np.ndarray, n_jobs: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return masks of duplicates, and the path of the image that each is a duplicate of.

    The first mask contains all images that occur in several classes. The second one contains, of
    the images that occur twice in one class, all but the best one.
    """
    frame = measurements.frame
    n = len(frame)
    is_crossing, is_spare = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    duplicate_of = np.full(n, "", dtype=object)
    pairs = find_duplicates(measurements, n_jobs=n_jobs)
    groups = duplicate_groups(pairs, n)
    for group in np.unique(groups[pairs["first"].to_numpy(dtype=int)]):
        rows = np.flatnonzero(groups == group)
        members = frame.iloc[rows].reset_index(drop=True)
        members["pixels"] = members["width"] * members["height"]
        best_first = members.sort_values(
            ["pixels", "n_bytes", "path"], ascending=[False, False, True]
        )
        best, *others = rows[best_first.index]
        duplicate_of[others] = frame["path"].iloc[best]
        if len(set(y[rows])) > 1:
            # Which of the labels is right is not known.
            is_crossing[rows] = True
            duplicate_of[best] = frame["path"].iloc[others[0]]
        else:
            is_spare[others] = True
    return is_crossing, is_spare, duplicate_of


def _warn_uneven(manifest: pd.DataFrame, column: str, what: str) -> None:
    """Warn if the rules exclude patients of one class or source more often than of others."""
    known = manifest[manifest[column] != ""]
    table = pd.crosstab(known[column], known["tier"] != "keep")
    if table.shape != (len(table), 2) or len(table) < 2:
        return
    _, p = cramers_v(known["tier"] != "keep", known[column], known["patient"])
    if p > _UNEVEN_P:
        return
    share = (table[True] / table.sum(axis=1)).sort_values(ascending=False)
    shares = ", ".join(f"{name} {value:.1%}" for name, value in share.items())
    warnings.warn(
        f"the rules exclude images of one {what} more often than of others: {shares}. The kept "
        f"images are then a different selection of each {what}. Look at the contact sheet, and "
        "relax or switch off (None) the rules of CurationRules that exclude them.",
        CurationWarning,
        stacklevel=3,
    )
