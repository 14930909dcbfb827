"""The label files of COVIDx."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cxr_sklearn.datasets import load_covidx, read_covidx_labels

from ..toys import same

# what the published versions hold, line by line
OLD_TEST = """\
47c78742 47c78742.png normal
1 SARS.day0.jpeg pneumonia
COVID-00003a COVID-00003a.jpg COVID-19 fig1
"""
SPACED = """\
3 SARS.day0.jpeg pneumonia cohen
COVID 1 COVID(1).png COVID-19 sirm
COVID 2 COVID (2).png COVID-19 sirm
COVID-19(3) COVID-19(3).png COVID-19 sirm
ANON201 CR.1.2.840.png COVID-19 actmed
"""
TWO_CLASSES = """\
5 ARDSSevere.png negative cohen
COVID_1 COVID(1).png positive sirm
7119 7119.png negative rnsa
"""


@pytest.fixture
def label_file(tmp_path):
    """Return a function that writes a label file."""

    def write(text: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
        path = tmp_path / "train.txt"
        path.write_text(text, encoding=encoding, newline=newline)
        return path

    return write


def parsed(path, **kwargs) -> list[tuple]:
    """Return patient, file, label and source of each row."""
    return list(read_covidx_labels(path, **kwargs).itertuples(index=False, name=None))


def test_rows_of_three_fields(label_file):
    """Rows without a source have an empty one; others of the file keep theirs."""
    assert parsed(label_file(OLD_TEST)) == [
        ("47c78742", "47c78742.png", "normal", ""),
        ("1", "SARS.day0.jpeg", "pneumonia", ""),
        ("COVID-00003a", "COVID-00003a.jpg", "COVID-19", "fig1"),
    ]


def test_rows_with_blanks_in_patient_and_file(label_file):
    """The label is found, not counted: patient and file agree where they are divided."""
    assert parsed(label_file(SPACED)) == [
        ("3", "SARS.day0.jpeg", "pneumonia", "cohen"),
        ("COVID 1", "COVID(1).png", "COVID-19", "sirm"),
        ("COVID 2", "COVID (2).png", "COVID-19", "sirm"),
        ("COVID-19(3)", "COVID-19(3).png", "COVID-19", "sirm"),
        ("ANON201", "CR.1.2.840.png", "COVID-19", "actmed"),
    ]


def test_two_classes_and_odd_sources(label_file):
    """The two-class label set is known, and sources are spelled as they are."""
    frame = read_covidx_labels(label_file(TWO_CLASSES))
    assert frame["label"].tolist() == ["negative", "positive", "negative"]
    assert frame["source"].tolist() == ["cohen", "sirm", "rnsa"]
    assert list(frame) == ["patient", "filename", "label", "source"]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("12 my xray (1).png positive x", ("12", "my xray (1).png", "positive", "x")),
        ("12  two  blanks.png\tpositive", ("12", "two  blanks.png", "positive", "")),
        ("12 normal lungs.png normal rsna", ("12", "normal lungs.png", "normal", "rsna")),
        ("normal positive.png negative x", ("normal", "positive.png", "negative", "x")),
        ("12 a.png negative negative", ("12", "a.png", "negative", "negative")),
        ("12 a.png positive two words", ("12", "a.png", "positive", "two words")),
        ("12 A.PNG Covid-19 sirm", ("12", "A.PNG", "COVID-19", "sirm")),
        ("12 xray normal rsna", ("12", "xray", "normal", "rsna")),
    ],
)
def test_awkward_rows(label_file, line, row):
    """Blanks, labels' words in names, other cases and tabs are read as meant."""
    assert parsed(label_file(line)) == [row]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_blank_lines_and_byte_order_marks(label_file, encoding, newline):
    """The three ends of lines, blank lines and a byte order mark change nothing."""
    text = "\n" + SPACED.replace("\n", "\n  \n") + "\n"
    path = label_file(text, encoding=encoding, newline=newline)
    assert len(parsed(path)) == 5
    assert parsed(path)[0] == ("3", "SARS.day0.jpeg", "pneumonia", "cohen")


