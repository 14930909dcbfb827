"""Labels in a table."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from cxr_sklearn.datasets import _selection, load_xray_table, patient_from_covidx

from ..toys import same

FILES = ("1.png", "2.png", "3.png")
TABLE = (
    "filename,label,who,site,age,code\n1.png,None,007,x,61,01\n2.png,NA,8,,,2\n3.png,a,8,y,5,3\n"
)


def csv(root: Path, text: str, name: str = "labels.csv") -> Path:
    """Write a CSV file beside the images."""
    path = root.parent / name
    path.write_text(text, encoding="utf-8")
    return path


def names_of(bunch) -> list[str]:
    """Return the file names of the paths."""
    return [Path(path).name for path in bunch.data[:, 0]]


# -- columns ----------------------------------------------------------------------------------


def test_a_table_gives_paths_labels_patients_and_sources(tree):
    """Columns are named by parameters; others keep their names; text stays as it is written."""
    root = tree(*FILES)
    bunch = load_xray_table(csv(root, TABLE), root=root, patient="who", source="site")
    assert bunch.data[:, 0].tolist() == [str(root / name) for name in FILES]
    assert bunch.target.tolist() == ["None", "NA", "a"]
    assert bunch.target_names == ["NA", "None", "a"]
    assert bunch.groups.tolist() == ["007", "8", "8"]
    assert bunch.sources.tolist() == ["x", "", "y"]
    assert bunch.frame["age"].isna().tolist() == [False, True, False]
    assert bunch.frame["code"].tolist() == ["01", "2", "3"]
    assert bunch.missing == bunch.ignored == []


def test_a_data_frame_is_the_same_as_its_file(tree):
    """A DataFrame with any index gives what the CSV file gives; it is left as it was."""
    root = tree(*FILES)
    frame = pd.read_csv(csv(root, TABLE), keep_default_na=False, dtype={"who": str, "code": str})
    frame = frame.assign(age=[61, None, 5]).set_index(pd.Index([7, 7, 2]))
    before = frame.copy()
    kwargs = {"root": root, "patient": "who", "source": "site"}
    from_frame = load_xray_table(frame, **kwargs)
    from_file = load_xray_table(csv(root, TABLE), **kwargs)
    assert [from_frame[k].tolist() for k in ("data", "target", "groups", "sources")] == [
        from_file[k].tolist() for k in ("data", "target", "groups", "sources")
    ]
    pd.testing.assert_frame_equal(from_frame.frame, from_file.frame, check_dtype=False)
    pd.testing.assert_frame_equal(frame, before)


def test_numbers_of_patients_are_read_as_integers(tree):
    """A column of integers with gaps, which pandas reads as floats, gives integers."""
    root = tree(*FILES)
    frame = pd.DataFrame({"filename": FILES, "label": [0, 1, 1], "who": [4.0, None, 4.0]})
    bunch = load_xray_table(frame, root=root, patient="who")
    assert bunch.groups.tolist() == ["4", "2.png", "4"]
    assert bunch.target.tolist() == ["0", "1", "1"]


def test_columns_that_share_a_name_with_the_common_ones_are_kept(tree):
    """A column called patient that is not the patient's is kept under another name."""
    root = tree(*FILES)
    frame = pd.DataFrame(
        {"path": FILES, "label": list("abb"), "patient": [1, 2, 2], "who": list("xyy")}
    )
    bunch = load_xray_table(frame, root=root, path="path", patient="who", label_map={"b": "B"})
    assert list(bunch.frame) == [
        *("path", "label", "patient", "source"),
        *("original_path", "original_label", "original_patient", "who"),
    ]
    assert bunch.frame["original_label"].tolist() == ["b", "b"]
    same_one = load_xray_table(frame, root=root, path="path", patient="patient")
    assert "original_patient" not in same_one.frame


def test_patients_without_a_column(tree):
    """File names tell patients by default, or by a function from a path."""
    names = ("00000001_000.png", "sub-S1_a.png", "sub-S1_b.png")
    root = tree(*names)
    frame = pd.DataFrame({"filename": names, "label": list("aab")})
    assert load_xray_table(frame, root=root).groups.tolist() == ["00000001", *names[1:]]
    groups = load_xray_table(frame, root=root, patient=patient_from_covidx).groups
    assert groups.tolist() == ["00000001_000", "S1", "S1"]


