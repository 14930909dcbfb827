"""Checks of an audit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kruskal
from sklearn.utils import Bunch

from ..datasets._patients import age_in_years
from ..metrics._association import cramers_v
from ..preprocessing._thumbnails import MIN_UPRIGHT_CORRELATION, equalise, mean_radiograph
from ._audit_result import Audit
from ._duplicates import find_duplicates
from ._finding import ALPHA, SEVERITIES, Finding
from ._keypoints import MIN_SIDE
from ._measurements import Films
from ._shortcuts import judged, name_families, out_of_fold, shortcuts
from ._source_association import single_source_classes, unknown_shares
from ._sources import remedy_for_sources, similar_sources

_BASELINE_COLUMNS = ["baseline", "metric", "classes", "value", "low", "high", "chance", "p"]
_SERIOUS_AUC = 0.7
_FEW_PATIENTS = 30
_CHILD = 18  # years

# Kermany et al. 2018, the "pneumonia" of many collections
_CHILDRENS_FILE = re.compile(r"(person\d+_(bacteria|virus)_\d+|(NORMAL2-)?IM-\d{4}-\d{4})", re.I)


def _check_classes(labels: Any, found: str) -> None:
    """Raise unless there are two classes or more."""
    names = np.unique(np.asarray(labels).astype(str)).tolist()
    if len(names) < 2:
        raise ValueError(
            f"{found} {f'one class only ({names[0]!r})' if names else 'no class'}; expected 2 or "
            "more: an audit looks for what gives the class away"
        )


class _Auditor:
    """The readable images of a bunch, and what was found of them."""

    def __init__(self, bunch: Bunch, films: Films, n_jobs: int | None) -> None:
        keep = films.readable
        self.n_jobs = n_jobs
        self.unreadable = films.frame.loc[~keep, ["path", "error"]].rename(
            columns={"error": "reason"}
        )
        self.films = films.take(keep)
        self.paths = self.films.frame["path"].to_numpy()
        self.y = np.asarray(bunch.target)[keep].astype(str)
        self.groups = np.asarray(bunch.groups)[keep].astype(str)
        self.names = [Path(p).name for p in self.paths]
        frame = bunch.get("frame")
        self.frame = pd.DataFrame(index=range(len(self.y))) if frame is None else frame[keep]
        self.frame = self.frame.reset_index(drop=True)
        self.sources_are_inferred = bunch.get("sources") is None
        if self.sources_are_inferred:
            self.sources = name_families(self.names, least=max(3, len(self.y) // 100))
        else:
            sources = pd.Series(np.asarray(bunch.sources, dtype=object)[keep])
            self.sources = sources.fillna("").to_numpy(dtype=str)
        self.class_names, self.codes = np.unique(self.y, return_inverse=True)
        self.findings: list[Finding] = []
        _check_classes(self.y, "the files that could be read are of")
        patients = pd.DataFrame({"class": self.y, "patient": self.groups}).groupby("class")
        self.patients_per_class = patients["patient"].nunique()

    def add(self, check: str, severity: str, found: str, meaning: str, remedy: str) -> None:
        self.findings.append(Finding(check, severity, found, meaning, remedy))

    def result(self) -> Audit:
        associations = self._associations()
        values: dict[str, Any] = {
            "n_images": len(self.y),
            "n_patients": len(set(self.groups)),
            "unreadable": self._unreadable(),
            "images": self._images(),
            "classes": self._classes(),
            "sources": pd.crosstab(self.sources, self.y, rownames=["source"], colnames=["class"]),
            "sources_are_inferred": self.sources_are_inferred,
            "cramers_v": associations,
            "single_source_classes": self._single_sources(associations["source"][1]),
            "baselines": self._baselines(),
            "duplicates": self._duplicates(),
            "patients_in_several_classes": self._shared_patients(),
            "turned": self._turned(),
            "ages": self._ages(),
        }
        self._children_by_name()
        worst_first = sorted(self.findings, key=lambda f: SEVERITIES.index(f.severity))
        return Audit(**values, findings=worst_first)

    # -- what is there --------------------------------------------------------------------------

    def _unreadable(self) -> pd.DataFrame:
        if len(self.unreadable):
            self.add(
                "files",
                "warning",
                f"{_count(len(self.unreadable), 'file')} could not be read",
                "They are left out of everything below.",
                "The list of unreadable files has the reason of each: replace or remove them.",
            )
        return self.unreadable.reset_index(drop=True)

    def _images(self) -> pd.DataFrame:
        columns = {"path": self.paths, "class": self.y, "patient": self.groups}
        return pd.DataFrame(columns | {"source": self.sources})

    def _classes(self) -> pd.DataFrame:
        frame = pd.DataFrame({"class": self.y, "patient": self.groups})
        table = frame.groupby("class").agg(
            images=("patient", "size"), patients=("patient", "nunique")
        )
        table["share"] = table["images"] / len(self.y)
        scarce = table["patients"].idxmin()
        if table.loc[scarce, "patients"] < _FEW_PATIENTS:
            self.add(
                "classes",
                "warning",
                f"{scarce} has {table.loc[scarce, 'patients']} patients",
                "Figures for it have wide intervals, whatever the model.",
                "Report them with patient-bootstrap intervals, or add patients.",
            )
        if len(set(self.groups)) == len(self.y):
            self.add(
                "patients",
                "note",
                "every image counts as a patient of its own",
                "If patients have several images, these may be in both the training and the test "
                "set, and figures are then too good.",
                "Give the patients: a column of metadata.csv, or patient_pattern.",
            )
        return table

    def _single_sources(self, p: float) -> dict[str, str]:
        """Check the sources; `p` is that of their association with the class."""
        known = self.sources != ""
        if not known.all():
            self._unknown_sources(known)
        if self.sources_are_inferred or len(set(self.sources[known])) < 2:
            return {}
        if pairs := similar_sources(set(self.sources[known])):
            self.add(
                "sources",
                "note",
                "similar names of sources: " + "; ".join(f"{a!r} and {b!r}" for a, b in pairs[:5]),
                "They count as different sources.",
                "Correct the spelling, if these are the same.",
            )
        y, sources, groups = (values[known] for values in (self.y, self.sources, self.groups))
        single = single_source_classes(y, sources, groups, p)
        if single:
            named = ", ".join(f"{label} from {source}" for label, source in single.items())
            self.add(
                "single-source classes",
                "serious" if p <= ALPHA else "warning",
                f"classes from one source only: {named}",
                "Whatever marks that source marks the class. No split of these images shows "
                "whether a model recognises the disease or the hospital.",
                "Add images of these classes from other sources. Then test with LeaveOneSourceOut, "
                "which refuses classes of one source.",
            )
        return single

    def _unknown_sources(self, known: np.ndarray) -> None:
        self.add(
            "sources",
            "note",
            f"the source of {_count(int((~known).sum()), 'image')} is not known",
            "The checks of sources leave these images out.",
            "Give the source of every image.",
        )
        v, p = cramers_v(known, self.y, self.groups)
        if p <= ALPHA and not self.sources_are_inferred:
            self.add(
                "unknown sources and class",
                "serious" if v >= 0.5 else "warning",
                f"source known or unknown and class are associated (Cramér's V {v:.2f}, p {p:.3f}; "
                f"unknown: {unknown_shares(self.y, self.sources)})",
                "Images without a source may come from a source of their own. A network that "
                "recognises it has the class.",
                "Give the source of every image.",
            )

    def _remedy_for_sources(self) -> str:
        if self.sources_are_inferred:
            return "Give the source of every image (a column source); balance them in each class."
        remedy = remedy_for_sources(self.y, self.sources)
        return f"{remedy[0].upper()}{remedy[1:]}."

    def _shared_patients(self) -> list[str]:
        frame = pd.DataFrame({"class": self.y, "patient": self.groups})
        counts = frame.groupby("patient")["class"].nunique()
        shared = [str(name) for name in counts.index[counts > 1]]
        if shared:
            self.add(
                "patients in several classes",
                "note",
                f"images in two classes or more: {_count(len(shared), 'patient')}",
                "That may be a course of disease, or labels that contradict each other. Split by "
                "patient, or a model is tested on those it knows.",
                "Split by patient (groups=bunch.groups), and check the labels of these images.",
            )
        return shared

    def _turned(self) -> list[str]:
        thumbnails = self.films.thumbnails
        correlation = equalise(thumbnails) @ mean_radiograph(thumbnails)
        turned = [str(path) for path in self.paths[correlation < MIN_UPRIGHT_CORRELATION]]
        if turned:
            self.add(
                "orientation",
                "note",
                f"{_count(len(turned), 'image')} upside down or inverted, as it seems",
                "They correlate negatively with the mean radiograph of the set.",
                "The list of these images has their paths: turn them, or leave them out.",
            )
        return turned

    # -- what goes with the class ---------------------------------------------------------------

    def _associations(self) -> dict[str, tuple[float, float]]:
        columns = {"source": self.sources}
        if "view" in self.frame:
            columns["view"] = self.frame["view"].fillna("").astype(str).to_numpy(dtype=str)
        found = {}
        for name, values in columns.items():
            known = values != ""
            v, p = cramers_v(values[known], self.y[known], self.groups[known])
            found[name] = (v, p)
            if p <= ALPHA:
                what = (
                    "family of file names"
                    if name == "source" and self.sources_are_inferred
                    else name
                )
                self.add(
                    f"{name} and class",
                    "serious" if v >= 0.5 else "warning",
                    f"{what} and class go together (Cramér's V {v:.2f}, p {p:.3f})",
                    f"A network that recognises the {what} has the class.",
                    self._remedy_for_sources()
                    if name == "source"
                    else f"Use one {name} only, or balance it within each class.",
                )
        return found

    def _ages(self) -> pd.DataFrame | None:
        if "age" not in self.frame:
            return None
        age = self.frame["age"].map(_years)
        grouped = age.groupby(self.y)
        table = pd.DataFrame(
            {
                "known": grouped.count(),
                "median": grouped.median(),
                "children": grouped.agg(lambda a: (a.dropna() < _CHILD).mean()),
            }
        )
        table.index.name = "class"
        one = pd.DataFrame({"age": age, "class": self.y, "patient": self.groups}).dropna()
        one = one.drop_duplicates(["patient", "class"])
        samples = [part["age"].to_numpy() for _, part in one.groupby("class")]
        if len(samples) < 2 or one["age"].nunique() < 2:
            return table
        p = kruskal(*samples).pvalue
        if p <= ALPHA:
            medians = ", ".join(f"{c} {m:.0f}" for c, m in table["median"].items())
            children = table["children"].max() - table["children"].min() > 0.2
            self.add(
                "age and class",
                "serious" if children else "warning",
                f"ages differ between the classes (median years: {medians}; p {p:.2g})",
                "A network may recognise age instead of disease"
                + (": one class contains children, another adults." if children else "."),
                "Match the ages of the classes, or leave the children out.",
            )
        return table

    def _children_by_name(self) -> None:
        """Warn of the one public set of children that is mixed with adults' films."""
        if "age" in self.frame and self.frame["age"].map(_years).notna().any():
            return
        named = np.array([_CHILDRENS_FILE.match(name) is not None for name in self.names])
        if named.any() and not named.all():
            shares = pd.Series(named).groupby(self.y).mean()
            listed = ", ".join(f"{label} {share:.0%}" for label, share in shares.items())
            self.add(
                "children",
                "serious" if shares.max() - shares.min() > 0.2 else "warning",
                f"{named.sum()} files are named as those of a set of children ({listed})",
                "The set of Kermany et al. (2018) contains children of one to five years. A "
                "network may recognise their age instead of disease.",
                "Leave them out, or give the ages (a column age) to have them compared.",
            )

    # -- what succeeds without the lungs --------------------------------------------------------

    def _baselines(self) -> pd.DataFrame:
        single = self.patients_per_class.index[self.patients_per_class < 2].tolist()
        kept = ~np.isin(self.y, single)
        classes, codes = np.unique(self.y[kept], return_inverse=True)
        is_possible = len(classes) > 1
        if single:
            self._note_left_out(single, "leave these images out" if is_possible else "are left out")
        if not is_possible:
            return pd.DataFrame(columns=_BASELINE_COLUMNS)
        groups, films = self.groups[kept], self.films.take(kept)
        rows = []
        for shortcut in shortcuts(films, [n for n, k in zip(self.names, kept, strict=True) if k]):
            proba = out_of_fold(shortcut, codes, groups, self.n_jobs)
            figures = judged(proba, codes, list(classes), groups)
            rows += [{"baseline": shortcut.name, **figure} for figure in figures]
        table = pd.DataFrame(rows)
        self._judge(table)
        return table

    def _note_left_out(self, classes: list[str], consequence: str) -> None:
        self.add(
            "baselines",
            "warning",
            f"classes with images of one patient: {', '.join(classes)}",
            "The baselines (header, border, file size and name, thumbnail, grey histogram) are "
            f"cross-validated by patient, which takes two patients of each class; they "
            f"{consequence}.",
            "Add patients of these classes, or leave the classes out.",
        )

    def _judge(self, table: pd.DataFrame) -> None:
        """Turn baselines that see no lungs, and do better than chance, into findings."""
        best = table[table["metric"] == "AUC"].copy()
        best["kind"] = best["baseline"].str.split().str[0]
        for kind, (check, severity, meaning, remedy) in _SHORTCUT_FINDINGS.items():
            # the most telling class or pair of classes
            rows = best[best["kind"] == kind]
            overall = rows[rows["classes"] == ""]
            top = overall.loc[overall["p"].idxmin()]
            if top["p"] > ALPHA / len(overall):  # Bonferroni's, of several borders
                continue
            worst = rows.loc[rows["value"].idxmax()]
            is_weak = worst["low"] < _SERIOUS_AUC
            grade = "warning" if severity == "serious" and is_weak else severity
            of = f", {worst['classes']} {worst['value']:.2f}" if worst["classes"] else ""
            self.add(
                check,
                grade,
                f"a classifier that sees the {top['baseline']} only reaches AUC {top['value']:.2f} "
                f"({top['low']:.2f}–{top['high']:.2f}){of}; chance is 0.50",
                meaning,
                remedy,
            )

    def _duplicates(self) -> pd.DataFrame:
        small = int(self.films.small.sum())
        if small:
            self.add(
                "small images",
                "note",
                f"compared in equal framing only: {_count(small, 'image')}",
                f"Images of fewer than {MIN_SIDE} pixels have too little detail to find copies "
                "that were cropped, rotated or inverted.",
                "Audit larger copies of these images.",
            )
        pairs = find_duplicates(self.films, n_jobs=self.n_jobs)
        first, second = (pairs[name].to_numpy(dtype=int) for name in ("first", "second"))
        table = pd.DataFrame(
            {
                "first": self.paths[first],
                "second": self.paths[second],
                **{name: pairs[name].to_numpy() for name in ("kind", "distance", "correlation")},
                "same_class": self.y[first] == self.y[second],
                "same_patient": self.groups[first] == self.groups[second],
            }
        )
        crossing = int((~table["same_class"]).sum())
        strangers = int((table["same_class"] & ~table["same_patient"]).sum())
        if crossing:
            self.add(
                "duplicates across classes",
                "serious",
                f"one image in two classes: {_count(crossing, 'pair')}",
                "One of the two labels is wrong, and the model is tested on images it has seen.",
                "The list of duplicates has their paths: leave both out, as curate does.",
            )
        if strangers:
            self.add(
                "duplicates",
                "warning",
                f"one image under two patients: {_count(strangers, 'pair')}",
                "A split by patient does not keep them on one side.",
                "The list of duplicates has their paths: keep one of each, as curate does.",
            )
        return table


_SHORTCUT_FINDINGS = {
    "header": (
        "header",
        "serious",
        "Format, colour mode or size of the files give the class away. A network sees what they "
        "leave in the pixels: resampling, compression, margins.",
        "Bring all files to one form from the originals; test on other sources.",
    ),
    "border": (
        "border",
        "serious",
        "The border of the image, without lungs, gives the class away: collimation, markers, "
        "positioning, or the habit of a hospital.",
        "Compare your model with one trained on images whose centre is blanked; crop to the lungs; "
        "test on other sources.",
    ),
    "file": (
        "file size and name",
        "note",
        "Bytes and names are no pixels, and no network sees them. But names that tell the class "
        "come of sources or series that do, and bytes per pixel measure how much texture there is.",
        "Read it as a hint of how the classes were collected.",
    ),
}


def _years(age: Any) -> float:
    """Return an age in years, of a number, its text, or DICOM's ``045Y``; NaN for anything else."""
    try:
        return float(age)
    except (TypeError, ValueError):
        return age_in_years(str(age))


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
