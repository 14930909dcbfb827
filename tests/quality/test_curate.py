"""Curation: stated rules, their costs, and a folder that is whole or can be completed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image, ImageOps

from cxr_sklearn.datasets import (
    load_dicom_folder,
    load_xray_folder,
    load_xray_table,
    make_chest_phantom_files,
    select_rows,
)
from cxr_sklearn.datasets._file_search import CURATION_MARKER, files_below
from cxr_sklearn.exceptions import CurationWarning
from cxr_sklearn.quality import CurationRules, curate
from cxr_sklearn.quality._curate import _warn_uneven
from cxr_sklearn.quality._curation_rules import label_suspects

# phantoms are smaller than any xray
SMALL = CurationRules(min_side=64)


@pytest.fixture
def xrays(tmp_path):
    """Return phantoms in files, none of which a rule rejects."""
    return make_chest_phantom_files(tmp_path / "in", 40, random_state=0)


def change(bunch, row, function):
    """Save what a function makes of a file over it."""
    path = bunch.data[row, 0]
    with Image.open(path) as image:
        image.load()
        made = function(image)
    made.save(path)


def tree(folder):
    """Return what a folder holds, by relative path."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_good_images_are_kept(xrays):
    """No rule rejects a phantom, and all are kept in their order."""
    result = curate(xrays, rules=SMALL)
    assert (result.manifest["tier"] == "keep").all()
    assert result.manifest["path"].tolist() == xrays.data[:, 0].tolist()
    np.testing.assert_array_equal(result.kept.data, xrays.data)
    assert result.out is None


def grey_levels(function):
    """Return a change of an image's grey levels."""
    return lambda image: Image.fromarray(function(np.asarray(image).astype(float)).astype(np.uint8))


def spotted(image):
    """Return the image with a red letter's worth of colour."""
    pixels = np.stack([np.asarray(image)] * 3, axis=-1)
    pixels[:6, :6] = (255, 0, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (grey_levels(lambda p: 100 + (p - 100) / 10), "little contrast (SD)"),
        (grey_levels(lambda p: np.where(p > 120, 255, 0)), "black and white"),
        (lambda im: im.resize((im.width, 3 * im.height)), "too tall"),
        (lambda im: im.resize((3 * im.width, im.height)), "too wide"),
        (lambda im: im.resize((40, 40)), "too small"),
        (spotted, "saturated colour"),
        (lambda im: ImageOps.colorize(im, "black", (255, 230, 150)), "coloured"),
        (ImageOps.invert, "upside down, inverted or no radiograph"),
    ],
)
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.CurationWarning")
def test_each_rule_rejects_what_it_is_for(xrays, function, reason):
    """A damaged xray is rejected for its reason, and no other xray is."""
    change(xrays, 5, function)
    manifest = curate(xrays, rules=SMALL).manifest
    assert manifest["tier"][5] == "reject"
    assert reason in manifest["reasons"][5].split("; ")
    assert (manifest["tier"].drop(5) == "keep").all()


def test_a_rule_can_be_switched_off(xrays):
    """``None`` for a limit keeps what it would reject."""
    change(xrays, 5, lambda im: im.resize((im.width, 3 * im.height)))
    rules = CurationRules(min_side=64, min_aspect=None)
    assert curate(xrays, rules=rules).manifest["tier"][5] == "keep"


def test_blur_is_for_review_only(xrays):
    """A blurred xray is never rejected for it."""
    from PIL import ImageFilter

    change(xrays, 5, lambda im: im.filter(ImageFilter.GaussianBlur(3)))
    manifest = curate(xrays, rules=SMALL).manifest
    assert manifest["tier"][5] == "review"
    assert manifest["reasons"][5] == "blurred"