def test_the_order_is_that_of_the_table(tree):
    """Rows are not sorted."""
    root = tree(*FILES)
    frame = pd.DataFrame({"filename": FILES[::-1], "label": list("aab")})
    assert names_of(load_xray_table(frame, root=root)) == list(FILES[::-1])


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_cells_may_be_divided_by_semicolons_and_tabs(tree, delimiter):
    """The delimiter is the one that divides the headings; commas are part of cells then."""
    root = tree(*FILES)
    text = TABLE.replace(",", delimiter).replace("None", "Effusion, Mass")
    bunch = load_xray_table(csv(root, text), root=root, patient="who", source="site")
    assert bunch.target.tolist() == ["Effusion, Mass", "NA", "a"]
    assert bunch.groups.tolist() == ["007", "8", "8"]
    assert bunch.sources.tolist() == ["x", "", "y"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_encodings_of_tables(tree, encoding, is_compressed):
    """UTF-8 and UTF-16 are told apart by the byte order mark, also within a gzip file."""
    root = tree(*FILES)
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    data = (mark + TABLE.replace("None", "Müller")).encode(encoding)
    path = root.parent / "labels.csv.gz"
    path.write_bytes(gzip.compress(data) if is_compressed else data)
    assert load_xray_table(path, root=root).target.tolist() == ["Müller", "NA", "a"]


def test_a_table_of_another_encoding_is_an_error_that_names_the_conversion(tree):
    """The command in the message makes the table readable."""
    root = tree(*FILES)
    path = csv(root, "")
    path.write_bytes(TABLE.replace("None", "Müller").encode("cp1252"))
    with pytest.raises(
        ValueError, match=r"labels\.csv is invalid: its encoding is unknown \(byte \d+\)"
    ) as caught:
        load_xray_table(path, root=root)
    command = str(caught.value).split("Windows-1252 with ")[1].removesuffix(".")
    eval(command, {"path": path})
    assert load_xray_table(path, root=root).target.tolist() == ["Müller", "NA", "a"]


def test_a_damaged_gzip_file_is_an_error(tree):
    """A download that broke off is named."""
    root = tree(*FILES)
    path = root.parent / "labels.csv.gz"
    path.write_bytes(gzip.compress(TABLE.encode())[:-20])
    with pytest.raises(
        ValueError, match=r"labels\.csv\.gz is invalid: the gzip file is damaged"
    ) as caught:
        load_xray_table(path, root=root)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
@pytest.mark.parametrize("name", ["a\r.png", '"a\r.png"'])
def test_a_carriage_return_in_a_name_does_not_end_the_line(tree, name):
    """Some programs write such names without quotes."""
    root = tree("a\r.png", "2.png")
    bunch = load_xray_table(csv(root, f"filename,label\n{name},x\n2.png,y\n"), root=root)
    assert names_of(bunch) == ["a\r.png", "2.png"]
    (root / "a\r.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"\(a\\r\.png\)") as caught:
        load_xray_table(csv(root, f"filename,label\n{name},x\n2.png,y\n"), root=root)
    assert len(str(caught.value).splitlines()) == 1


# -- files ------------------------------------------------------------------------------------


def test_files_may_stand_deeper(tree):
    """A name without folders is found anywhere below root; one with folders only there."""
    root = tree("x/1.png", "y/z/2.png", "x/3.png", "y/3.png")
    frame = pd.DataFrame({"filename": ["1.png", "2.png", "y/3.png"], "label": list("aab")})
    bunch = load_xray_table(frame, root=root)
    assert bunch.data[:, 0].tolist() == [str(root / n) for n in ("x/1.png", "y/z/2.png", "y/3.png")]


def test_file_in_root_takes_precedence_over_one_below(tree):
    """The path that the table gives is taken where there is one."""
    root = tree("1.png", "x/1.png")
    frame = pd.DataFrame({"filename": ["1.png"], "label": ["a"]})
    assert load_xray_table(frame, root=root).data.tolist() == [[str(root / "1.png")]]


def test_a_name_of_two_files_is_an_error(tree):
    """Which of two files is meant is not guessed."""
    root = tree("x/1.png", "y/1.png")
    frame = pd.DataFrame({"filename": ["1.png"], "label": ["a"]})
    with pytest.raises(ValueError, match=r"2 files below .* have the name 1\.png") as caught:
        load_xray_table(frame, root=root)
    assert "\n" not in str(caught.value)


def test_names_may_lack_their_suffix(tree):
    """Identifiers as RSNA and VinBigData give them find the one image of that name."""
    root = tree("train/0a.dcm", "b/c/1.2.840.113.dcm", "d/e.jpg", "notes/0a.txt", "f", "g/f.png")
    frame = pd.DataFrame({"filename": ["0a", "1.2.840.113", "d/e", "f"], "label": list("aabb")})
    found = [
        Path(path).relative_to(root).as_posix()
        for path in load_xray_table(frame, root=root).data[:, 0]
    ]
    assert found == ["train/0a.dcm", "b/c/1.2.840.113.dcm", "d/e.jpg", "f"]


def test_a_name_without_suffix_of_two_images_is_an_error(tree):
    """Which of two formats is meant is not guessed."""
    root = tree("x/1.png", "y/1.dcm")
    frame = pd.DataFrame({"filename": ["1"], "label": ["a"]})
    with pytest.raises(
        ValueError, match=r"2 files below .* have the name 1 \(x/1\.png, y/1\.dcm\)"
    ):
        load_xray_table(frame, root=root)


def test_a_suffix_in_the_table_is_not_replaced(tree):
    """A name with the suffix of an image means that file only."""
    root = tree("1.png.dcm", "2.png")
    frame = pd.DataFrame({"filename": ["1.png", "2.png"], "label": ["a", "b"]})
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files .*\(1\.png\)"):
        load_xray_table(frame, root=root)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["0a_image", "0b_image"], r"existing files, such as 0a\.dcm"),
        (["xrays/0a.dcm", "xrays/0b.dcm"], "Pass the folder that contains 'xrays' as root"),
    ],
)
def test_the_error_of_missing_files_contains_a_remedy(tree, names, remedy):
    """It compares the names of the table with an existing file."""
    root = tree("0a.dcm", "0b.dcm")
    frame = pd.DataFrame({"filename": names, "label": ["a", "b"]})
    with pytest.raises(FileNotFoundError, match=remedy) as caught:
        load_xray_table(frame, root=root)
    assert "\n" not in str(caught.value)


