"""Splits: what stands on both sides, and one source left out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import (
    load_xray_folder,
    make_chest_phantom_files,
    make_chest_phantoms,
    select_rows,
)
from cxr_sklearn.model_selection import LeaveOneSourceOut, check_split
from cxr_sklearn.quality import _sources

from ..toys import toy


@pytest.fixture
def xrays(tmp_path):
    """Return phantoms in files."""
    return make_chest_phantom_files(tmp_path, 40, random_state=0)


def halves(bunch):
    """Split by patient."""
    patients = np.unique(bunch.groups)
    in_test = np.isin(bunch.groups, patients[::2])
    return select_rows(bunch, ~in_test), select_rows(bunch, in_test)


def test_a_split_by_patient_is_clean(xrays):
    """No patient and no image on both sides; sources are named."""
    report = check_split(*halves(xrays))
    assert report.is_clean
    assert report.patients == []
    assert report.sources == ["hospital-a", "hospital-b"]
    assert "patients on both sides: none" in str(report)


def test_patients_on_both_sides_are_named(xrays):
    """A split by image divides patients."""
    names, counts = np.unique(xrays.groups, return_counts=True)
    divided = str(names[counts > 1][0])
    rows = np.flatnonzero(xrays.groups == divided)
    in_test = np.zeros(40, dtype=bool)
    in_test[rows[0]] = True
    report = check_split(select_rows(xrays, ~in_test), select_rows(xrays, in_test))
    assert not report.is_clean
    assert report.patients == [divided]
    assert divided in str(report)
    assert divided in report._repr_html_()


def test_copies_on_both_sides_are_named(xrays):
    """Exact, near and mirrored copies are each found and named by their paths."""
    train, test = halves(xrays)
    with Image.open(train.data[0, 0]) as image:
        image.save(test.data[0, 0])
    with Image.open(train.data[1, 0]) as image:
        image.point(lambda v: 0.9 * v + 10).save(test.data[1, 0])
    with Image.open(train.data[2, 0]) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(test.data[2, 0])
    report = check_split(train, test)
    found = report.duplicates[["train", "test", "kind"]].to_numpy().tolist()
    expected = [
        [train.data[k, 0], test.data[k, 0], kind]
        for k, kind in enumerate(["exact", "near", "mirrored"])
    ]
    assert sorted(found) == sorted(expected)
    assert set(report.to_frame()["what"]) >= {
        "exact duplicate",
        "near duplicate",
        "mirrored duplicate",
    }


def test_unreadable_files_are_named(xrays):
    """What cannot be compared is not passed over in silence."""
    train, test = halves(xrays)
    with open(test.data[0, 0], "wb") as file:
        file.write(b"no image")
    report = check_split(train, test)
    assert report.unreadable == [test.data[0, 0]]
    assert "could not be read, and were not compared: 1" in str(report)
    assert not report.is_clean


def test_split_without_readable_files_is_not_clean(xrays):
    """A report on no image at all certifies nothing."""
    train, test = halves(xrays)
    for path in xrays.data[:, 0]:
        with open(path, "wb") as file:
            file.write(b"no image")
    report = check_split(train, test)
    assert len(report.unreadable) == 40
    assert not report.patients
    assert report.duplicates.empty
    assert not report.is_clean


def test_unknown_sources_are_not_on_both_sides(xrays):
    """Without sources there is nothing to compare."""
    train, test = halves(xrays)
    train.sources = None
    assert check_split(train, test).sources == []


def test_unknown_patients_are_nobodys(tmp_path):
    """Files of one name in two folders are not images of one patient."""
    for k, name in enumerate(("train", "test")):
        make_chest_phantom_files(tmp_path / name, 20, random_state=k)
        (tmp_path / name / "metadata.csv").unlink()
    train, test = (load_xray_folder(tmp_path / name) for name in ("train", "test"))
    assert set(train.groups) & set(test.groups)
    assert check_split(train, test).patients == []


def test_every_copy_across_the_split_is_named(xrays):
    """Each file of either side that stands on the other is in a pair."""
    train, test = halves(xrays)
    for path in (train.data[3, 0], test.data[0, 0], test.data[5, 0]):
        with Image.open(train.data[1, 0]) as image:
            image.save(path)
    found = check_split(train, test).duplicates
    assert set(found["train"]) == {train.data[1, 0], train.data[3, 0]}
    assert set(found["test"]) == {test.data[0, 0], test.data[5, 0]}


# -- one source left out ------------------------------------------------------------------------

Y = np.array(["n", "n", "c", "c", "n", "c"])
SOURCES = np.array(["a", "b", "a", "b", "c", "a"])


def test_each_source_is_the_test_set_once():
    """Every row is tested once, by models that have not seen its source."""
    splits = list(LeaveOneSourceOut().split(Y, Y, SOURCES))
    assert LeaveOneSourceOut().get_n_splits(groups=SOURCES) == len(splits) == 3
    for train, test in splits:
        assert not set(SOURCES[train]) & set(SOURCES[test])
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(6))


@pytest.mark.parametrize(
    ("y", "sources", "message"),
    [
        (Y, np.where(Y == "c", "a", "b"), "class 'c' comes from one source only"),
        (Y, np.full(6, "a"), "all images come from one source"),
        (Y, np.where(SOURCES == "c", "", SOURCES), "the source of 1 images is not known"),
        (Y, np.where(SOURCES == "c", None, SOURCES), "the source of 1 images is not known"),
        (None, SOURCES, "y is missing"),
        (Y, None, "groups is missing"),
    ],
)
def test_what_cannot_be_judged_is_refused(y, sources, message):
    """At the call, before anything is trained."""
    with pytest.raises(ValueError, match=message):
        LeaveOneSourceOut().split(Y, y, sources)


def test_a_test_source_may_lack_a_class():
    """A model of three classes is tested on a source that has two, label by label."""
    from sklearn.model_selection import cross_val_predict

    from cxr_sklearn.metrics import classification_table

    X, y = make_chest_phantoms(60, image_size=16, random_state=0)
    sources = np.where(np.arange(60) % 2, "a", "b")
    sources[(y == "COVID-19") & (np.arange(60) % 3 == 0)] = "c"
    sources[(y == "Normal") & (np.arange(60) % 3 == 0)] = "c"
    model = ResNetOvO(backbone=toy, weights=None, image_size=16, max_epochs=3, random_state=0)
    found = cross_val_predict(model, X, y, groups=sources, cv=LeaveOneSourceOut())
    in_c = sources == "c"
    table = classification_table(y[in_c], found[in_c])
    assert "COVID-19" in table


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Hospital A", "hospital A"),
        ("Hospital A", "Hospital  A "),
        ("Hospital_A", "hospital-a"),
        ("Heidelberg", "Heidlberg"),
        ("Heidelberg", "Heidellberg"),
        ("Heidelberg", "Heidalberg"),
        ("Heidelberg", "Hiedelberg"),
        ("st. mary", "st. marys"),
    ],
)
def test_sources_that_may_be_one_are_named(first, second):
    """Two spellings of one hospital would test a model on images it knows."""
    sources = np.where(SOURCES == "a", first, np.where(SOURCES == "b", second, "elsewhere"))
    with pytest.warns(UserWarning, match="sources with similar names count as diff") as caught:
        splits = LeaveOneSourceOut().split(Y, Y, sources)
    assert len(caught) == 1
    assert all(repr(name) in str(caught[0].message) for name in (first, second))
    assert caught[0].filename == __file__
    assert len(list(splits)) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("hospital-a", "hospital-b"),
        ("Site A", "Site B"),
        ("siteA", "siteB"),
        ("site 1", "site 2"),
        ("site 1", "site 11"),
        ("site 1-1", "site 11"),
        ("NIH", "NLH"),
        ("Cohen", "RSNA"),
        (1, 2),
    ],
)
def test_sources_that_are_counted_are_not_similar(first, second):
    """Sources numbered by digits or letters give no warning: warnings are errors here."""
    sources = np.empty(6, dtype=object)
    sources[:] = [first if s == "a" else second for s in SOURCES]
    assert len(list(LeaveOneSourceOut().split(Y, Y, sources))) == 2


def test_many_names_of_sources_are_compared_by_what_they_share(monkeypatch):
    """The number of comparisons does not grow with the square of the number of names."""
    compared = []
    real = _sources._is_typing_error
    monkeypatch.setattr(
        _sources, "_is_typing_error", lambda a, b: compared.append((a, b)) or real(a, b)
    )
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcdefghij"), 9)) for _ in range(2500)]
    names = [*words, *(f"hospital {k}" for k in range(2500)), "hospitl 7"]
    assert ("hospital 7", "hospitl 7") in _sources.similar_sources(names)
    assert len(compared) < 5 * len(names)


def test_similar_names_are_those_of_all_pairs():
    """No pair is lost, whatever the names have in common."""
    draw = np.random.default_rng(0)
    names = sorted({"".join(draw.choice(list("aab -1"), n)) for n in range(8) for _ in range(60)})
    expected = [
        (a, b)
        for a, b in itertools.combinations(names, 2)
        if _sources._plain(a) == _sources._plain(b)
        or _sources._is_typing_error(_sources._folded(a), _sources._folded(b))
    ]
    assert len(expected) > 100
    assert _sources.similar_sources(names) == expected
