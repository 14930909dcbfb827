"""Folders of images, and phantoms."""

from __future__ import annotations

import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from cxr_sklearn import XRayLoader
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantoms

CLASSES = ["COVID-19", "Normal", "Pneumonia"]


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes empty files, and metadata.csv, in a new folder."""

    def make(*names: str, metadata: str | None = None) -> Path:
        root = tmp_path / "films"
        root.mkdir()
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if metadata is not None:
            (root / "metadata.csv").write_text(metadata, encoding="utf-8")
        return root

    return make


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


def test_files_beside_and_folders_within_the_classes_are_left_alone(tree):
    """Only root/<class>/<image> is loaded: no loose file, no deeper folder."""
    root = tree("loose.png", "a/1.png", "a/deeper/2.png", "b/3.png")
    assert names_of(load_xray_folder(root)) == ["a/1.png", "b/3.png"]


def test_other_files_are_listed_as_ignored(tree):
    """Files of class folders that are no PNG or JPEG by their suffix are told."""
    root = tree("a/1.png", "a/notes.txt", "a/scan.dcm", "b/2.png", "b/film.tiff")
    ignored = [Path(p).name for p in load_xray_folder(root).ignored]
    assert ignored == ["notes.txt", "scan.dcm", "film.tiff"]


def test_suffixes_are_recognised_in_any_case(tree):
    """A suffix in capitals is the same suffix."""
    root = tree("a/1.PNG", "a/2.Jpg", "b/3.JPEG")
    assert names_of(load_xray_folder(root)) == ["a/1.PNG", "a/2.Jpg", "b/3.JPEG"]


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


def test_metadata_with_labels_tells_equal_names_apart(tree):
    """A column label of metadata.csv separates files of one name in two classes."""
    metadata = "filename,label,patient\n1.png,a,ann\n1.png,b,bob\n"
    root = tree("a/1.png", "b/1.png", metadata=metadata)
    assert load_xray_folder(root).groups.tolist() == ["ann", "bob"]


def test_metadata_of_a_spreadsheet(tree):
    """A byte order mark, quotes and letters beyond ASCII are read."""
    metadata = '\ufefffilename,patient\n"1, left.png","Müller, Ann"\n'
    root = tree("a/1, left.png", "b/2.png", metadata=metadata)
    assert load_xray_folder(root).groups.tolist() == ["Müller, Ann", "b/2.png"]


def test_a_file_without_patient_in_metadata_stands_alone(tree):
    """An empty cell is no patient, and joins no files."""
    root = tree("a/1.png", "b/2.png", metadata="filename,patient\n1.png,\n2.png,\n")
    assert load_xray_folder(root).groups.tolist() == ["a/1.png", "b/2.png"]


# -- errors of folders ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("filename,subject\n1.png,ann\n", "'patient'"),
        ("file,patient\n1.png,ann\n", "'filename'"),
        ("file,subject\n1.png,ann\n", "'filename' and 'patient'"),
        ("", "'filename' and 'patient'"),
    ],
)
def test_metadata_without_its_columns_is_an_error(tree, metadata, said):
    """metadata.csv that lacks a column is an error that names file and column."""
    root = tree("a/1.png", metadata=metadata)
    with pytest.raises(ValueError, match=rf"metadata\.csv: no column {said} among") as caught:
        load_xray_folder(root)
    assert "\n" not in str(caught.value)


def test_metadata_in_another_encoding_is_an_error(tree):
    """metadata.csv that is not UTF-8 is an error that says so."""
    root = tree("a/1.png")
    (root / "metadata.csv").write_bytes("filename,patient\n1.png,Müller\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.csv: .*expected UTF-8"):
        load_xray_folder(root)


def test_a_root_that_is_not_there_is_an_error(tmp_path):
    """A missing root is an OSError that names it."""
    with pytest.raises(NotADirectoryError, match=r"nowhere.*found nothing; expected a folder"):
        load_xray_folder(tmp_path / "nowhere")


def test_a_root_that_is_a_file_is_an_error(tree):
    """A file in place of the root is an OSError that says so."""
    root = tree("a/1.png")
    with pytest.raises(NotADirectoryError, match=r"1\.png.*found a file; expected a folder"):
        load_xray_folder(root / "a" / "1.png")


@pytest.mark.parametrize("names", [[], ["1.png"], ["a/notes.txt"], [".a/1.png"]], ids=str)
def test_a_root_without_class_folders_with_images_is_an_error(tree, names):
    """A root in which there is nothing to load is an error that shows the form expected."""
    with pytest.raises(ValueError, match="films/<class>/<image>") as caught:
        load_xray_folder(tree(*names))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["(", "[a"])
def test_a_pattern_that_is_no_regular_expression_is_an_error(tree, pattern):
    """A pattern that does not compile is named."""
    with pytest.raises(ValueError, match=r"^patient_pattern=.* is no regular expression"):
        load_xray_folder(tree("a/1.png"), patient_pattern=pattern)


@pytest.mark.parametrize("pattern", ["abc", "(?:abc)", r"\(abc\)"])
def test_a_pattern_without_group_is_an_error(tree, pattern):
    """A pattern must say which part of the name is the patient."""
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


# -- phantoms ---------------------------------------------------------------------------------


def test_phantoms_are_uint8_rows_of_three_classes():
    """Phantoms are rows of 8-bit pixels with the names of their classes."""
    X, y = make_chest_phantoms(12, image_size=24, random_state=0)
    assert X.shape == (12, 24 * 24)
    assert X.dtype == np.uint8
    assert y.shape == (12,)
    assert Counter(y.tolist()) == dict.fromkeys(CLASSES, 4)


def test_phantoms_have_contrast_and_are_all_different():
    """No phantom is flat, and none is made twice."""
    X, _ = make_chest_phantoms(60, image_size=24, random_state=0)
    assert X.std(axis=1).min() > 10
    assert len(np.unique(X, axis=0)) == 60


def test_phantoms_are_determined_by_random_state():
    """The same seed gives the same images, another one others."""
    X, y = make_chest_phantoms(9, image_size=16, random_state=3)
    X_again, y_again = make_chest_phantoms(9, image_size=16, random_state=3)
    np.testing.assert_array_equal(X, X_again)
    np.testing.assert_array_equal(y, y_again)
    X_instance, _ = make_chest_phantoms(9, image_size=16, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(X, X_instance)
    X_other, _ = make_chest_phantoms(9, image_size=16, random_state=4)
    assert (X_other != X).any(axis=1).all()


def test_phantoms_leave_the_global_generator_alone():
    """With a seed of their own phantoms neither read nor move numpy's global generator."""
    before = np.random.get_state()
    make_chest_phantoms(3, image_size=16, random_state=0)
    after = np.random.get_state()
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        (None, [20, 20, 20]),
        ([1, 2, 3], [10, 20, 30]),
        (np.array([0.5, 0.25, 0.25]), [30, 15, 15]),
        ([0, 1, 1], [0, 30, 30]),
        ({"Normal": 1, "Pneumonia": 3}, [0, 15, 45]),
        ({"Pneumonia": 1, "Normal": 2, "COVID-19": 3}, [30, 20, 10]),
        ([1e-6, 1, 1], [1, 30, 29]),
    ],
    ids=str,
)
def test_weights_of_phantoms(weights, counts):
    """Weights are shares in the order of the classes, or by their names."""
    _, y = make_chest_phantoms(60, weights=weights, image_size=8, random_state=0)
    found = Counter(y.tolist())
    assert [found[name] for name in CLASSES] == counts