def test_a_folder_without_images_is_named_as_such(tree):
    """Where there is nothing to compare names with, root is wrong."""
    root = tree("notes.txt")
    with pytest.raises(FileNotFoundError, match="there is no image below this folder"):
        load_xray_table(csv(root, TABLE), root=root)


@pytest.mark.parametrize(
    "folders", [("patient00001", "patient00002"), ("p10/p10000032", "p11/p11000001")]
)
def test_patients_in_folders(tree, folders):
    """CheXpert and MIMIC-CXR name the patient in a folder, and files of all patients alike."""
    names = [f"train/{folder}/study{i}/view1_frontal.jpg" for folder in folders for i in (1, 2)]
    root = tree(*names)
    frame = pd.DataFrame({"Path": names, "Pneumonia": [1.0, 0.0, 1.0, None]})
    kwargs = {"path": "Path", "label": "Pneumonia", "label_map": {1: "ill", 0: "well", "": "well"}}
    bunch = load_xray_table(frame, root=root, **kwargs)
    patients = [Path(folder).name for folder in folders]
    assert bunch.groups.tolist() == [patients[0], patients[0], patients[1], patients[1]]
    assert bunch.target.tolist() == ["ill", "well", "ill", "well"]
    deeper = root.rename(root.with_name("patient00009"))  # a folder above root means nothing
    again = load_xray_table(frame, root=deeper, **kwargs)
    assert again.groups.tolist() == bunch.groups.tolist()