def test_images_that_the_others_do_not_explain_go_to_review(tmp_path):
    """Such an image resembles the mean radiograph, but has a pattern that no other image has."""
    xrays = make_chest_phantom_files(tmp_path, 120, random_state=0)
    stripes = Image.fromarray(np.tile(255 * (np.arange(128)[:, None] // 8 % 2), 128).astype("u1"))
    change(xrays, 4, lambda image: Image.blend(image, stripes.resize(image.size), 0.4))
    manifest = curate(xrays, rules=SMALL).manifest
    assert manifest.loc[4, "tier"] == "review"
    assert manifest.loc[4, "reasons"] == "unlike the other images"
    assert (manifest["tier"] == "keep").sum() >= 115
    off = CurationRules(min_side=64, review_unexplained=None)
    assert (curate(xrays, rules=off).manifest["tier"] == "keep").all()


def test_an_unreadable_file_is_rejected_with_its_reason(xrays):
    """It stands in the manifest like any other, and nothing crashes."""
    Path(xrays.data[3, 0]).write_bytes(b"no image")
    manifest = curate(xrays, rules=SMALL).manifest
    assert manifest["tier"][3] == "reject"
    assert manifest["reasons"][3].startswith("unreadable (")


def test_duplicates_are_kept_once(tmp_path):
    """Of a pair in one class the larger is kept; pairs across classes are left out whole."""
    bunch = make_chest_phantom_files(tmp_path, 60, confound="duplicates", random_state=0)
    manifest = curate(bunch, rules=SMALL).manifest
    spare = manifest[manifest["reasons"] == "duplicate"]
    crossing = manifest[manifest["reasons"] == "duplicate in another class"]
    assert len(spare) == 1
    assert len(crossing) == 4
    by_path = manifest.set_index("path")
    assert by_path.loc[spare["duplicate_of"], "tier"].eq("keep").all()
    labels = by_path.loc[crossing["duplicate_of"], "label"].to_numpy()
    assert (labels != crossing["label"].to_numpy()).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_near_duplicates_are_found(xrays, mirror):
    """A copy that is smaller, lighter, compressed and perhaps mirrored is one."""
    path = xrays.data[0, 0]
    with Image.open(path) as image:
        copy = image.resize((60, 60)).point(lambda v: 0.9 * v + 20)
    copy = ImageOps.mirror(copy) if mirror else copy
    copy.save(Path(path).with_name("copy.jpg"), quality=80)
    bunch = load_xray_folder(Path(path).parents[1])
    bunch.sources = None
    manifest = curate(bunch, rules=CurationRules(min_side=50)).manifest.set_index("path")
    row = manifest.loc[str(Path(path).with_name("copy.jpg"))]
    assert row["reasons"] == "duplicate"
    assert row["duplicate_of"] == path


def test_contradicted_labels_go_to_review(xrays):
    """Out-of-fold probabilities that are sure of another class send an image to review."""
    codes = np.searchsorted(xrays.target_names, xrays.target)
    proba = np.full((len(codes), 3), 0.1)
    proba[np.arange(len(codes)), codes] = 0.8
    proba[4] = np.roll(proba[4], 1)
    manifest = curate(xrays, rules=SMALL, proba=proba).manifest
    assert manifest.index[manifest["tier"] == "review"].tolist() == [4]
    assert manifest["reasons"][4] == "label contradicted"


def test_doubt_is_no_contradiction():
    """A label is suspect only if another class is as probable as is usual for that class."""
    y = np.array(["a", "a", "b", "b"])
    proba = np.array([[0.9, 0.1], [0.45, 0.55], [0.1, 0.9], [0.2, 0.8]])
    assert not label_suspects(proba, y, ["a", "b"]).any()
    proba[1] = [0.1, 0.9]
    assert label_suspects(proba, y, ["a", "b"]).tolist() == [False, True, False, False]


def test_probabilities_of_other_rows_are_refused(xrays):
    """Their shape must be that of the images and classes."""
    with pytest.raises(ValueError, match=r"proba has shape \(3, 3\); expected \(40, 3\)"):
        curate(xrays, proba=np.ones((3, 3)) / 3)


def test_uneven_rules_warn(xrays):
    """Rules that fall on one class say so, with the share of each."""
    for row in np.flatnonzero(xrays.target == "COVID-19"):
        change(xrays, row, lambda im: im.resize((50, 50)))
    with pytest.warns(
        CurationWarning, match=r"one class more often than of others: COVID-19 100\.0%"
    ):
        result = curate(xrays, rules=SMALL)
    assert result.costs().loc["COVID-19", "rejected"] == 1


@pytest.mark.parametrize(("n_patients", "warns"), [(20, True), (1, False)])
def test_unevenness_is_judged_by_patient(n_patients, warns):
    """Twenty spoilt xrays of one patient are one mishap; of twenty patients they are a habit."""
    n = 60
    patient = np.arange(2 * n)
    patient[:20] %= n_patients
    manifest = pd.DataFrame(
        {
            "label": np.repeat(["a", "b"], n),
            "patient": patient.astype(str),
            "tier": np.where(np.arange(2 * n) < 20, "reject", "keep"),
        }
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn_uneven(manifest, "label", "class")
    assert len(caught) == warns


def test_costs_are_counted_by_class_source_and_reason(xrays):
    """Three tables that say what was lost where."""
    change(xrays, 5, lambda im: im.resize((40, 40)))
    result = curate(xrays, rules=SMALL)
    assert result.costs("label")["reject"].sum() == 1
    assert result.costs("source")[["reject", "review", "keep"]].sum().sum() == 40
    assert result.costs("reason").loc["too small"].sum() == 1
    assert "too small" in str(result)
    assert "too small" in result._repr_html_()


# -- what is written ----------------------------------------------------------------------------


@pytest.fixture
def sorted_xrays(xrays):
    """Return phantoms of which one is rejected and one to be reviewed."""
    from PIL import ImageFilter

    change(xrays, 3, ImageOps.invert)
    change(xrays, 5, lambda im: im.filter(ImageFilter.GaussianBlur(3)))
    return xrays


def test_the_result_is_a_folder_that_loads(sorted_xrays, tmp_path):
    """Kept files stand by class, with their patients and sources; the input is as it was."""
    before = tree(tmp_path / "in")
    result = curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    assert tree(tmp_path / "in") == before
    # versions of filelock differ in whether the lock stays behind
    assert {p.name for p in (tmp_path / "out").iterdir()} - {".cxr-curation.lock"} == {
        ".cxr-curation.json",
        "kept",
        "review",
        "manifest.csv",
        "rejected.png",
        "review.png",
    }
    again = load_xray_folder(tmp_path / "out" / "kept")
    assert len(again.data) == 38
    found = sorted(zip(again.target, again.groups, again.sources, strict=True))
    kept = result.kept
    assert found == sorted(zip(kept.target, kept.groups, kept.sources, strict=True))
    reviewed = load_xray_folder(tmp_path / "out" / "review")  # with its patients too
    row = result.manifest[result.manifest["tier"] == "review"].iloc[0]
    assert reviewed.groups.tolist() == [row["patient"]]
    assert reviewed.sources.tolist() == [row["source"]]
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv", keep_default_na=False)
    assert manifest["tier"].value_counts().to_dict() == {"keep": 38, "reject": 1, "review": 1}
    for path, output in manifest.loc[manifest["output"] != "", ["path", "output"]].to_numpy():
        assert (tmp_path / "out" / output).read_bytes() == Path(path).read_bytes()


def test_a_dry_run_writes_nothing(sorted_xrays, tmp_path):
    """The decisions are those of a real run."""
    dry = curate(sorted_xrays, tmp_path / "out", rules=SMALL, dry_run=True)
    assert not (tmp_path / "out").exists()
    real = curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    pd.testing.assert_frame_equal(
        dry.manifest.drop(columns="output"), real.manifest.drop(columns="output")
    )


def test_links_point_to_the_input(sorted_xrays, tmp_path):
    """With ``mode="link"`` nothing is copied."""
    curate(sorted_xrays, tmp_path / "out", rules=SMALL, mode="link")
    links = list((tmp_path / "out" / "kept").rglob("*.png"))
    assert len(links) == 38
    assert all(p.is_symlink() and p.resolve().is_file() for p in links)


def test_names_that_collide_or_are_illegal_are_changed(xrays, tmp_path):
    """Two files of one name in one class both arrive; a class named with a slash gets a folder."""
    a, b = xrays.data[:2, 0]
    twin = tmp_path / "elsewhere" / Path(a).name.upper()
    twin.parent.mkdir()
    twin.write_bytes(Path(b).read_bytes())
    xrays.data = xrays.data.copy()
    xrays.data[1, 0] = str(twin)
    xrays.target = np.where(np.arange(40) < 2, 'COVID/"19"', xrays.target)
    result = curate(xrays, tmp_path / "out", rules=SMALL)
    outputs = result.manifest["output"][:2].tolist()
    assert len({name.lower() for name in outputs}) == 2
    assert all(name.startswith("kept/COVID__19_/") for name in outputs)
    for path, output in zip(xrays.data[:2, 0], outputs, strict=True):
        assert (tmp_path / "out" / output).read_bytes() == Path(path).read_bytes()


def test_classes_are_never_merged(xrays, tmp_path):
    """Labels that no file system tells apart, or takes, get folders of their own."""
    labels = np.array(["a/b", "a_b", "A_b", ".hidden", "CON", "x" * 300])
    xrays.target = labels[np.arange(40) % 6]
    curate(xrays, tmp_path / "out", rules=SMALL)
    again = load_xray_folder(tmp_path / "out" / "kept")
    assert len(again.data) == 40
    assert len(again.target_names) == 6
    found = dict(zip(again.target, again.frame["original_label"], strict=True))
    assert sorted(found.values()) == sorted(labels)


def test_what_is_known_of_the_files_is_kept(xrays, tmp_path):
    """Age, view and sex stand beside the kept files too."""
    curate(xrays, tmp_path / "out", rules=SMALL)
    again = load_xray_folder(tmp_path / "out" / "kept").frame
    columns = ["label", "patient", "view", "age", "sex"]
    found, given = (f[columns].astype(str).sort_values(columns) for f in (again, xrays.frame))
    np.testing.assert_array_equal(found, given)


def test_curation_may_keep_no_image(tmp_path):
    """Where every xray is rejected the table says so, and nothing breaks."""
    root = tmp_path / "in" / "Normal"
    root.mkdir(parents=True)
    for k in range(4):
        Image.new("L", (64, 64), 40 + k).save(root / f"{k}.png")
    result = curate(load_xray_folder(tmp_path / "in"), tmp_path / "out", rules=SMALL)
    assert result.kept is None
    assert (result.manifest["tier"] == "reject").all()
    assert (tmp_path / "out" / "manifest.csv").is_file()


def test_changed_labels_are_those_that_count(xrays):
    """What a user makes of the arrays is what is curated and kept."""
    xrays.target = np.where(xrays.target == "COVID-19", "COVID", "other")
    assert sorted(curate(xrays, rules=SMALL).kept.target_names) == ["COVID", "other"]


def test_output_of_curation_next_to_its_input_is_not_a_class(xrays, tmp_path):
    """The folder may stand in the input's, which loads as before."""
    curate(xrays, tmp_path / "in" / "curated", rules=SMALL)
    assert load_xray_folder(tmp_path / "in").target_names == xrays.target_names


def test_the_manifest_names_what_was_not_loaded(xrays, tmp_path):
    """Files that the loader set aside, and those that metadata.csv names in vain."""
    (tmp_path / "in" / "Normal" / "notes.txt").touch()
    Path(xrays.data[0, 0]).unlink()
    curate(load_xray_folder(tmp_path / "in"), tmp_path / "out", rules=SMALL)
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv", keep_default_na=False)
    aside = manifest[manifest["label"] == ""]
    assert aside["tier"].eq("reject").all()
    assert aside["reasons"].str.startswith("set aside in loading").sum() == 1
    assert aside["reasons"].eq("missing").sum() == 1


def test_changed_input_needs_another_folder(xrays, tmp_path):
    """A file that is no longer what it was is not passed off as the old one."""
    curate(xrays, tmp_path / "out", rules=SMALL)
    change(xrays, 0, ImageOps.mirror)
    with pytest.raises(FileExistsError, match="begun with other images"):
        curate(xrays, tmp_path / "out", rules=SMALL)


def test_other_permissions_and_copies_are_the_same_input(sorted_xrays, tmp_path):
    """A run goes on where only permissions changed, or files were replaced by equal copies."""
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    before = tree(tmp_path / "out")
    for path in sorted_xrays.data[:, 0]:
        copy = shutil.copy2(path, tmp_path / "copy")
        os.chmod(copy, 0o444)
        os.replace(copy, path)
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    assert tree(tmp_path / "out") == before


def test_a_second_run_changes_nothing(sorted_xrays, tmp_path):
    """The same call again leaves every byte as it is."""
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    before = tree(tmp_path / "out")
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    assert tree(tmp_path / "out") == before


_RUN = """
import sys
from cxr_sklearn.datasets import load_xray_folder
from cxr_sklearn.quality import CurationRules, curate
print("ready", flush=True)
curate(load_xray_folder(sys.argv[1]), sys.argv[2], rules=CurationRules(min_side=64))
"""


def test_a_killed_run_is_completed(sorted_xrays, tmp_path):
    """Killed at two moments and started again, the folder ends as that of one run."""
    curate(sorted_xrays, tmp_path / "whole", rules=SMALL)
    command = [sys.executable, "-c", _RUN, str(tmp_path / "in"), str(tmp_path / "out")]
    for delay in (0.1, 0.4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_half_written_files_are_swept_up(sorted_xrays, tmp_path):
    """What a killed run left half-written is gone after the next."""
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    whole = tree(tmp_path / "out")
    victim = tmp_path / "out" / sorted(name for name in whole if name.endswith(".png"))[0]
    victim.unlink()
    (victim.parent / ".xray.png.123.partial").write_bytes(b"half")
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    assert tree(tmp_path / "out") == whole


def test_a_folder_of_another_curation_is_refused(sorted_xrays, tmp_path):
    """Other rules need another folder, and the old one stays as it is."""
    curate(sorted_xrays, tmp_path / "out", rules=SMALL)
    before = tree(tmp_path / "out")
    with pytest.raises(FileExistsError, match="begun with other images, rules or another mode"):
        curate(select_rows(sorted_xrays, range(20)), tmp_path / "out", rules=SMALL)
    assert tree(tmp_path / "out") == before


def test_folder_with_other_files_raises(xrays, tmp_path):
    """Neither files of the user nor the input are written into."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="contains files that no curation wrote"):
        curate(xrays, tmp_path / "mine", rules=SMALL)
    with pytest.raises(FileExistsError, match="of the input"):
        curate(xrays, tmp_path / "in", rules=SMALL)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="it is a file; expected a folder"):
        curate(xrays, tmp_path / "file", rules=SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "move"}, "mode='move'; expected 'copy' or 'link'"),
    ],
)
def test_bad_arguments_are_named(xrays, arguments, message):
    """Nothing is read before arguments are checked."""
    with pytest.raises(ValueError, match=message):
        curate(xrays, **arguments)


@pytest.mark.parametrize("value", ["15", float("nan"), True])
def test_a_limit_must_be_a_number(value):
    """A rule's limit is a number, or None."""
    with pytest.raises(ValueError, match=r"min_sd=.*expected a number, or None"):
        CurationRules(min_sd=value)


def test_duplicates_must_be_true_or_false():
    """Any string would count as true."""
    with pytest.raises(ValueError, match="duplicates='maybe'; expected True or False"):
        CurationRules(duplicates="maybe")


def test_a_contact_sheet_never_replaces_an_image(sorted_xrays, tmp_path):
    """The images that were curated stay as they are."""
    result = curate(sorted_xrays, rules=SMALL)
    with pytest.raises(OSError, match=r"path=.* it is the input"):
        result.contact_sheet(sorted_xrays.data[0, 0])
    other = tmp_path / "other" / "radiograph.png"  # of another set
    other.parent.mkdir()
    other.write_bytes(Path(sorted_xrays.data[0, 0]).read_bytes())
    before = other.read_bytes()
    with pytest.raises(OSError, match="exists and is not a contact sheet"):
        result.contact_sheet(other)
    assert other.read_bytes() == before
    sheet = result.contact_sheet(tmp_path / "sheet.png")
    assert result.contact_sheet(sheet) == sheet


def test_files_for_contact_sheets_that_cannot_be_written_are_named(sorted_xrays, tmp_path):
    """An empty name, a missing folder, and a folder in place of a file."""
    result = curate(sorted_xrays, rules=SMALL)
    for path, message in (
        ("", "path='' is invalid: it is empty"),
        (tmp_path / "missing" / "sheet.png", "missing' does not exist"),
        (tmp_path, "is not a regular file"),
    ):
        with pytest.raises(OSError, match=message):
            result.contact_sheet(path)


@pytest.mark.parametrize("has_marker", [True, False])
def test_output_of_curate_is_not_read_as_input(xrays, tmp_path, has_marker):
    """The output is refused as an input itself, and skipped in a folder that contains it."""
    root = tmp_path / "in"
    out = root / "results" / "curated"
    curate(xrays, out, rules=SMALL)
    if not has_marker:  # what a copy without hidden files is like
        (out / CURATION_MARKER).unlink()
    pd.DataFrame({"filename": [Path(p).name for p in xrays.data[:, 0]], "label": "a"}).to_csv(
        tmp_path / "table.csv"
    )
    assert len(load_xray_folder(root).data) == 40
    assert len(load_xray_table(tmp_path / "table.csv", root=root).data) == 40  # none found twice
    assert not any(out in path.parents for path in files_below(root))
    for load in (load_xray_folder, load_dicom_folder):
        with pytest.raises(ValueError, match=r"curated' .* is the output of curate; .*kept'\.$"):
            load(out)
    assert len(load_xray_folder(out / "kept").data) == 40


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_to_itself_is_an_unreadable_file(xrays, tmp_path):
    """It is rejected with its reason, and the others are curated."""
    loop = tmp_path / "in" / "Normal" / "loop.png"
    loop.symlink_to(loop)
    result = curate(load_xray_folder(tmp_path / "in"), tmp_path / "out", rules=SMALL)
    row = result.manifest.set_index("path").loc[str(loop)]
    assert row["tier"] == "reject"
    assert row["reasons"].startswith("unreadable")
    assert (result.manifest["tier"] == "keep").sum() == 40


def test_a_curation_waits_for_another_on_the_same_folder(xrays, tmp_path):
    """While one writes, the other removes none of its files, and then finds all of them."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").mkdir()
    partial = out / "kept" / ".a.png.123.partial"
    lock = FileLock(out / ".cxr-curation.lock")
    with lock:
        (out / CURATION_MARKER).touch()  # as if begun by the other
        partial.touch()
        thread = threading.Thread(target=lambda: curate(xrays, out, rules=SMALL))
        thread.start()
        thread.join(timeout=5)
        assert thread.is_alive()
        assert partial.exists()
        (out / CURATION_MARKER).unlink()
    thread.join()
    assert not partial.exists()
    assert len(list((out / "kept").rglob("*.png"))) == 40


def test_the_contact_sheet_shows_each_reason(sorted_xrays, tmp_path):
    """A picture with the rejected xrays; of none it says so."""
    result = curate(sorted_xrays, rules=SMALL)
    with Image.open(result.contact_sheet(tmp_path / "sheet.png")) as sheet:
        assert np.asarray(sheet).std() > 10
    with Image.open(result.contact_sheet(tmp_path / "none.png", tier="review")) as sheet:
        assert sheet.height > 100
