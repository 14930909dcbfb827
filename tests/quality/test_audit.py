"""The audit finds what was planted, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files, select_rows
from cxr_sklearn.metrics._association import cramers_v
from cxr_sklearn.model_selection import LeaveOneSourceOut
from cxr_sklearn.quality import _shortcuts, audit
from cxr_sklearn.quality._audit_lists import as_json
from cxr_sklearn.quality._shortcuts import name_families, name_family


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Make baselines of fewer trees and resamples, which find the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_shortcuts, "_N_TREES", 15)
        patch.setattr(_shortcuts, "N_RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Return a function that audits phantoms with a flaw, each once."""
    done = {}

    def run(confound):
        if confound not in done:
            root = tmp_path_factory.mktemp("phantoms")
            bunch = make_chest_phantom_files(root, 150, confound=confound, random_state=1)
            done[confound] = bunch, audit(bunch)
        return done[confound]

    return run


def checks(result, *severities):
    """Return the names of the findings of some severities."""
    return {f.check for f in result.findings if f.severity in severities}


def test_clean_phantoms_raise_no_alarm(audited):
    """Without a flaw there is no serious finding and no warning."""
    _, result = audited(None)
    assert checks(result, "serious", "warning") == set()


@pytest.mark.parametrize(
    ("confound", "check", "severity"),
    [
        ("format", "header", "serious"),
        ("border", "border", "serious"),
        ("source", "source and class", "serious"),
        ("source", "single-source classes", "serious"),
        ("age", "age and class", "serious"),
        ("view", "view and class", "serious"),
        ("duplicates", "duplicates across classes", "serious"),
        ("duplicates", "duplicates", "warning"),
        ("patient", "patients in several classes", "note"),
        ("name", "file size and name", "note"),
        ("compression", "file size and name", "note"),
    ],
)
def test_every_planted_flaw_is_found(audited, confound, check, severity):
    """Each flaw that phantoms can have fires its check, at its severity."""
    _, result = audited(confound)
    assert check in checks(result, severity)


@pytest.mark.parametrize(
    ("confound", "silent"),
    [("format", "border"), ("border", "header"), ("source", "header"), ("view", "age and class")],
)
def test_a_flaw_fires_no_check_that_it_does_not_concern(audited, confound, silent):
    """What was planted is named, and other checks stay silent."""
    _, result = audited(confound)
    assert silent not in checks(result, "serious", "warning")


def test_exposure_shows_in_the_grey_histogram(audited):
    """Grey levels that go with the class are measured, beside chance."""
    _, result = audited("exposure")
    table = result.baselines.set_index(["baseline", "metric", "classes"])
    row = table.loc[("grey histogram", "AUC", "COVID-19")]
    assert row["low"] > 0.7 > row["chance"]


def test_baselines_have_every_figure(audited):
    """Each baseline has accuracy, AUCs by class and by pair, intervals, and chance."""
    _, result = audited(None)
    for _, rows in result.baselines.groupby("baseline"):
        assert rows["metric"].tolist() == ["balanced accuracy"] + 7 * ["AUC"]
        assert (rows["low"] <= rows["value"]).all()
        assert (rows["value"] <= rows["high"]).all()
        assert rows["chance"].iloc[0] == pytest.approx(1 / 3)
    assert len(result.baseline_table()) == result.baselines["baseline"].nunique()


def test_findings_come_worst_first_and_as_a_frame(audited):
    """The frame has a row per finding in the order of severity."""
    _, result = audited("source")
    frame = result.to_frame()
    assert frame.columns.tolist() == ["check", "severity", "found", "meaning", "remedy"]
    order = frame["severity"].map({"serious": 0, "warning": 1, "note": 2})
    assert order.is_monotonic_increasing
    assert (frame != "").all(axis=None)


def test_a_result_shows_itself(audited, tmp_path):
    """Text, notebook, picture and page all name the finding; the page needs nothing beside it."""
    _, result = audited("source")
    assert "SERIOUS: source and class" in str(result)
    assert "source and class" in result._repr_html_()
    assert len(result.plot().axes) == 2
    page = result.to_html(tmp_path / "audit.html").read_text()
    assert "source and class" in page
    assert "data:image/png;base64," in page
    assert [p.name for p in tmp_path.iterdir()] == ["audit.html"]