@pytest.mark.parametrize("is_below", [True, False])
@pytest.mark.parametrize("is_relative", [True, False])
def test_absolute_names_load_whatever_root_is(tree, monkeypatch, tmp_path, is_below, is_relative):
    """Files named by absolute paths are found, and so are their patients, below root or not."""
    names = ["patient00001/study1/view1_frontal.jpg", "patient00002/study1/view1_frontal.jpg"]
    folder = tree(*names, "empty/other.jpg", "plain.jpg")
    paths = [str(folder / name) for name in [*names, "plain.jpg"]]
    monkeypatch.chdir(tmp_path)
    root = folder if is_below else folder / "empty"
    root = Path(os.path.relpath(root)) if is_relative else root
    table = pd.DataFrame({"filename": paths, "label": ["a", "b", "b"]})
    bunch = load_xray_table(table, root=root)
    assert bunch.data[:, 0].tolist() == paths
    assert bunch.groups.tolist() == ["patient00001", "patient00002", paths[2]]


def test_rows_of_one_file_that_agree_become_one(tree):
    """A row per box: columns that differ are left out, and DESCR says so."""
    root = tree("0a.dcm", "0b.dcm")
    text = "patientId,x,site,Target\n0a,1.5,s,1\n0b,,s,0\n0a,7.5,s,1\n0a,8,s,1\n"
    bunch = load_xray_table(csv(root, text), root=root, path="patientId", label="Target")
    assert bunch.target.tolist() == ["1", "0"]
    assert list(bunch.frame) == [
        "path",
        "label",
        "patient",
        "source",
        "patientId",
        "site",
        "Target",
    ]
    assert "further rows of a file left out: 2" in bunch.DESCR
    assert "columns left out, since rows of a file differ in them: x" in bunch.DESCR


@pytest.mark.parametrize("column", ["patient", "source"])
def test_rows_of_one_file_that_contradict_each_other_are_an_error(tree, column):
    """Patient and source of an image are one; the message names no patient."""
    root = tree(*FILES)
    text = f"filename,label,{column}\n1.png,a,ann\n2.png,b,bob\n1.png,a,cid\n"
    said = rf"several rows of 1 files differ in their {column} \(1\.png\)"
    with pytest.raises(ValueError, match=said) as caught:
        load_xray_table(csv(root, text), root=root, **{column: column})
    assert "ann" not in str(caught.value)


def test_a_file_that_two_names_reach_is_an_error(tree):
    """A bare name and a path may lead to the same file."""
    root = tree("x/1.png", "2.png")
    frame = pd.DataFrame({"filename": ["1.png", "x/1.png", "2.png"], "label": list("aab")})
    with pytest.raises(ValueError, match=r"differ in their file name \(1\.png = x/1\.png\)"):
        load_xray_table(frame, root=root)


def test_missing_files_are_an_error_or_a_list(tree):
    """Files that are not there stop the load, or are listed and left out of everything."""
    root = tree("1.png", "3.png")
    table = csv(root, TABLE)
    with pytest.raises(
        FileNotFoundError, match=r"1 of 3 files in .*labels\.csv do not exist .*2\.png"
    ):
        load_xray_table(table, root=root)
    bunch = load_xray_table(table, root=root, on_missing="list", source="site")
    assert bunch.missing == ["2.png"]
    assert names_of(bunch) == ["1.png", "3.png"]
    assert bunch.frame["code"].tolist() == ["01", "3"]
    assert len(bunch.target) == len(bunch.groups) == len(bunch.sources) == len(bunch.frame) == 2
    assert "missing: 1 files" in bunch.DESCR


def test_a_table_of_which_no_file_exists_raises(tree):
    """With on_missing="list", a wrong root must not give an empty bunch."""
    root = tree("x.png")
    with pytest.raises(FileNotFoundError, match="3 of 3 files"):
        load_xray_table(csv(root, TABLE), root=root, on_missing="list")


def test_the_result_does_not_depend_on_the_order_of_directory_listings(
    tree, other_listing, monkeypatch
):
    """File systems list the same folder in different orders."""
    root = tree("x/1.png", "y/2.png", "z/3.png")
    table = csv(root, TABLE)
    bunch = load_xray_table(table, root=root)
    monkeypatch.undo()
    assert same(bunch, load_xray_table(table, root=root))


