"""Folders of images."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_sklearn import XRayLoader
from cxr_sklearn.datasets import load_xray_folder, patient_from_covidx

from ..toys import same

CORE = ["path", "label", "patient", "source"]


def names_of(bunch) -> list[str]:
    """Return class and file name of every path, with forward slashes."""
    return ["/".join(Path(path).parts[-2:]) for path in bunch.data[:, 0]]


# -- folders ----------------------------------------------------------------------------------


def test_folder_gives_a_column_of_paths_and_labels(tree):
    """Paths are one object column of str that exist; labels are the class folders."""
    root = tree("Normal/a.png", "Pneumonia/b.jpg", "Pneumonia/c.jpeg")
    bunch = load_xray_folder(root)
    assert bunch.data.shape == (3, 1)
    assert bunch.data.dtype == object
    assert all(isinstance(p, str) and Path(p).is_file() for p in bunch.data[:, 0])
    assert bunch.target.tolist() == ["Normal", "Pneumonia", "Pneumonia"]
    assert bunch.target_names == ["Normal", "Pneumonia"]
    assert bunch.ignored == []


def test_folder_describes_what_it_found(tree):
    """The description tells the images of every class and the number of patients."""
    root = tree("Normal/00000001_000.png", "Normal/00000001_001.png", "Pneumonia/b.jpg")
    description = load_xray_folder(root).DESCR
    assert "3 images of 2 patients" in description
    assert "Normal: 2 images" in description
    assert "Pneumonia: 1 images" in description


def test_order_is_by_class_and_name(tree):
    """The order of the files does not depend on the order in which they were written."""
    root = tree("b/2.png", "a/9.png", "b/10.png", "a/1.jpg", "b/1.png")
    bunch = load_xray_folder(root)
    assert names_of(bunch) == ["a/1.jpg", "a/9.png", "b/1.png", "b/10.png", "b/2.png"]
    assert load_xray_folder(str(root)).data.tolist() == bunch.data.tolist()


def test_hidden_files_and_folders_are_ignored(tree):
    """Nothing whose name starts with a dot is loaded or listed."""
    root = tree("a/1.png", "a/._1.png", "a/.DS_Store", ".git/2.png", "b/2.png")
    bunch = load_xray_folder(root)
    assert names_of(bunch) == ["a/1.png", "b/2.png"]
    assert bunch.ignored == []
    assert bunch.target_names == ["a", "b"]


def test_only_files_directly_in_class_folders_are_loaded(tree):
    """Images outside the class folders, and folders in them, are listed as ignored."""
    root = tree("loose.png", "readme.txt", "a/1.png", "a/deeper/2.png", "b/3.png")
    bunch = load_xray_folder(root)
    assert names_of(bunch) == ["a/1.png", "b/3.png"]
    assert bunch.ignored == [str(root / "a" / "deeper"), str(root / "loose.png")]
    assert bunch.ignored_reasons == ["a folder in a class folder", "outside the class folders"]


def test_other_files_are_listed_as_ignored(tree):
    """Files of class folders that are no images by suffix or content are told, with the reason."""
    root = tree("a/1.png", "a/notes.txt", "a/scan", "b/2.png", "b/xray.xml")
    bunch = load_xray_folder(root)
    assert [Path(p).name for p in bunch.ignored] == ["notes.txt", "scan", "xray.xml"]
    assert bunch.ignored_reasons == ["no image by suffix or content"] * 3
    assert "set aside: 3 (no image by suffix or content)" in bunch.DESCR


def test_dicom_is_known_by_its_content(tree):
    """A file without suffix is an image if it begins as DICOM files do."""
    root = tree("a/1.png", "a/xray", "a/other")
    (root / "a" / "xray").write_bytes(bytes(128) + b"DICM")
    bunch = load_xray_folder(root)
    assert names_of(bunch) == ["a/1.png", "a/xray"]
    assert [Path(p).name for p in bunch.ignored] == ["other"]


def test_suffixes_are_recognised_in_any_case(tree):
    """A suffix in capitals is the same suffix."""
    root = tree("a/1.PNG", "a/2.Jpg", "b/3.JPEG", "b/4.DCM")
    assert names_of(load_xray_folder(root)) == ["a/1.PNG", "a/2.Jpg", "b/3.JPEG", "b/4.DCM"]


def test_class_names_with_spaces(tree):
    """A class folder's name is the label as it stands."""
    root = tree("Lung Opacity/1.png", "No finding/2.png")
    bunch = load_xray_folder(root)
    assert bunch.target.tolist() == bunch.target_names == ["Lung Opacity", "No finding"]