def test_other_labels_are_named(label_file):
    """labels= replaces the words to look for, and spells them."""
    path = label_file("1 a.png COVID here\n2 b.png Tuberculosis there\n")
    rows = parsed(path, labels=["covid", "tuberculosis"])
    assert [row[2] for row in rows] == ["covid", "tuberculosis"]


@pytest.mark.parametrize(
    ("text", "kwargs", "said"),
    [
        (
            "1 a.png normal\n\nDoe b.png abnormal x\n",
            {},
            "train.txt is invalid: line 3 contains none of the labels",
        ),
        ("a.png normal\n", {}, "line 1 contains none of the labels normal, pneumonia, COVID-19"),
        ("\n \n", {}, "contains no text"),
        (OLD_TEST, {"labels": "normal"}, "labels='normal' is invalid: it is not a list of words"),
        (OLD_TEST, {"labels": []}, "labels=.* it is not a list of words"),
        (
            OLD_TEST,
            {"labels": ["no finding"]},
            "labels=.*expected a list of strings without blanks",
        ),
    ],
)
def test_errors_of_label_files(label_file, text, kwargs, said):
    """A line without label is named by its number, in one line and without its patient."""
    with pytest.raises(ValueError, match=said) as caught:
        read_covidx_labels(label_file(text), **kwargs)
    assert "\n" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_missing_and_invalid_files_raise(label_file, tmp_path):
    """A missing label file, a folder and other encodings are errors that say so."""
    with pytest.raises(FileNotFoundError, match=r"label_file=.*gone.*it does not exist"):
        read_covidx_labels(tmp_path / "gone.txt")
    with pytest.raises(FileNotFoundError, match=r"label_file=.*it is a folder"):
        read_covidx_labels(tmp_path)
    with pytest.raises(ValueError, match=r"train\.txt .* encoding is unknown .*expected UTF-8"):
        read_covidx_labels(label_file("1 \xe9.png normal", encoding="latin-1"))


# -- with images ------------------------------------------------------------------------------

FILES = ("SARS.day0.jpeg", "COVID(1).png", "COVID (2).png", "COVID-19(3).png", "CR.1.2.840.png")


def test_the_bunch_contains_the_columns_of_the_label_file(label_file, tree):
    """Paths, labels, patients and sources are in the order of the file."""
    root = tree(*FILES)
    bunch = load_covidx(str(label_file(SPACED)), str(root))
    assert bunch.data[:, 0].tolist() == [str(root / name) for name in FILES]
    assert bunch.target.tolist() == ["pneumonia"] + ["COVID-19"] * 4
    assert bunch.target_names == ["COVID-19", "pneumonia"]
    assert bunch.groups.tolist() == ["3", "COVID 1", "COVID 2", "COVID-19(3)", "ANON201"]
    assert bunch.sources.tolist() == ["cohen", "sirm", "sirm", "sirm", "actmed"]
    assert bunch.frame["filename"].tolist() == list(FILES)
    assert bunch.missing == bunch.ignored == []


def test_files_decide_between_two_readings(label_file, tree):
    """Where patient and file can be divided in two ways, the file that is there is meant."""
    path = label_file("John 7 xray.png positive x\n12 my xray.png negative x\n")
    bunch = load_covidx(path, tree("xray.png", "my xray.png"))
    assert bunch.groups.tolist() == ["John 7", "12"]
    assert [Path(p).name for p in bunch.data[:, 0]] == ["xray.png", "my xray.png"]


def test_images_may_stand_deeper(label_file, tree, other_listing, monkeypatch):
    """Images are found below the folder, however the file system lists it."""
    root = tree(*(f"train/{name}" for name in FILES))
    path = label_file(SPACED)
    bunch = load_covidx(path, root)
    monkeypatch.undo()
    assert same(bunch, load_covidx(path, root))
    assert len(bunch.data) == 5


