"""Folders of DICOM files."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from cxr_sklearn.datasets import load_dicom_folder, select_rows

from ..toys import same

SECRETS = ("DOE^JOHN", "PID-4711", "PID-4712", "1.2.3.4.5")


@pytest.fixture
def write_dicom(tmp_path):
    """Return a function that writes a DICOM file below a folder, and returns that folder."""
    root = tmp_path / "xrays"
    root.mkdir()

    def write(name: str = "Normal/1.dcm", kind: str = "", **elements) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = Dataset()
        data.SOPClassUID = kind or DigitalXRayImageStorageForPresentation
        data.SOPInstanceUID = f"1.2.{len(list(root.rglob('*')))}"
        values = {
            "StudyInstanceUID": "1.2.3.4.5",
            "Modality": "DX",
            "PatientName": "DOE^JOHN",
            "PatientID": "PID-4711",
            "PatientAge": "045Y",
            "PatientSex": "F",
            "Manufacturer": "Maker",
            "ViewPosition": "PA",
            "Rows": 4,
            "Columns": 3,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of the odd values that tests need
            for key, value in (values | elements).items():
                if value is not None:
                    setattr(data, key, value)
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.save_as(path, enforce_file_format=True)
        return root

    return write


def names_of(bunch, root: Path) -> list[str]:
    """Return the paths as seen from the folder."""
    return [Path(path).relative_to(root).as_posix() for path in bunch.data[:, 0]]


def coded(meaning: str) -> Sequence:
    """Return a sequence with one code."""
    code = Dataset()
    code.CodeMeaning = meaning
    return Sequence([code])


CHESTS = ("PECHO", "CHST", "CXR", "RIBS", "LEFT RIB", "HEART", "POITRINE", "BRUSTKORB", "TORACE")


def reasons_of(bunch, root: Path) -> dict[str, str]:
    """Return why each file was set aside."""
    names = [Path(path).relative_to(root).as_posix() for path in bunch.ignored]
    return dict(zip(names, bunch.ignored_reasons, strict=True))


# -- headers ----------------------------------------------------------------------------------


def test_headers_become_columns(write_dicom):
    """View, age in years, sex, manufacturer, modality and size stand in the frame."""
    write_dicom("Normal/1.dcm")
    root = write_dicom(
        "Pneumonia/2", PatientAge="006M", ViewPosition="ap", Modality="CR", PatientSex="m"
    )
    bunch = load_dicom_folder(root)
    assert names_of(bunch, root) == ["Normal/1.dcm", "Pneumonia/2"]
    assert bunch.target.tolist() == ["Normal", "Pneumonia"]
    assert bunch.sources is None
    expected = {
        "view": ["PA", "AP"],
        "age": [45.0, 0.5],
        "sex": ["F", "M"],
        "manufacturer": ["Maker", "Maker"],
        "modality": ["DX", "CR"],
        "width": [3, 3],
        "height": [4, 4],
    }
    assert {name: bunch.frame[name].tolist() for name in expected} == expected


def test_missing_values_of_headers_are_missing_in_the_frame(write_dicom):
    """A missing string is empty, and a missing age is NaN."""
    absent = ["PatientAge", "PatientSex", "Manufacturer", "ViewPosition", "Modality"]
    write_dicom("Normal/1", **dict.fromkeys([*absent, "StudyInstanceUID"]))
    root = write_dicom("Normal/2", PatientAge="", PatientSex="")
    frame = load_dicom_folder(root).frame
    assert frame["age"].isna().all()
    assert frame["sex"].tolist() == ["", ""]
    assert frame.loc[0, ["study", "view", "manufacturer", "modality"]].tolist() == [""] * 4


@pytest.mark.parametrize("name", ["1.dcm", "1.DICOM", "1.ima", "1", "1.2.840.1", "1.img"])
def test_files_are_recognised_as_dicom_by_their_content(write_dicom, name):
    """Neither the suffix nor the depth of the folder matters."""
    root = write_dicom(f"Normal/patient/study/{name}")
    bunch = load_dicom_folder(root)
    assert bunch.target.tolist() == ["Normal"]


def test_old_files_without_the_mark_of_dicom_are_recognised_by_their_suffix(write_dicom):
    """They must contain a header that can be read."""
    root = write_dicom("Normal/1")
    content = (root / "Normal" / "1").read_bytes()
    start = content.index(b"\x08\x00\x16\x00")  # the first element after the file's own group
    (root / "Normal" / "2.dcm").write_bytes(content[start:])
    (root / "Normal" / "3").write_bytes(content[start:])
    bunch = load_dicom_folder(root)
    assert names_of(bunch, root) == ["Normal/1", "Normal/2.dcm"]
    assert reasons_of(bunch, root) == {"Normal/3": "no DICOM file"}
    assert bunch.frame["width"].tolist() == [3, 3]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipes_are_ignored(write_dicom):
    """Opening a pipe would wait for a writer for ever."""
    root = write_dicom("Normal/1")
    os.mkfifo(root / "Normal" / "2.dcm")
    assert len(load_dicom_folder(root).data) == 1


def test_pixels_are_not_read(write_dicom):
    """A file whose pixels are missing or damaged is listed like any other."""
    root = write_dicom("Normal/1", PixelData=bytes(12), BitsAllocated=8)
    path = root / "Normal" / "1"
    path.write_bytes(path.read_bytes()[:-6])
    assert len(load_dicom_folder(root).data) == 1


# -- what is set aside ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ViewPosition": "LL"}, "a lateral"),
        ({"ViewPosition": "rl"}, "a lateral"),
        ({"ViewPosition": "LATERAL"}, "a lateral"),
        ({"ViewPosition": "LAT"}, "a lateral"),
        ({"ViewPosition": "", "SeriesDescription": "Chest Lat"}, "a lateral"),
        ({"ViewPosition": None, "SeriesDescription": "W_CHEST_LATERAL"}, "a lateral"),
        ({"ViewPosition": None, "ImageType": ["ORIGINAL", "PRIMARY", "LATERAL"]}, "a lateral"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"Modality": "CT"}, "of another modality than CR, DX and RG"),
        ({"Modality": "MG"}, "of another modality than CR, DX and RG"),
        ({"Modality": None, "kind": SecondaryCaptureImageStorage}, "without a modality"),
        ({"BodyPartExamined": "HAND"}, "of another body part than the chest"),
        ({"BodyPartExamined": "hip"}, "of another body part than the chest"),
        ({"BodyPartExamined": "LUMBAR RIBBON"}, "of another body part than the chest"),
        ({"BodyPartExamined": "CSPINE"}, "of another body part than the chest"),
        ({"BodyPartExamined": "THORACIC SPINE"}, "of another body part than the chest"),
        ({"AnatomicRegionSequence": coded("Hip joint")}, "of another body part than the chest"),
        ({"Rows": None}, "a DICOM file without an image"),
        ({"kind": "1.2.840.10008.1.3.10"}, "a DICOMDIR"),
        ({"name": "DICOMDIR"}, "a DICOMDIR"),
    ],
    ids=str,
)
def test_files_other_than_frontal_radiographs_are_ignored_with_a_reason(
    write_dicom, elements, reason
):
    """These are lateral views, localizers, other modalities and directories."""
    write_dicom("Normal/1")
    name = elements.get("name", "Normal/2")
    root = write_dicom(**{"name": name, **elements})
    bunch = load_dicom_folder(root)
    assert names_of(bunch, root) == ["Normal/1"]
    assert reasons_of(bunch, root) == {name: reason}
    assert f"set aside: 1 ({reason})" in bunch.DESCR


@pytest.mark.parametrize(
    "elements",
    [
        {"ViewPosition": "PA", "SeriesDescription": "CHEST PA AND LATERAL"},
        {"ViewPosition": None, "SeriesDescription": "CHEST PA/LAT"},
        {"ViewPosition": None, "SeriesDescription": "BILATERAL LUNGS"},
        {"ViewPosition": None, "ImageType": "DERIVED"},
        {"ViewPosition": "AP", "Modality": None},
    ],
    ids=str,
)
def test_doubtful_views_are_kept(write_dicom, elements):
    """An image goes only where its header says that it is a lateral, and not that it is frontal."""
    assert len(load_dicom_folder(write_dicom(**elements)).data) == 1


def test_the_coded_view_is_known(write_dicom):
    """ViewCodeSequence tells a lateral too."""
    write_dicom("Normal/1")
    root = write_dicom("Normal/2", ViewPosition=None, ViewCodeSequence=coded("left lateral"))
    assert reasons_of(load_dicom_folder(root), root) == {"Normal/2": "a lateral"}


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": "CHEST"},
        {"BodyPartExamined": "Thorax"},
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": "TORAX PA"},
        {"BodyPartExamined": "TÓRAX", "SpecificCharacterSet": "ISO_IR 192"},
        *({"BodyPartExamined": name} for name in CHESTS),
        {"BodyPartExamined": "LUNG", "AnatomicRegionSequence": coded("Hand")},
        {"BodyPartExamined": "", "AnatomicRegionSequence": coded("Chest")},
        {"AnatomicRegionSequence": coded("Thoracic structure")},
    ],
    ids=str,
)
def test_chests_are_kept(write_dicom, elements):
    """The body part is a word for the chest, or the coded region is one."""
    bunch = load_dicom_folder(write_dicom(**elements))
    said = elements.get("BodyPartExamined") or elements["AnatomicRegionSequence"][0].CodeMeaning
    assert bunch.frame["body_part"].tolist() == [said.upper()]
    assert "without a body part" not in bunch.DESCR


def test_images_without_a_body_part_are_kept_and_counted(write_dicom):
    """Where no header says what was examined, DESCR states the number of such images."""
    write_dicom("Normal/1", BodyPartExamined="CHEST")
    root = write_dicom("Normal/2")
    bunch = load_dicom_folder(root)
    assert bunch.frame["body_part"].tolist() == ["CHEST", ""]
    assert "kept without a body part in the header: 1" in bunch.DESCR


@pytest.mark.parametrize(
    "value", ["UNKNOWN", "NA", "n/a", "NONE", "Other", "UNSPECIFIED", "NOT_SPECIFIED", "-"]
)
def test_a_value_that_states_no_body_part_counts_as_empty(write_dicom, value):
    """The image is kept and counted, and a coded region still decides."""
    write_dicom("Normal/1", BodyPartExamined="CHEST")
    root = write_dicom("Normal/2", BodyPartExamined=value)
    write_dicom("Normal/3", BodyPartExamined=value, AnatomicRegionSequence=coded("Hand"))
    bunch = load_dicom_folder(root)
    assert bunch.frame["body_part"].tolist() == ["CHEST", ""]
    assert "kept without a body part in the header: 1" in bunch.DESCR
    assert reasons_of(bunch, root) == {"Normal/3": "of another body part than the chest"}


def test_radiographs_that_pydicom_ships_are_no_chests():
    """The only frontal radiographs among pydicom's own files show necks."""
    folder = Path(get_testdata_file("DICOMDIR")).parent
    with pytest.raises(ValueError, match=r"[2-9] of another body part than the chest"):
        load_dicom_folder(folder, on_error="list")