def test_what_findings_are_about_is_listed(tmp_path):
    """Text has the first 20 of each list; the page has all, with thumbnails unless switched off."""
    bunch = make_chest_phantom_files(tmp_path / "in", 90, random_state=0)
    paths = list(bunch.data[:, 0])
    same = np.flatnonzero(bunch.target == "Normal")[:23]
    other = np.flatnonzero(bunch.target == "Pneumonia")[:23]
    bunch.groups[other] = bunch.groups[same]  # 23 patients in two classes, perhaps fewer
    Path(paths[other[0]]).write_bytes(Path(paths[same[0]]).read_bytes())
    upside_down = paths[np.flatnonzero(bunch.target == "COVID-19")[0]]
    with Image.open(upside_down) as image:
        turned = ImageOps.invert(image)
    turned.save(upside_down)
    result = audit(bunch)
    text = str(result)
    assert result.turned == [upside_down]
    assert f"Images upside down or inverted: 1\n  {upside_down}\n" in text
    assert f"{paths[same[0]]} = {paths[other[0]]} (exact, two classes, one patient)" in text
    shared = result.images["patient"].isin(result.patients_in_several_classes)
    assert shared.sum() > 20
    n_shared = len(result.patients_in_several_classes)
    _, _, listed = text.partition(f"Patients in several classes: {n_shared}\n")
    lines = listed.splitlines()
    assert [line.partition(": ")[0] for line in lines[:20]] == [
        f"  {patient}" for patient in sorted(result.patients_in_several_classes)[:20]
    ]
    first = result.images[result.images["patient"] == lines[0].partition(": ")[0].strip()]
    assert all(f"{label}: " in lines[0] for label in first["class"])
    assert all(path in lines[0] for path in first["path"])
    assert lines[20:] == (
        [f"  and {n_shared - 20} more: in the page, in JSON and in patients_in_several_classes"]
        if n_shared > 20
        else []
    )
    assert all(
        "class" in as_json(result)[name] for name in ("turned", "patients_in_several_classes")
    )
    assert not any("attribute" in finding.remedy for finding in result.findings)
    page = result.to_html(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == shared.sum() + 3
    assert "small copies of radiographs" in page
    assert all(path in page for path in result.images["path"][shared])
    plain = result.to_html(tmp_path / "audit.html", thumbnails=False).read_text(encoding="utf-8")
    assert "data:image/jpeg" not in plain
    assert "This page contains file names and patients. Share it only" in plain
    Path(upside_down).unlink()  # the page can still be written
    again = result.to_html(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert again.count("data:image/jpeg;base64,") == shared.sum() + 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_page_never_replaces_an_input(tmp_path):
    """Neither the table of a set, under any name, nor an image."""
    bunch = make_chest_phantom_files(tmp_path / "in", 60, random_state=0)
    result = audit(bunch)
    table = tmp_path / "in" / "metadata.csv"
    other = tmp_path / "table.csv"
    os.link(table, other)
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "of another set.png")
    before = table.read_bytes()
    for path in (table, other, bunch.data[0, 0], link):
        with pytest.raises(OSError, match=r"it is the input|is an image"):
            result.to_html(path)
    assert table.read_bytes() == before


def test_page_without_findings_contains_no_images(audited, tmp_path):
    """Then no name of a file or a patient is in it either."""
    bunch, result = audited(None)
    page = result.to_html(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page
    assert "Share it only" not in page
    assert not any(Path(path).name in page for path in bunch.data[:, 0])


def test_baselines_use_a_process_per_fold_at_most():
    """More would be started for nothing, each with 170 MiB."""
    assert _shortcuts.worker_processes(64) == 5
    assert _shortcuts.worker_processes(64, 2) == 2
    assert _shortcuts.worker_processes(None) == 0


def test_names_in_a_page_are_escaped(tmp_path):
    """A class or source that looks like HTML stays text."""
    bunch = make_chest_phantom_files(tmp_path / "in", 40, random_state=0)
    bunch.sources = np.where(bunch.target == "Normal", "<script>alert(1)</script>", "b")
    page = audit(bunch).to_html(tmp_path / "audit.html").read_text()
    assert "<script>" not in page


def test_sources_are_inferred_from_names(tmp_path):
    """Without a column, families of file names stand for sources."""
    bunch = make_chest_phantom_files(tmp_path, 60, random_state=0)
    for path, label in zip(bunch.data[:, 0], bunch.target, strict=True):
        if label == "COVID-19":
            file = tmp_path / label / path.rsplit("/", 1)[-1]
            file.rename(file.with_name(f"radiopaedia-{file.name}"))
    (tmp_path / "metadata.csv").unlink()
    result = audit(load_xray_folder(tmp_path))
    assert result.sources_are_inferred
    remedy = next(f.remedy for f in result.findings if f.check == "source and class")
    assert remedy.startswith("Give the source of every image")  # to use in LeaveOneSourceOut
    assert result.single_source_classes == {}


def test_unreadable_files_are_named_and_left_out(tmp_path):
    """A damaged file costs its own row only."""
    bunch = make_chest_phantom_files(tmp_path, 60, random_state=0)
    damaged = bunch.data[3, 0]
    with open(damaged, "wb") as file:
        file.write(b"no image")
    result = audit(bunch)
    assert result.unreadable["path"].tolist() == [damaged]
    assert result.unreadable["reason"].str.len().min() > 0
    assert result.n_images == 59
    assert "files" in checks(result, "warning")


@pytest.mark.parametrize("confound", [None, "border"])
def test_image_without_lungs_is_a_finding_only_where_the_rest_differs(tmp_path, confound):
    """Phantoms differ in the lungs only, unless a frame is planted. "lungs only" is no finding."""
    bunch = make_chest_phantom_files(
        tmp_path, 240, image_size=64, confound=confound, random_state=0
    )
    result = audit(bunch)
    table = result.baselines.set_index(["baseline", "metric", "classes"])
    blanked, lungs = (table.loc[name, "AUC", ""] for name in ("lungs blanked", "lungs only"))
    assert lungs["low"] > 0.6
    found = "image without lungs" in checks(result, "serious", "warning")
    if confound is None:
        assert blanked["low"] < 0.5 + 0.03
        assert not found
    else:
        assert blanked["low"] > 0.6
        assert found
        (finding,) = [f for f in result.findings if f.check == "image without lungs"]
        assert "sees the image without the lungs only reaches AUC" in finding.found


def test_images_upside_down_are_named(tmp_path):
    """A xray that correlates negatively with the mean of the set stands in ``turned``."""
    from PIL import Image, ImageOps

    bunch = make_chest_phantom_files(tmp_path, 60, random_state=0)
    path = bunch.data[0, 0]
    with Image.open(path) as image:
        inverted = ImageOps.invert(image)
    inverted.save(path)
    assert path in audit(bunch).turned


def test_a_set_of_children_is_known_by_its_names(tmp_path):
    """Where no ages are known, files named as Kermany's give them away."""
    bunch = make_chest_phantom_files(tmp_path, 45, random_state=0)
    for k, path in enumerate(bunch.data[bunch.target == "Pneumonia", 0]):
        file = Path(path)
        file.rename(file.with_name(f"person{k}_bacteria_{k}.png"))
    (tmp_path / "metadata.csv").unlink()
    result = audit(load_xray_folder(tmp_path))
    found = next(f.found for f in result.findings if f.check == "children")
    assert "Pneumonia 100%" in found


@pytest.mark.skipif("CXR_DATA" not in os.environ, reason="CXR_DATA names no folder of real X-rays")
def test_a_public_set_is_found_confounded():
    """On 899 images of DarkCovidNet's set the shortcuts score what they are known to."""
    root = Path(os.environ["CXR_DATA"])
    bunch = load_xray_folder(root)
    if len(bunch.data) != 899:
        pytest.skip(f"CXR_DATA holds {len(bunch.data)} images, not the 899 that are known")
    result = audit(bunch)
    table = result.baselines.set_index(["baseline", "metric", "classes"])["value"]
    expected = {"header": 0.67, "border 16/128": 0.72, "grey histogram": 0.76}
    expected |= {"thumbnail 8×8": 0.805, "file name": 0.92, "file size": 0.83}
    for name, value in expected.items():
        assert table[name, "balanced accuracy", ""] == pytest.approx(value, abs=0.04), name
    assert table["header", "AUC", "COVID-19"] > 0.99
    assert result.cramers_v["source"][0] == pytest.approx(1)
    assert len(result.patients_in_several_classes) == 15
    assert sorted(result.duplicates["kind"]) == ["exact", "near"]
    assert {"header", "border", "source and class"} <= checks(result, "serious")


def test_one_class_is_an_error_before_any_file_is_read(tmp_path):
    """Nothing can give the class away where there is one only."""
    bunch = make_chest_phantom_files(tmp_path, 30, random_state=0)
    read = []
    with pytest.raises(ValueError, match=r"^bunch has images of one class only \('Normal'\)"):
        audit(select_rows(bunch, bunch.target == "Normal"), progress=lambda: read.append(1))
    assert not read


def test_one_readable_class_is_an_error(tmp_path):
    """The error says that the files are the reason, not the labels."""
    bunch = make_chest_phantom_files(tmp_path, 30, random_state=0)
    for path in bunch.data[bunch.target != "Normal", 0]:
        Path(path).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^the files that could be read are of one class only"):
        audit(bunch)


def scarce(bunch, label, n):
    """Return a bunch in which some classes have n patients each."""
    keep = np.ones(len(bunch.target), dtype=bool)
    for name in label:
        patients = np.unique(bunch.groups[bunch.target == name])
        keep &= (bunch.target != name) | np.isin(bunch.groups, patients[:n])
    return select_rows(bunch, keep)


def test_a_class_of_one_patient_is_left_out_of_the_baselines_only(tmp_path):
    """The rest of the audit takes it in, and a finding says what was left out."""
    bunch = scarce(
        make_chest_phantom_files(tmp_path, 90, confound="format", random_state=0), ["Pneumonia"], 1
    )
    result = audit(bunch)
    left_out = next(f for f in result.findings if f.check == "baselines")
    assert left_out.severity == "warning"
    assert left_out.found == "classes with images of one patient: Pneumonia"
    assert result.classes.loc["Pneumonia", "patients"] == 1
    assert set(result.baselines["classes"]) == {"", "COVID-19", "Normal"}
    assert "header" in checks(result, "serious", "warning")  # of the other classes
    assert "balanced accuracy" in str(result)


def test_without_baselines_the_rest_is_audited(tmp_path):
    """Where fewer than two classes have two patients there are no baselines, and a result."""
    bunch = make_chest_phantom_files(tmp_path / "in", 60, confound="duplicates", random_state=0)
    result = audit(scarce(bunch, ["Pneumonia", "Normal"], 1))
    assert result.baselines.empty
    assert result.baseline_table().empty
    assert "they are left out" in next(f for f in result.findings if f.check == "baselines").meaning
    assert "Pneumonia, Normal" in str(result) or "Normal, Pneumonia" in str(result)
    assert "balanced accuracy" not in str(result)
    page = result.to_html(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "What succeeds without the lungs" not in page


@pytest.mark.parametrize("n", [2, 3])
def test_a_class_of_few_patients_has_baselines(n, tmp_path):
    """The penalty of the linear baseline is searched as far as there are rows: no warning."""
    bunch = scarce(make_chest_phantom_files(tmp_path, 60, random_state=0), ["Normal"], n)
    assert "Normal" in set(audit(bunch).baselines["classes"])


@pytest.mark.parametrize("is_single", [True, False])
def test_the_audit_advises_a_split_by_source_only_where_it_is_possible(is_single, tmp_path):
    """LeaveOneSourceOut raises where a class has one source, and is then not the advice."""
    bunch = make_chest_phantom_files(tmp_path, 90, confound="source", random_state=1)
    if not is_single:  # each class from two sources
        bunch.sources = bunch.sources.copy()
        bunch.sources[np.flatnonzero(bunch.target == "COVID-19")[:4]] = "hospital-a"
    remedy = next(f.remedy for f in audit(bunch).findings if f.check == "source and class")
    assert ("LeaveOneSourceOut" in remedy) is not is_single
    if is_single:
        with pytest.raises(ValueError, match="comes from one source only"):
            LeaveOneSourceOut().split(bunch.data, bunch.target, bunch.sources)
    else:
        assert len(list(LeaveOneSourceOut().split(bunch.data, bunch.target, bunch.sources))) == 3


def test_the_audit_reports_sources_that_are_known_for_one_class_only(tmp_path):
    """A missing source is a source of its own, as it seems."""
    bunch = make_chest_phantom_files(tmp_path, 90, random_state=1)
    bunch.sources = np.where(bunch.target == "COVID-19", "", "hospital")
    found = {f.check: f for f in audit(bunch).findings}["unknown sources and class"]
    assert found.severity == "serious"
    assert "unknown: COVID-19 100%, Normal 0%, Pneumonia 0%" in found.found


def test_similar_names_of_sources_are_noted(tmp_path):
    """Two spellings of one hospital count as two, and the audit names them."""
    bunch = make_chest_phantom_files(tmp_path, 60, random_state=0)
    bunch.sources = np.where(np.arange(60) % 2, "Heidelberg", "heidelberg ")
    noted = [f.found for f in audit(bunch).findings if f.check == "sources"]
    assert noted == ["similar names of sources: 'Heidelberg' and 'heidelberg '"]


# -- statistics ---------------------------------------------------------------------------------


def test_six_classes_have_fifteen_pairs(tmp_path):
    """A figure for each class and each pair, none of which speaks where labels are drawn."""
    bunch = make_chest_phantom_files(tmp_path, 120, random_state=0)
    patients, codes = np.unique(bunch.groups, return_inverse=True)
    drawn = np.random.default_rng(0).integers(0, 6, len(patients))[codes]
    bunch.target = np.array([f"finding {code}" for code in drawn])
    result = audit(bunch)
    header = result.baselines.query("baseline == 'header' and metric == 'AUC'")
    assert len(header) == 1 + 6 + 15
    assert checks(result, "serious") == set()
    assert result.plot().axes


def test_cramers_v():
    """It is 1 where one determines the other, small and not significant where nothing does."""
    y = np.repeat(["a", "b"], 40)
    patients = np.arange(80).astype(str)
    assert cramers_v(y, y, patients) == (pytest.approx(1.0), pytest.approx(0.001))
    v, p = cramers_v(np.tile(["s", "t"], 40), y, patients)
    assert v == pytest.approx(0, abs=1e-9)
    assert p > 0.5
    v, p = cramers_v(["s"] * 80, y, patients)
    assert np.isnan(v)
    assert p == 1


def test_patients_of_many_values_are_permuted_whole():
    """Values that come in fours by patient do not make chance look like association."""
    patients = np.repeat(np.arange(40), 4)
    y = np.where(patients % 2, "a", "b")
    p = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 3, 40)  # each patient's values are of its own kind
        values = [f"{kind[k]}-{j % 4}" for j, k in enumerate(patients)]
        p.append(cramers_v(values, y, patients.astype(str))[1])
    assert min(p) > 0.001
    assert np.mean(np.array(p) <= 0.1) <= 0.3


def test_images_of_one_patient_are_no_evidence():
    """Forty images of one patient at one source say as much as one."""
    y = np.repeat(["a", "b"], 40)
    _, p = cramers_v(y, y, np.repeat(["1", "2"], 40))
    assert p > 0.3


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("00001299_003.png", "########_###"),
        ("01E392EE-69F9-4E33-BFCE-E5C968654078.jpeg", "uuid"),
        ("person1_bacteria_2.jpeg", "person#_bacteria_#"),
    ],
)
def test_name_family(name, family):
    """Numbers are left out of a name, and what cannot be told apart is one family."""
    assert name_family(name) == family