def test_linked_folders_are_searched_once(tree):
    """A link to a folder in the tree, or above it, doubles no file and never ends."""
    root = tree("x/1.png", "x/2.png", "x/3.png")
    (root / "again").symlink_to(root / "x", target_is_directory=True)
    (root / "x" / "up").symlink_to(root.parent, target_is_directory=True)
    bunch = load_xray_table(csv(root, TABLE), root=root)
    assert [Path(p).parent.name for p in bunch.data[:, 0]] == ["x"] * 3


# -- labels -----------------------------------------------------------------------------------


def test_label_map_renames_and_leaves_out(tree):
    """Labels that a dict does not have are left out and counted; unused keys are told."""
    root = tree(*FILES)
    mapping = {"None": "Normal", "a": "Ill", "b": "Ill"}
    bunch = load_xray_table(csv(root, TABLE), root=root, label_map=mapping, source="site")
    assert bunch.target.tolist() == ["Normal", "Ill"]
    assert bunch.sources.tolist() == ["x", "y"]
    assert bunch.frame["original_label"].tolist() == ["None", "a"]
    assert "left out by label: 1 rows, NA (1)" in bunch.DESCR
    assert "labels of label_map that the table does not have: b" in bunch.DESCR


def test_label_map_may_be_a_function(tree):
    """A function returns the class, or None to leave a row out."""
    root = tree(*FILES)
    choose = {"None": "Normal", "NA": "x"}.get
    bunch = load_xray_table(csv(root, TABLE), root=root, label_map=lambda text: choose(text))
    assert bunch.target.tolist() == ["Normal", "x"]


@pytest.mark.parametrize(
    "label_map", [{"a": "A", "b": "B"}, lambda text: text.upper()], ids=["dict", "function"]
)
def test_rows_without_a_label_are_left_out_by_a_label_map(tree, label_map):
    """An empty label has no class; a function is not called with it."""
    root = tree(*FILES)
    path = csv(root, "filename,label\n1.png,a\n2.png,\n3.png,b\n")
    bunch = load_xray_table(path, root=root, label_map=label_map)
    assert bunch.target.tolist() == ["A", "B"]
    assert names_of(bunch) == ["1.png", "3.png"]
    assert "left out by label: 1 rows, without a label (1)" in bunch.DESCR


def test_an_empty_label_may_have_a_class(tree):
    """The key of a dict for it is the empty string."""
    root = tree(*FILES)
    path = csv(root, "filename,label\n1.png,a\n2.png,\n3.png,b\n")
    bunch = load_xray_table(path, root=root, label_map={"a": "A", "": "none"})
    assert bunch.target.tolist() == ["A", "none"]


@pytest.mark.parametrize("keys", [(0, 1), ("0", "1"), ("0.0", "1.0"), (0.0, 1.0)], ids=str)
@pytest.mark.parametrize(
    "label", [["1", "0", "1"], ["1.0", "0.0", "1.0"], [1, 0, 1], [1.0, 0.0, 1]]
)
def test_numbers_as_labels_are_found_however_they_are_written(tree, keys, label):
    """1, 1.0 and their strings are one key of label_map."""
    root = tree(*FILES)
    frame = pd.DataFrame({"filename": FILES, "label": label})
    bunch = load_xray_table(frame, root=root, label_map={keys[0]: "well", keys[1]: "ill"})
    assert bunch.target.tolist() == ["ill", "well", "ill"]


def test_rows_left_out_need_no_file(tree):
    """Only the files of the rows that are kept must be there."""
    root = tree("1.png")
    bunch = load_xray_table(csv(root, TABLE), root=root, label_map={"None": "Normal"})
    assert names_of(bunch) == ["1.png"]


# -- the table of patients --------------------------------------------------------------------