def test_other_files_are_listed(write_dicom):
    """Files that are no DICOM, and images outside the class folders, are reported."""
    write_dicom("Normal/1")
    root = write_dicom("loose.dcm")
    (root / "Normal" / "notes.txt").write_text("x")
    (root / "Normal" / ".hidden").write_text("x")
    assert reasons_of(load_dicom_folder(root), root) == {
        "Normal/notes.txt": "no DICOM file",
        "loose.dcm": "outside the class folders",
    }


@pytest.mark.parametrize("content", [b"", b"x" * 500, bytes(128) + b"DICM", "truncated"])
def test_damaged_files_are_an_error_or_a_list(write_dicom, content):
    """A file that claims to be DICOM and is not stops the load, or is listed with the reason."""
    root = write_dicom("Normal/1")
    if content == "truncated":
        content = (root / "Normal" / "1").read_bytes()[:300]
    (root / "Normal" / "2.dcm").write_bytes(content)
    if content[128:132] != b"DICM":
        with pytest.raises(
            OSError, match=r"^1 of 2 files could not be .*: Normal/2\.dcm"
        ) as caught:
            load_dicom_folder(root)
        assert "\n" not in str(caught.value)
    bunch = load_dicom_folder(root, on_error="list")
    assert names_of(bunch, root) == ["Normal/1"]
    assert list(reasons_of(bunch, root)) == ["Normal/2.dcm"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_that_lead_nowhere_are_errors(write_dicom):
    """A link to a file that is gone is named with the system's reason."""
    root = write_dicom("Normal/1")
    (root / "Normal" / "2").symlink_to(root / "gone")
    with pytest.raises(OSError, match=r"Normal/2 \(No such file or directory\)"):
        load_dicom_folder(root)


def test_the_result_does_not_depend_on_the_order_of_directory_listings(
    write_dicom, other_listing, monkeypatch
):
    """File systems list the same folder in different orders."""
    for name in ("b/x/2", "b/1", "a/3", "a/y/1", "a/x/5"):
        root = write_dicom(name)
    bunch = load_dicom_folder(root, salt="x")
    assert names_of(bunch, root) == ["a/3", "a/x/5", "a/y/1", "b/1", "b/x/2"]
    monkeypatch.undo()
    assert same(bunch, load_dicom_folder(root, salt="x"))


# -- identifiers ------------------------------------------------------------------------------


_GROUPS = """
import sys
from cxr_sklearn.datasets import load_dicom_folder
print(*load_dicom_folder(sys.argv[1]).groups)
"""


def test_identifiers_are_pseudonyms(write_dicom):
    """Equal patients have equal pseudonyms, of 16 hexadecimal digits, in every call."""
    write_dicom("a/1")
    write_dicom("a/2")
    root = write_dicom("b/3", PatientID="PID-4712", StudyInstanceUID="1.2.3.4.6")
    first, second = load_dicom_folder(root), load_dicom_folder(root)
    for values in (first.groups, first.frame["study"]):
        assert values[0] == values[1] != values[2]
        assert all(re.fullmatch("[0-9a-f]{16}", value) for value in values)
    assert set(first.groups) == set(second.groups)  # or a split could not be checked
    elsewhere = subprocess.run(
        [sys.executable, "-c", _GROUPS, str(root)], capture_output=True, text=True, check=True
    )
    assert not set(first.groups) & set(elsewhere.stdout.split())


@pytest.mark.parametrize("salt", ["my secret", b"my secret"])
def test_an_own_salt_gives_the_same_pseudonyms_again(write_dicom, salt):
    """The pseudonym is the HMAC-SHA-256 of the identifier with the salt as its key."""
    root = write_dicom()
    digest = hmac.new(b"my secret", b"PID-4711", hashlib.sha256).hexdigest()[:16]
    assert load_dicom_folder(root, salt=salt).groups.tolist() == [digest]
    assert load_dicom_folder(root, salt="another").groups.tolist() != [digest]


def test_identifiers_are_unchanged_without_pseudonyms(write_dicom):
    """pseudonymise=False keeps PatientID and StudyInstanceUID, except for outer blanks."""
    bunch = load_dicom_folder(write_dicom(PatientID=" PID-4711 "), pseudonymise=False)
    assert bunch.groups.tolist() == ["PID-4711"]
    assert bunch.frame["study"].tolist() == ["1.2.3.4.5"]


@pytest.mark.parametrize("pseudonymise", [True, False])
def test_the_study_replaces_a_missing_patient(write_dicom, pseudonymise):
    """Images of a study have one patient. An image without a study has a patient of its own."""
    write_dicom("a/1", PatientID="")
    write_dicom("a/2", PatientID=None)
    write_dicom("a/3", PatientID="", StudyInstanceUID=None)
    root = write_dicom("a/4", PatientID="", StudyInstanceUID=None)
    groups = load_dicom_folder(root, pseudonymise=pseudonymise).groups.tolist()
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
    assert "" not in groups


def test_identifiers_of_patients_are_never_shown(write_dicom, caplog, recwarn):
    """No bunch, message, warning or log contains them."""
    write_dicom("a/1", PatientAge="DOE^JOHN", ViewPosition="DOE^JOHN " * 3)
    write_dicom("a/2", Modality="CT")
    write_dicom("b/3", PatientID="PID-4712 " + "x" * 100)
    root = write_dicom("b/4", StudyInstanceUID="DOE^JOHN")
    bad = root / "b" / "5.dcm"
    bad.write_bytes((root / "a" / "1").read_bytes()[:-3] + b"DOE^JOHN")
    table = pd.DataFrame({"PatientID": ["PID-4711", "PID-9"], "label": ["a", "b"]})
    caplog.clear()  # of what pydicom says when such files are written
    with caplog.at_level(logging.DEBUG):
        bunch = load_dicom_folder(root, on_error="list", labels=table, on="PatientID")
    frame = bunch.frame.drop(columns="view").to_csv()  # the header's own, odd as it is
    told = [frame, bunch.DESCR, *bunch.groups, *bunch.ignored_reasons, *bunch.ignored]
    told += [str(w.message) for w in recwarn.list] + [r.getMessage() for r in caplog.records]
    for text in told:
        assert not any(secret in text for secret in (*SECRETS, "PID-9")), text
    assert not logging.getLogger("pydicom").disabled


# -- labels of a table ------------------------------------------------------------------------


@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize(
    ("on", "keys"),
    [
        ("path", ["p/1", "./q/3"]),
        ("SOPInstanceUID", ["1.2.2", "1.2.5"]),
        ("StudyInstanceUID", ["1.2.3.4.5", "1.2.9"]),
        ("PatientID", ["PID-4711", "PID-4712"]),
    ],
)
def test_labels_by_path_image_study_or_patient(write_dicom, tmp_path, on, keys, as_file):
    """A table labels images by the key that on names; images without a label are set aside."""
    write_dicom("p/1", SOPInstanceUID="1.2.2")
    write_dicom("q/3", SOPInstanceUID="1.2.5", StudyInstanceUID="1.2.9", PatientID="PID-4712")
    root = write_dicom("4", SOPInstanceUID="1.2.6", StudyInstanceUID="1.2.7", PatientID="PID-4713")
    table = pd.DataFrame({on: [*keys, "no such"], "finding": ["x", "y", "z"]})
    if as_file:
        table.to_csv(tmp_path / "labels.csv", index=False)
        table = tmp_path / "labels.csv"
    bunch = load_dicom_folder(root, labels=table, on=on, label="finding")
    assert names_of(bunch, root) == ["p/1", "q/3"]
    assert bunch.target.tolist() == ["x", "y"]
    assert reasons_of(bunch, root) == {"4": "without a label in the table"}
    assert bunch.missing == (["no such"] if on == "path" else [])
    assert ("labels without an image: 1" in bunch.DESCR) == (on != "path")


@pytest.mark.parametrize(
    ("table", "kwargs", "said"),
    [
        ({"PatientID": ["PID-4711"] * 2, "label": ["a", "b"]}, {}, "1 values of the col"),
        ({"PatientID": ["PID-4711"], "label": [None]}, {}, "the column 'label' is empty in row"),
        ({"PatientID": [""], "label": ["a"]}, {}, "the column 'PatientID' is empty in rows 0 "),
        ({"id": ["PID-4711"], "label": ["a"]}, {}, "labels has the columns 'id'"),
        (
            {"PatientID": ["PID-4711"]},
            {},
            "columns 'PatientID'; expected a column 'label'.* as label=",
        ),
        ({"PatientID": ["PID-9"], "label": ["a"]}, {}, "1 without a label in the table"),
        (
            {},
            {"on": "PatientName"},
            "on='PatientName' is invalid; expected one of 'path', 'SOPInstanceUID'",
        ),
        ({}, {"on_error": "skip"}, "on_error='skip' is invalid; expected one of 'raise', 'list'"),
        ({}, {"salt": ""}, "salt is invalid: .* of the type str"),
        ({}, {"salt": 7}, "salt is invalid: .* of the type int"),
    ],
    ids=str,
)
def test_errors_of_labels_and_parameters(write_dicom, table, kwargs, said):
    """What is wrong is named in one line, and no identifier with it."""
    root = write_dicom()
    labels = pd.DataFrame(table)
    with pytest.raises(ValueError, match=said) as caught:
        load_dicom_folder(root, **{"labels": labels, "on": "PatientID", **kwargs})
    assert "\n" not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_patient_with_one_label_in_many_rows(write_dicom):
    """Rows of a table that repeat one another are one."""
    table = pd.DataFrame({"PatientID": ["PID-4711"] * 3, "label": ["a"] * 3})
    assert load_dicom_folder(write_dicom(), labels=table, on="PatientID").target.tolist() == ["a"]


# -- errors -----------------------------------------------------------------------------------


def test_a_folder_without_radiographs_is_an_error(write_dicom):
    """The error counts the files by the reason why they are ignored."""
    write_dicom("1.dcm")
    root = write_dicom("Normal/2", Modality="CT")
    with pytest.raises(ValueError, match=r"none of its 2 files .*1 of another .*1 outside the"):
        load_dicom_folder(root)
    with pytest.raises(
        NotADirectoryError, match=r"^root=.*it is not a folder; expected a folder of DI"
    ):
        load_dicom_folder(root / "1.dcm")


def test_without_pydicom_the_extra_is_named(write_dicom, monkeypatch):
    """Where pydicom is not installed, one line says how to install it."""
    root = write_dicom()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"pip install 'cxr-sklearn\[dicom\]'") as caught:
        load_dicom_folder(root)
    assert "\n" not in str(caught.value)


def test_rows_can_be_selected_by_values_of_headers(write_dicom):
    """The columns of the frame contain these values."""
    write_dicom("a/1")
    root = write_dicom("b/2", ViewPosition="AP")
    bunch = load_dicom_folder(root)
    assert select_rows(bunch, bunch.frame["view"] == "AP").target.tolist() == ["b"]