def test_missing_images_are_an_error_or_a_list(label_file, tree):
    """Images that are not there stop the load, or are listed and left out of everything."""
    root = tree(*FILES[:2])
    path = label_file(SPACED)
    with pytest.raises(
        FileNotFoundError, match=r"3 of 5 files in .*train\.txt do not exist"
    ) as caught:
        load_covidx(path, root)
    assert "\n" not in str(caught.value)
    bunch = load_covidx(path, root, on_missing="list")
    assert bunch.missing == list(FILES[2:])
    assert bunch.sources.tolist() == ["cohen", "sirm"]
    assert len(bunch.data) == len(bunch.target) == len(bunch.groups) == len(bunch.frame) == 2


def test_label_file_without_sources_gives_no_sources(label_file, tree):
    """There are no sources where no row names one."""
    bunch = load_covidx(label_file("1 a.png normal\n2 b.png pneumonia\n"), tree("a.png", "b.png"))
    assert bunch.sources is None
    assert bunch.frame["source"].tolist() == ["", ""]


@pytest.mark.parametrize("what", ["label", "source"])
def test_lines_of_one_file_that_contradict_each_other_are_an_error(label_file, tree, what):
    """One image has one label and one source."""
    second = {"label": "1 a.png pneumonia x\n", "source": "1 a.png normal y\n"}[what]
    said = rf"several rows of 1 files differ in their {what} \(a\.png\)"
    with pytest.raises(ValueError, match=said):
        load_covidx(label_file("1 a.png normal x\n" + second), tree("a.png"))


def test_repeated_lines_become_one(label_file, tree):
    """Version 1 has lines twice; DESCR states how many were left out."""
    path = label_file("1 a.png normal x\n2 b.png pneumonia x\n1 a.png normal x\n")
    bunch = load_covidx(path, tree("a.png", "b.png"))
    assert bunch.target.tolist() == ["normal", "pneumonia"]
    assert bunch.groups.tolist() == ["1", "2"]
    assert "further rows of a file left out: 1" in bunch.DESCR
    assert "became one" not in bunch.DESCR
    assert len(read_covidx_labels(path)) == 3


def test_patients_who_share_an_image_become_one(label_file, tree):
    """Version 4 gives one image to two patients: no split may divide them."""
    lines = [
        "284 000001-19.jpg pneumonia cohen",
        "287 000001-27.jpg pneumonia cohen",
        "340 000001-27.jpg pneumonia cohen",
        "340 other.jpg pneumonia cohen",
        "350 other.jpg pneumonia cohen",
        "350 last.jpg pneumonia cohen",
    ]
    root = tree("000001-19.jpg", "000001-27.jpg", "other.jpg", "last.jpg")
    bunch = load_covidx(label_file("\n".join(lines)), root)
    assert bunch.groups.tolist() == ["284", "287", "287", "287"]
    assert "patients who share an image with another and became one: 2" in bunch.DESCR
    missing = load_covidx(label_file("\n".join(lines)), root, on_missing="list")
    assert missing.groups.tolist() == bunch.groups.tolist()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_a_carriage_return_in_a_name_does_not_end_the_line(label_file, tree):
    """Lines end with a line feed, where the file has any."""
    path = label_file("1 a\rb.png normal x\r\n2 c.png normal x\r\n", newline="")
    assert [Path(p).name for p in load_covidx(path, tree("a\rb.png", "c.png")).data[:, 0]] == [
        "a\rb.png",
        "c.png",
    ]


def test_parameters_are_checked(label_file, tree):
    """on_missing has two values, and image_root is a folder."""
    path = label_file(OLD_TEST)
    with pytest.raises(
        ValueError, match=r"^on_missing=None is invalid; expected one of 'raise', 'list'"
    ):
        load_covidx(path, tree("a.png"), on_missing=None)
    with pytest.raises(
        NotADirectoryError, match=r"^image_root='gone' is invalid: it does not exist"
    ):
        load_covidx(path, "gone")