def test_a_table_of_patients_is_joined(tree):
    """Each image gets its patient's row; names that are taken get another; gaps are counted."""
    root = tree(*FILES)
    patients = csv(root, "who,sex,age\n8,F,30\n9,M,40\n", "patients.csv")
    bunch = load_xray_table(csv(root, TABLE), root=root, patient="who", patients=patients)
    assert bunch.frame["sex"].tolist() == ["", "F", "F"]
    assert bunch.frame["age_of_patient"].tolist()[1:] == [30, 30]
    assert bunch.frame["age"].tolist()[2] == 5
    assert "patients without a row in the table of patients: 1" in bunch.DESCR
    frame = pd.DataFrame({"who": [8, 7], "bmi": [20.5, 21.5]})
    bunch = load_xray_table(csv(root, TABLE), root=root, patient="who", patients=frame)
    assert bunch.frame["bmi"].tolist()[1:] == [20.5, 20.5]


def test_a_large_table_of_patients_is_joined_in_linear_time(tree):
    """The number of comparisons grows with the rows, not with their square."""
    n = 20_000
    frame = pd.DataFrame({"filename": [f"{i}.png" for i in range(n)], "who": range(n)})
    patients = pd.DataFrame({"who": range(n), "bmi": range(n)})
    frame = frame.assign(label="a").astype({"label": object})
    frame.loc[0, "label"] = "b"
    start = time.perf_counter()
    kwargs = {"patient": "who", "patients": patients, "label_map": {"b": "B"}}
    bunch = load_xray_table(frame, root=tree("0.png"), **kwargs)
    assert bunch.frame["bmi"].tolist() == [0]
    assert time.perf_counter() - start < 20  # 100 seconds when the time was quadratic


@pytest.mark.parametrize(
    ("patients", "kwargs", "said"),
    [
        ("who,sex\n8,F\n8,M\n", {"patient": "who"}, "1 patients are in the column 'who' twice"),
        (
            "id,sex\n8,F\n",
            {"patient": "who"},
            "patients has the columns 'id', 'sex'; expected a column 'who'",
        ),
        ("who,sex\n8.0,F\n7.0,M\n", {"patient": "who"}, "'who' has none of the 2 patients of the"),
        ("who,sex\n8,F\n", {}, "the table of images has no column of patients"),
        (
            "who,age,age_of_patient\n8,3,3\n",
            {"patient": "who"},
            "several columns have the heading 'age_of_patient'",
        ),
    ],
)
def test_errors_of_the_table_of_patients(tree, patients, kwargs, said):
    """A table of patients that does not fit is an error in one line."""
    root = tree(*FILES)
    with pytest.raises(ValueError, match=said) as caught:
        load_xray_table(
            csv(root, TABLE), root=root, patients=csv(root, patients, "patients.csv"), **kwargs
        )
    assert "\n" not in str(caught.value)


# -- the NIH's table --------------------------------------------------------------------------

NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,081Y,F,AP,2500,2048,0.171,0.171,\n"
)
NIH_FILES = ("images_001/00000001_000.png", "images_001/00000001_001.png", "x/00000002_000.png")


def test_the_table_of_the_nih(tree):
    """preset="nih" knows the columns; rows of several findings are left out and counted."""
    root = tree(*NIH_FILES)
    bunch = load_xray_table(csv(root, NIH), root=root, preset="nih")
    assert bunch.target.tolist() == ["Cardiomegaly", "No Finding"]
    assert bunch.groups.tolist() == ["00000001", "00000002"]
    expected = {"follow_up": [0, 0], "age": [58, 81], "sex": ["M", "F"], "view": ["PA", "AP"]}
    expected |= {"width": [2682, 2500], "height": [2749, 2048]}
    assert {name: bunch.frame[name].tolist() for name in expected} == expected
    assert "Unnamed: 11" not in bunch.frame
    assert "left out by label: 1 rows, Cardiomegaly|Emphysema (1)" in bunch.DESCR


def test_findings_of_the_nih_are_mapped(tree):
    """label_map sees the whole text, so that it can take rows of several findings too."""
    root = tree(*NIH_FILES)
    table = csv(root, NIH)
    bunch = load_xray_table(table, root=root, preset="nih", label_map={"No Finding": "Normal"})
    assert bunch.target.tolist() == ["Normal"]

    def has_cardiomegaly(text):
        return "yes" if "Cardiomegaly" in text.split("|") else "no"

    bunch = load_xray_table(table, root=root, preset="nih", label_map=has_cardiomegaly)
    assert bunch.target.tolist() == ["yes", "yes", "no"]