def test_a_folder_without_images_is_no_class(tree):
    """target_names holds the classes that have images."""
    root = tree("a/1.png", "b/2.png", "c/notes.txt")
    assert load_xray_folder(root).target_names == ["a", "b"]


# -- patients ---------------------------------------------------------------------------------


def test_each_file_is_its_own_patient_without_other_knowledge(tree):
    """Files of unknown patients share no group, also where their names agree."""
    root = tree("a/1.png", "a/2.png", "b/1.png")
    assert load_xray_folder(root).groups.tolist() == ["a/1.png", "a/2.png", "b/1.png"]


def test_patients_of_nih_names(tree):
    """The first 8 digits of an NIH name are the patient, over classes and follow-ups."""
    root = tree("a/00000001_000.png", "a/00000002_000.png", "b/00000001_012.png", "b/0001_000.png")
    groups = load_xray_folder(root).groups.tolist()
    assert groups == ["00000001", "00000002", "00000001", "b/0001_000.png"]


def test_patients_by_an_own_pattern(tree):
    """The first group of patient_pattern is the patient; what it does not find stands alone."""
    root = tree("a/case7-view1.png", "a/case8-view1.png", "b/case7-view2.png", "b/other.png")
    groups = load_xray_folder(root, patient_pattern=r"case(\d+)-").groups.tolist()
    assert groups == ["7", "8", "7", "b/other.png"]


def test_an_own_pattern_replaces_that_of_the_nih(tree):
    """With patient_pattern the NIH's names mean nothing."""
    root = tree("a/00000001_000.png", "b/00000001_001.png")
    groups = load_xray_folder(root, patient_pattern=r"_(\d+)").groups.tolist()
    assert groups == ["000", "001"]


def test_patients_of_metadata(tree):
    """metadata.csv comes before any pattern; files that it does not name follow the pattern."""
    metadata = "patient,view,filename\nann,PA,1.png\nann,AP,00000001_000.png\n"
    root = tree("a/1.png", "b/00000001_000.png", "b/00000001_001.png", metadata=metadata)
    assert load_xray_folder(root).groups.tolist() == ["ann", "ann", "00000001"]


def test_metadata_distinguishes_equal_names_by_label(tree):
    """A column label of metadata.csv separates files of one name in two classes."""
    metadata = "filename,label,patient\n1.png,a,ann\n1.png,b,bob\n"
    root = tree("a/1.png", "b/1.png", metadata=metadata)
    assert load_xray_folder(root).groups.tolist() == ["ann", "bob"]


def test_metadata_of_a_spreadsheet(tree):
    """A byte order mark, quotes and letters beyond ASCII are read."""
    metadata = '\ufefffilename,patient\n"1, left.png","Müller, Ann"\n'
    root = tree("a/1, left.png", "b/2.png", metadata=metadata)
    assert load_xray_folder(root).groups.tolist() == ["Müller, Ann", "b/2.png"]


def test_a_file_with_an_empty_patient_has_a_patient_of_its_own(tree):
    """Empty cells do not join files to one patient."""
    root = tree("a/1.png", "b/2.png", metadata="filename,patient\n1.png,\n2.png,\n")
    assert load_xray_folder(root).groups.tolist() == ["a/1.png", "b/2.png"]


# -- errors of folders ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("file,patient\n1.png,ann\n", "columns 'file', 'patient'; expected a column 'filename'"),
        ("file,subject\n1.png,ann\n", "columns 'file', 'subject'; expected a column 'filename'"),
        ("", "cannot be read as CSV"),
        ("filename,patient\n1.png,ann,PA\n", "cannot be read as CSV"),
        ("filename\n1.png,ann\n2.png,bob,x\n", "cannot be read as CSV"),
    ],
)
def test_metadata_without_its_columns_is_an_error(tree, metadata, said):
    """metadata.csv without its column, or with cells in none, is an error that names it."""
    root = tree("a/1.png", metadata=metadata)
    with pytest.raises(ValueError, match=rf"metadata\.csv .*{said}") as caught:
        load_xray_folder(root)
    assert "\n" not in str(caught.value)