def test_scarce_classes_of_phantoms_are_present():
    """At the paper's imbalance every class has an image, however few there are in all."""
    for n_samples in (3, 10, 37):
        _, y = make_chest_phantoms(
            n_samples, weights=[415, 1775, 1577], image_size=8, random_state=0
        )
        assert len(y) == n_samples
        assert sorted(set(y)) == CLASSES


def test_classes_of_phantoms_come_in_random_order():
    """The labels are shuffled, so that a part of the rows holds every class."""
    _, y = make_chest_phantoms(60, image_size=8, random_state=0)
    assert set(y[:20]) == set(CLASSES)
    assert np.count_nonzero(y[1:] != y[:-1]) > 20


def test_all_three_classes_of_phantoms_differ():
    """Each pair of classes differs somewhere by far more than two halves of one class do."""
    X, y = make_chest_phantoms(900, image_size=16, random_state=0)
    films = {name: X[y == name].astype(float) for name in CLASSES}
    for first, second in combinations(CLASSES, 2):
        assert np.abs(ttest_ind(films[first], films[second]).statistic).max() > 5
    for rows in films.values():
        assert np.abs(ttest_ind(rows[::2], rows[1::2]).statistic).max() < 4


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_samples": 0}, "n_samples=0; expected an integer of 1 or more"),
        ({"n_samples": -3}, "n_samples=-3"),
        ({"image_size": 7}, "image_size=7; expected an integer of 8 pixels or more"),
        ({"weights": [1, 1]}, r"weights=\[1, 1\]; expected 3 numbers"),
        ({"weights": [1, 1, 1, 1]}, "weights=.*expected 3 numbers"),
        ({"weights": [1, -1, 1]}, "weights=.*none negative"),
        ({"weights": [0, 0, 0]}, "weights="),
        ({"weights": [1, 1, np.nan]}, "weights="),
        ({"weights": {"Normal": 1, "Healthy": 1}}, "weights: no class 'Healthy'; expected COVID"),
        ({"weights": {}}, "weights="),
    ],
    ids=str,
)
def test_errors_of_phantoms(parameters, said):
    """A parameter that makes no sense is named, with what was expected, in one line."""
    with pytest.raises(ValueError, match=said) as caught:
        make_chest_phantoms(**{"n_samples": 6, "image_size": 8, **parameters})
    assert "\n" not in str(caught.value)


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
        ("filename,patient\na.png,p1\na.png,p2\n", "has the patients p1 and p2"),
        ("filename,label,patient\na.png,A,p1\na.png,C,p2\n", "none under the label 'B'"),
    ],
)
def test_contradicting_metadata_is_refused(tmp_path, text, message):
    """Two patients for one file are an error, not a silent choice."""
    with pytest.raises(ValueError, match=message):
        load_xray_folder(write_metadata(tmp_path, text))


def test_a_small_share_keeps_its_image():
    """Every class with a positive share gets an image while there are enough."""
    _, y = make_chest_phantoms(5, weights=[1, 1, 98], image_size=8, random_state=0)
    assert sorted(y) == ["COVID-19", "Normal"] + ["Pneumonia"] * 3