def test_a_later_edition_of_the_nih_and_its_patients(tree):
    """Ages as numbers and the heading Patient Sex are known; patients are joined by number."""
    root = tree(*NIH_FILES)
    text = NIH.replace("Patient Gender", "Patient Sex").replace("Y,", ",")
    patients = pd.DataFrame({"Patient ID": [1, 2], "smoker": [True, False]})
    bunch = load_xray_table(csv(root, text), root=root, preset="nih", patients=patients)
    assert bunch.frame["age"].tolist() == [58, 81]
    assert bunch.frame["sex"].tolist() == ["M", "F"]
    assert bunch.frame["smoker"].tolist() == [True, False]


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kwargs", "error", "said"),
    [
        (
            TABLE,
            {"path": "file"},
            ValueError,
            r"labels\.csv has the columns 'filename', .* a column 'file'",
        ),
        (TABLE, {"label": "class"}, ValueError, "expected a column 'class'.* as label="),
        (TABLE, {"patient": "id"}, ValueError, "expected a column 'id'.* as patient="),
        (TABLE, {"source": "id"}, ValueError, "expected a column 'id'.* as source="),
        (TABLE, {"preset": "nih"}, ValueError, "expected a column 'Image Index'.*Data_Entry_2017"),
        (
            TABLE,
            {"preset": "rsna"},
            ValueError,
            "preset='rsna' is invalid; expected one of None, 'nih'",
        ),
        (
            TABLE,
            {"on_missing": "skip"},
            ValueError,
            "on_missing='skip' is invalid; expected one of 'raise'",
        ),
        (TABLE, {"label_map": {"x": "y"}}, ValueError, "it leaves out all 3 rows; .* NA, "),
        (TABLE, {"label_map": ["a"]}, TypeError, "its type is list; expected a dict"),
        ("filename,label\n1.png,a\n1.png,b\n", {}, ValueError, r"differ in their label \(1\.png"),
        ("filename,label\n1.png,a\n./1.png,a\n", {}, ValueError, r"name \(1\.png = \./1\.png\)"),
        (
            "filename,label,label \n1.png,a,b\n",
            {},
            ValueError,
            r"labels\.csv .* have the heading 'label'",
        ),
        (
            "filename,label\n1.png,1\n2.png,1.0\n",
            {},
            ValueError,
            "the column 'label' contains 1 numbers in",
        ),
        (
            "filename,label,who\n1.png,a,7\n2.png,b,7.0\n",
            {"patient": "who"},
            ValueError,
            "the column 'who' contains 1 numbers in two spellings",
        ),
        (TABLE, {"label_map": {"a": "x", "NA": ""}}, ValueError, "empty class to the labels NA;"),
        (
            TABLE,
            {"label_map": {1: "x", "1.0": "y"}},
            ValueError,
            "one label two classes by keys",
        ),
        (
            'filename,label\n1.png,"a\rb"\n',
            {},
            ValueError,
            r"label 'a\\rb' is invalid: it contains a line break",
        ),
        ("PK\x03\x04", {}, ValueError, r"labels\.csv .* an archive or a workbook; expected a text"),
        (
            "\x00f\x00i",
            {},
            ValueError,
            r"labels\.csv is invalid: its encoding is unknown \(byte 0\); expected UTF-8",
        ),
        (
            "filename,label\n1.png,\n2.png,a\n3.png, \n",
            {},
            ValueError,
            "the column 'label' is empty in rows 0, 2 ",
        ),
        ("filename,label\n,a\n", {}, ValueError, "the column 'filename' is empty in rows 0 "),
        (
            "filename,label\n1.png,a,b\n",
            {},
            ValueError,
            r"labels\.csv is invalid: the file cannot be read as CSV",
        ),
        ("", {}, ValueError, "cannot be read as CSV"),
        ("filename,label\n", {}, ValueError, r"labels\.csv is invalid: it has no rows"),
        (
            NIH.replace("View Position", "filename"),
            {"preset": "nih"},
            ValueError,
            "have the heading 'filename'",
        ),
    ],
)
def test_errors_of_tables(tree, text, kwargs, error, said):
    """What is wrong with a table or a parameter is named in one line."""
    root = tree(*FILES)
    with pytest.raises(error, match=said) as caught:
        load_xray_table(csv(root, text), root=root, **kwargs)
    assert "\n" not in str(caught.value)