def test_metadata_in_another_encoding_is_an_error(tree):
    """metadata.csv that is not UTF-8 is an error that says so."""
    root = tree("a/1.png")
    (root / "metadata.csv").write_bytes("filename,patient\n1.png,Müller\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.csv .*expected UTF-8"):
        load_xray_folder(root)


def test_missing_root_raises(tmp_path):
    """A missing root is an OSError that names it."""
    with pytest.raises(NotADirectoryError, match=r"nowhere.*it does not exist; expected a folder"):
        load_xray_folder(tmp_path / "nowhere")


def test_a_root_that_is_a_file_is_an_error(tree):
    """A file in place of the root is an OSError that says so."""
    root = tree("a/1.png")
    with pytest.raises(NotADirectoryError, match=r"1\.png.*it is not a folder; expected a folder"):
        load_xray_folder(root / "a" / "1.png")


@pytest.mark.parametrize("names", [[], ["a/notes.txt"], [".a/1.png"]], ids=str)
def test_a_root_without_class_folders_with_images_is_an_error(tree, names):
    """A root in which there is nothing to load is an error that shows the form expected."""
    with pytest.raises(ValueError, match="xrays/<class>/<image>") as caught:
        load_xray_folder(tree(*names))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names", [["1.png"], ["1.png", "2.png", "thumbnails/1.png"]], ids=["alone", "thumbnails"]
)
def test_a_class_folder_in_place_of_its_parent_is_an_error(tree, names):
    """The error names the parent, also if the class folder has a folder of its own."""
    root = tree(*names)
    with pytest.raises(ValueError, match="so it seems to be a class folder") as caught:
        load_xray_folder(root)
    assert f"Pass its parent, {str(root.parent)!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["(", "[a"])
def test_a_patient_pattern_that_does_not_compile_raises(tree, pattern):
    """The error contains the pattern."""
    with pytest.raises(ValueError, match=r"^patient_pattern=.* is not a regular expression"):
        load_xray_folder(tree("a/1.png"), patient_pattern=pattern)


@pytest.mark.parametrize("pattern", ["abc", "(?:abc)", r"\(abc\)"])
def test_a_patient_pattern_without_a_group_raises(tree, pattern):
    """The group states which part of the name is the patient."""
    with pytest.raises(ValueError, match=r"^patient_pattern=.* has no group"):
        load_xray_folder(tree("a/1.png"), patient_pattern=pattern)


@pytest.mark.skipif(
    "CXR_DATA" not in os.environ,
    reason="needs real radiographs: set CXR_DATA to a folder of class folders",
)
def test_every_image_of_a_real_folder_is_read():
    """Every image of a real collection is found, labelled, grouped and read."""
    root = Path(os.environ["CXR_DATA"])
    suffixes = (".png", ".jpg", ".jpeg")
    expected = [
        path
        for path in root.glob("*/*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    bunch = load_xray_folder(root)
    assert sorted(bunch.data[:, 0]) == sorted(map(str, expected))
    assert [Path(p).parent.name for p in bunch.data[:, 0]] == bunch.target.tolist()
    assert len(bunch.groups) == len(bunch.data)
    rows = XRayLoader(image_size=32).fit_transform(bunch.data)
    assert rows.shape == (len(expected), 32 * 32)
    assert rows.dtype == np.uint8
    assert (rows.std(axis=1) > 0).all()


# -- more of metadata.csv ---------------------------------------------------------------------


def write_metadata(root, text):
    """Write two class folders with an image name in common, and their metadata."""
    for name in ("A/a.png", "B/a.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    (root / "metadata.csv").write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("filename,label,patient\na.png,,p1\n", ["p1", "p1"]),
        ("filename,label,patient\na.png, A ,p1\na.png,B,p2\n", ["p1", "p2"]),
        ("filename, patient\n a.png , p1\n", ["p1", "p1"]),
        ("filename,patient\na.png, \n", ["A/a.png", "B/a.png"]),
    ],
)
def test_metadata_is_read_as_meant(tmp_path, text, groups):
    """Empty labels, blanks and missing patients lose no patient and join no files."""
    assert load_xray_folder(write_metadata(tmp_path, text)).groups.tolist() == groups


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,patient\na.png,p1\na.png,p2\n", "a.png has 2 rows .* differ in patient"),
        ("filename,label,patient\na.png,A,p1\na.png,C,p2\n", "label 'B' that differ in patient"),
        ("filename,view\na.png,PA\na.png,AP\n", "a.png has 2 rows .* differ in view"),
    ],
)
def test_contradicting_metadata_is_refused(tmp_path, text, message):
    """Two patients for one file are an error, not a silent choice, and none is named."""
    with pytest.raises(ValueError, match=message) as caught:
        load_xray_folder(write_metadata(tmp_path, text))
    assert "p1" not in str(caught.value)


def test_rows_that_agree_are_one(tmp_path):
    """A file that metadata.csv lists twice with the same values has them."""
    text = "filename,label,patient\na.png,A,p1\na.png,C,p1\n"
    assert load_xray_folder(write_metadata(tmp_path, text)).groups.tolist() == ["p1", "p1"]


def test_columns_of_metadata_stand_in_the_frame(tree):
    """Columns beside the known ones keep their names; numbers are numbers, but 007 is a text."""
    metadata = (
        "filename,source,view,age,code,path\n2.png,site,PA,61,007,x\n1.png,,AP,,012,y\n"
        "gone.png,,AP,7,1,z\n"
    )
    bunch = load_xray_folder(tree("a/1.png", "b/2.png", "b/3.png", metadata=metadata))
    frame = bunch.frame
    assert list(frame) == [*CORE, "view", "age", "code", "original_path"]
    assert frame["view"].tolist() == ["AP", "PA", ""]
    assert frame["age"].tolist()[1] == 61
    assert frame["age"].isna().tolist() == [True, False, True]
    assert frame["code"].tolist() == ["012", "007", ""]
    assert frame["original_path"].tolist() == ["y", "x", ""]
    assert bunch.sources.tolist() == frame["source"].tolist() == ["", "site", ""]
    assert bunch.missing == ["gone.png"]


def test_metadata_may_name_paths(tree):
    """A filename with folders names that very file."""
    metadata = "filename,patient\na/1.png,ann\nb/1.png,bob\n"
    root = tree("a/1.png", "b/1.png", metadata=metadata)
    bunch = load_xray_folder(root)
    assert bunch.groups.tolist() == ["ann", "bob"]
    assert bunch.missing == []


def test_names_of_metadata_are_compared_as_paths(tree):
    """./a/1.png is a/1.png."""
    metadata = "filename,patient\n./a/1.png,ann\nb//1.png,bob\n./2.png,cid\n"
    bunch = load_xray_folder(tree("a/1.png", "b/1.png", "b/2.png", metadata=metadata))
    assert bunch.groups.tolist() == ["ann", "bob", "cid"]
    assert bunch.missing == []


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            "filename,patient,patient\n1.png,a,b\n",
            r"metadata\.csv .* several columns have the heading 'patient'",
        ),
        (
            "filename,patient\n1.png,7\n2.png,7.0\n",
            "the column 'patient' contains 1 numbers in two spellings",
        ),
    ],
)
def test_ambiguous_columns_of_metadata_are_an_error(tree, metadata, said):
    """Which of two columns, and whether 7 is 7.0, is not guessed."""
    with pytest.raises(ValueError, match=said) as caught:
        load_xray_folder(tree("a/1.png", "b/2.png", metadata=metadata))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such folder names")