def test_rare_families_are_pooled():
    """Names that stand alone are one family, or every file would be a source."""
    names = ["a1.png", "a22.png", "a333.png", "x.png", "y.png"]
    assert name_families(names, least=3).tolist() == ["a#", "a#", "a#", "other", "other"]


def test_unknown_sources_are_no_source(tmp_path):
    """Images of unknown source are left out of what is said of sources, and counted."""
    bunch = make_chest_phantom_files(tmp_path, 60, random_state=0)
    bunch.sources = np.where(bunch.target == "Normal", "", bunch.sources)
    result = audit(bunch)
    assert result.single_source_classes == {}
    assert "source and class" not in checks(result, "serious", "warning")
    assert any("the source of 20 images is not known" in f.found for f in result.findings)


def test_ages_as_dicom_writes_them(tmp_path):
    """``005Y`` is five years."""
    bunch = make_chest_phantom_files(tmp_path, 60, confound="age", random_state=0)
    bunch.frame["age"] = [f"{age:03d}Y" for age in bunch.frame["age"]]
    assert "age and class" in checks(audit(bunch), "serious")


def test_odd_names_are_drawn(tmp_path):
    """A class that reads like a formula, and a file whose name is no text, break no picture."""
    bunch = make_chest_phantom_files(tmp_path / "in", 45, random_state=0)
    bunch.target = np.where(bunch.target == "Normal", "a$_$", bunch.target)
    bunch.data = bunch.data.copy()
    bunch.data[0, 0] = str(tmp_path / "in" / "\udcff.png")
    result = audit(bunch)
    assert len(result.unreadable) == 1
    assert result.to_html(tmp_path / "audit.html").stat().st_size > 10_000


def test_shares_of_children(tmp_path):
    """Ages are told by class, as far as they are known."""
    bunch = make_chest_phantom_files(tmp_path, 60, confound="age", random_state=0)
    bunch.frame["age"] = bunch.frame["age"].astype(object)
    bunch.frame.loc[0, "age"] = "unknown"
    ages = audit(bunch).ages
    assert ages.loc["Pneumonia", "children"] == 1
    assert ages["known"].sum() == 59
    assert isinstance(ages, pd.DataFrame)