def test_errors_of_data_frames(tree):
    """A table that is none, missing labels and two columns of one name are errors."""
    root = tree(*FILES)
    frame = pd.DataFrame({"filename": FILES, "label": ["a", None, float("nan")]})
    with pytest.raises(ValueError, match="the column 'label' is empty in rows 1, 2 "):
        load_xray_table(frame, root=root)
    double = pd.DataFrame([["1.png", "a", "b"]], columns=["filename", "label", "label "])
    with pytest.raises(ValueError, match="several columns have the heading 'label'"):
        load_xray_table(double, root=root)
    with pytest.raises(TypeError, match="its type is dict; expected a DataFrame or the path"):
        load_xray_table({"filename": FILES}, root=root)


def test_missing_folder_and_table_raise(tree):
    """A missing table and a missing root are kinds of OSError that name them."""
    root = tree(*FILES)
    with pytest.raises(
        FileNotFoundError, match=r"^table='.*gone\.csv' is invalid: it does not exist"
    ):
        load_xray_table(str(root / "gone.csv"), root=root)
    with pytest.raises(FileNotFoundError, match=r"^table=.*it is a folder"):
        load_xray_table(root, root=root)
    with pytest.raises(
        NotADirectoryError, match=r"^root='gone' .* does not exist; expected a folder"
    ):
        load_xray_table(csv(root, TABLE), root="gone")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_of_files_is_read_as_tables_are(tree, encoding):
    """A list may be in UTF-16, and U+0085, U+2028 or a form feed in a name do not end a line."""
    names = ["a\x85b.png", "c\u2028d.png", "e\x0cf.png"]
    root = tree(*names)
    path = root / "list.txt"
    path.write_bytes("\r\n".join([*names, "", ""]).encode(encoding))
    files = _selection.from_list(str(path))
    assert files["path"].tolist() == [str(root / name) for name in names]
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"list\.txt is invalid: its encoding is unknown"):
        _selection.from_list(str(path))


def test_lists_and_tables_explain_missing_files_alike(tree):
    """Both messages give the remedy that the names suggest."""
    root = tree("a.png", "b.png")
    (root / "list.txt").write_text("xrays/a.png\nxrays/b.png\n", encoding="utf-8")
    with pytest.raises(
        FileNotFoundError, match=r"-missing\. Pass the folder that contains 'xrays'"
    ):
        _selection.from_list(str(root / "list.txt"))
    table = pd.DataFrame({"filename": ["xrays/a.png"], "label": ["x"]})
    with pytest.raises(FileNotFoundError, match=r"'list'\. Pass the folder that contains 'xrays'"):
        load_xray_table(table, root=root)


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=|", "sep=\t"])
def test_the_delimiter_of_a_first_line_of_excel_counts(tree, first):
    """The line is no heading."""
    root = tree("1.png", "2.png")
    delimiter = first.strip('"')[-1]
    rows = ["filename;label;a,b,c", "1.png;x;1,5", "2.png;y;2"]
    text = "\n".join([first, *(row.replace(";", delimiter) for row in rows), ""])
    bunch = load_xray_table(csv(root, text), root=root)
    assert bunch.target.tolist() == ["x", "y"]
    assert bunch.frame["a,b,c"].tolist() == ["1,5", "2"]


@pytest.mark.parametrize("label", ["label", "label (N, P, or X, Y)"])
def test_the_delimiter_is_the_one_that_gives_the_required_columns(tree, label):
    """Headings may contain more commas than there are columns."""
    root = tree("1.png", "2.png")
    text = f"filename;{label};note, with, many, commas\n1.png;x;a\n2.png;y;b\n"
    bunch = load_xray_table(csv(root, text), root=root, label=label)
    assert bunch.target.tolist() == ["x", "y"]
    assert bunch.frame["note, with, many, commas"].tolist() == ["a", "b"]