@pytest.mark.parametrize("name", ["a\r", "a\nb", "a\x85b"])
def test_a_class_folder_with_a_line_break_is_an_error(tree, name):
    """Such a label would break the lines of tables and messages."""
    with pytest.raises(
        ValueError, match=r"^the label 'a.* contains a line break; expected"
    ) as caught:
        load_xray_folder(tree(f"{name}/1.png", "b/2.png"))
    assert len(str(caught.value).splitlines()) == 1


def test_metadata_without_patients(tree):
    """metadata.csv need not have a column patient: file names tell them then."""
    metadata = "filename,view\n00000001_000.png,PA\n"
    bunch = load_xray_folder(tree("a/00000001_000.png", "b/1.png", metadata=metadata))
    assert bunch.groups.tolist() == ["00000001", "b/1.png"]
    assert bunch.frame["view"].tolist() == ["PA", ""]


# -- sources ----------------------------------------------------------------------------------


def test_source_folders_are_found(tree):
    """Folders of class folders are sources, and images of unknown patients stay apart."""
    root = tree("s1/a/1.png", "s1/b/2.png", "s2/a/1.png", "loose.png")
    bunch = load_xray_folder(root)
    assert bunch.sources.tolist() == bunch.frame["source"].tolist() == ["s1", "s1", "s2"]
    assert bunch.target.tolist() == ["a", "b", "a"]
    assert bunch.groups.tolist() == ["s1/a/1.png", "s1/b/2.png", "s2/a/1.png"]
    assert bunch.ignored == [str(root / "loose.png")]
    assert "layout: source/class, as found" in bunch.DESCR
    assert "source s1: 2 images" in bunch.DESCR


def test_layout_decides_where_folders_leave_doubt(tree):
    """An image in a first folder makes it a class, unless layout says that it is a source."""
    root = tree("s1/a/1.png", "s1/loose.png", "s2/b/2.png")
    assert names_of(load_xray_folder(root)) == ["s1/loose.png"]
    assert load_xray_folder(root).sources is None
    assert names_of(load_xray_folder(root, layout="source/class")) == ["a/1.png", "b/2.png"]
    with pytest.raises(ValueError, match="or layout='source/class'"):
        load_xray_folder(root / "s2", layout="source/class")


def test_metadata_distinguishes_equal_names_by_source(tree):
    """A column source of metadata.csv separates files of one name and class."""
    metadata = "filename,source,patient\n1.png,s1,ann\n1.png,s2,bob\n"
    bunch = load_xray_folder(tree("s1/a/1.png", "s2/a/1.png", metadata=metadata))
    assert bunch.groups.tolist() == ["ann", "bob"]


def test_unknown_layouts_are_errors(tree):
    """A layout that is none is named with those that are."""
    with pytest.raises(
        ValueError, match=r"^layout='flat' is invalid; expected one of 'auto', 'class'"
    ):
        load_xray_folder(tree("a/1.png"), layout="flat")


# -- the rest ---------------------------------------------------------------------------------


def test_patients_by_a_function(tree):
    """patient_pattern may be a function; an image without a patient is a patient of its own."""
    root = tree("a/sub-S1_x.png", "a/2.png")
    assert load_xray_folder(root, patient_pattern=patient_from_covidx).groups.tolist() == [
        "2",
        "S1",
    ]
    for missing in (None, np.nan, pd.NA, ""):
        bunch = load_xray_folder(root, patient_pattern=lambda path, found=missing: found)
        assert bunch.groups.tolist() == ["a/2.png", "a/sub-S1_x.png"]
    assert load_xray_folder(root, patient_pattern=lambda path: 0).groups.tolist() == ["0", "0"]


def test_content_hash(tree):
    """content_hash adds the SHA-256 of every file."""
    root = tree("a/1.png", "b/2.png")
    (root / "b" / "2.png").write_bytes(b"xray")
    frame = load_xray_folder(root, content_hash=True).frame
    assert frame["sha256"].tolist() == [hashlib.sha256(b).hexdigest() for b in (b"", b"xray")]
    assert "sha256" not in load_xray_folder(root).frame


def test_the_result_does_not_depend_on_the_order_of_directory_listings(
    tree, other_listing, monkeypatch
):
    """File systems list the same folder in different orders."""
    root = tree("b/é.png", "a/B.png", "a/b.png", "b/10.png", "a/x.txt", "b/9.png", "c.png")
    bunch = load_xray_folder(root)
    assert names_of(bunch) == ["a/B.png", "a/b.png", "b/10.png", "b/9.png", "b/é.png"]
    monkeypatch.undo()
    assert same(bunch, load_xray_folder(root))


def test_links_in_a_loop_do_not_hang(tree):
    """Folders that are links to themselves or above are no endless tree."""
    root = tree("a/1.png", "b/2.png")
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "self").symlink_to(root / "self")
    bunch = load_xray_folder(root)
    assert names_of(bunch) == ["a/1.png", "b/2.png"]
    assert str(root / "a" / "loop") in bunch.ignored


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file names that are no text")
def test_file_names_that_are_not_valid_text_are_loaded(tree):
    """A name that is not valid UTF-8 is listed like any other name."""
    root = tree("a/1.png")
    name = os.fsencode(root / "a") + b"/\xff.png"
    with open(name, "wb"):
        pass
    bunch = load_xray_folder(root)
    assert [os.fsencode(path) for path in bunch.data[:, 0]][1] == name
    assert pickle.loads(pickle.dumps(bunch)).data[1, 0] == bunch.data[1, 0]
