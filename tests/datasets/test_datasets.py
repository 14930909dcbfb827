"""Phantoms, and what all loaders have in common."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_dilation, label
from scipy.stats import ttest_ind
from sklearn.datasets import load_iris

from cxr_sklearn.datasets import (
    load_xray_folder,
    make_chest_phantoms,
    patient_from_covidx,
    patient_from_nih,
    select_rows,
)
from cxr_sklearn.datasets._patients import age_in_years

from ..toys import same

CLASSES = ["COVID-19", "Normal", "Pneumonia"]


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


@pytest.mark.parametrize("confound", [None, ["border", "exposure"]])
def test_phantoms_are_the_same_with_and_without_masks(confound):
    """Masks are additional, and have one value per pixel: 255 in the lungs, and 0 elsewhere."""
    parameters = {"image_size": 32, "confound": confound, "random_state": 1}
    X, y = make_chest_phantoms(9, **parameters)
    X_too, y_too, masks = make_chest_phantoms(9, return_masks=True, **parameters)
    np.testing.assert_array_equal(X, X_too)
    np.testing.assert_array_equal(y, y_too)
    assert masks.shape == X.shape
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 255}


def test_masks_of_phantoms_show_the_lungs():
    """There are two lungs, on both sides of the middle, and darker than what surrounds them."""
    X, y, masks = make_chest_phantoms(60, image_size=64, return_masks=True, random_state=0)
    images, lungs = X.reshape(-1, 64, 64), masks.reshape(-1, 64, 64) > 0
    assert 0.12 < lungs.mean() < 0.35
    for image, lung, name in zip(images, lungs, y, strict=True):
        assert label(lung)[1] == 2
        assert 0.3 < lung[:, :32].sum() / lung.sum() < 0.7
        ring = binary_dilation(lung, iterations=4) & ~lung
        if name == "Normal":
            assert image[lung].mean() < image[ring].mean()


def test_classes_of_phantoms_differ_only_in_the_masks():
    """The opacities of a class lie in the lungs: nothing else of the mean image depends on it."""
    means = {}
    for name in ("Normal", "Pneumonia"):
        parameters = {"weights": {name: 1}, "image_size": 32, "return_masks": True}
        X, _, masks = make_chest_phantoms(300, random_state=0, **parameters)
        means[name] = X.mean(axis=0), (masks > 0).mean(axis=0)
    difference = means["Pneumonia"][0] - means["Normal"][0]
    is_lung = means["Normal"][1] > 0.5
    never_lung = (means["Normal"][1] == 0) & (means["Pneumonia"][1] == 0)
    assert difference[is_lung].mean() > 3 * abs(difference[never_lung].mean())


def test_phantoms_do_not_change_the_global_generator():
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
    rows_by_class = {name: X[y == name].astype(float) for name in CLASSES}
    for first, second in combinations(CLASSES, 2):
        assert np.abs(ttest_ind(rows_by_class[first], rows_by_class[second]).statistic).max() > 5
    for rows in rows_by_class.values():
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


def test_a_small_share_keeps_its_image():
    """Every class with a positive share gets an image while there are enough."""
    _, y = make_chest_phantoms(5, weights=[1, 1, 98], image_size=8, random_state=0)
    assert sorted(y) == ["COVID-19", "Normal"] + ["Pneumonia"] * 3


# -- patients in file names -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("00001299_003.png", "00001299"),
        ("some/folder/00001299_010.jpeg", "00001299"),
        ("0001299_003.png", "0001299_003"),
        ("xray.png", "xray"),
        ("xray", "xray"),
    ],
)
def test_patients_of_nih_names(name, patient):
    """The NIH's names tell the patient; a file of another name is its own."""
    assert patient_from_nih(name) == patient_from_nih(Path(name)) == patient


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("MIDRC-RICORD-1C-419639-003251-46647-0.png", "419639-003251"),
        ("MIDRC-RICORD-1C-SITE2-000139-58251-0.png", "SITE2-000139"),
        ("MIDRC-RICORD-1C-440808-000012-8.415-0.png", "440808-000012"),
        ("x/A158867-01-02-1901-NA-CHEST_AP_PORT-05506-2.000000-AP-54018-1-1.jpg", "A158867"),
        ("sub-S03122_ses-E06219_run-1_bp-chest_vp-pa_dx-corrected.png", "S03122"),
        ("COVID-00039a.jpg", "COVID-00039"),
        ("COVID-00039.jpg", "COVID-00039"),
        ("COVID(1).png", "COVID(1)"),
        ("a0147f56-89fe-488b-9cc1-25991378d532.png", "a0147f56-89fe-488b-9cc1-25991378d532"),
    ],
)
def test_patients_of_covidx_names(name, patient):
    """The names of four of COVIDx's sources tell the patient; another file is its own."""
    assert patient_from_covidx(name) == patient_from_covidx(Path(name)) == patient


@pytest.mark.parametrize("parser", [patient_from_nih, patient_from_covidx])
def test_parsers_are_pickled_by_name(parser):
    """A model with a parser as group_by can be saved."""
    assert pickle.loads(pickle.dumps(parser)) is parser


@pytest.mark.parametrize(
    ("text", "years"),
    [("045Y", 45), ("058", 58), ("006M", 0.5), ("365D", 0.9993), ("052W", 0.9966), ("61.5", 61.5)],
)
def test_ages_are_years(text, years):
    """Days, weeks, months and years become years."""
    assert age_in_years(text) == pytest.approx(years, abs=1e-4)


@pytest.mark.parametrize("text", ["", "Y", "old", "045X", "-3Y"])
def test_values_that_are_not_ages(text):
    """Another text is no age."""
    assert np.isnan(age_in_years(text))


# -- selecting rows ---------------------------------------------------------------------------


@pytest.fixture
def bunch(tree):
    """Return what the folder loader makes of five images."""
    metadata = "filename,source,view\n1.png,s,PA\n2.png,s,AP\n3.png,t,PA\n4.png,t,\n"
    names = ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "c/5.png", "c/notes.txt")
    return load_xray_folder(tree(*names, metadata=metadata))


ROWS = {
    "mask": (np.array([True, False, True, False, False]), [0, 2]),
    "list of bool": ([True, False, True, False, False], [0, 2]),
    "Series of bool": (pd.Series([True, False, True, False, False], index=list("vwxyz")), [0, 2]),
    "integers": (np.array([2, 0]), [2, 0]),
    "repeated": ([0, 0, 4], [0, 0, 4]),
    "unsigned": (np.array([1, 3], np.uint8), [1, 3]),
    "from the end": ([-1], [4]),
    "Index": (pd.Index([3, 1]), [3, 1]),
}


@pytest.mark.parametrize("case", ROWS)
def test_selected_rows_are_aligned(bunch, case):
    """Everything with a value per image holds the same rows, in the order asked for."""
    rows, numbers = ROWS[case]
    part = select_rows(bunch, rows)
    assert list(part) == list(bunch)
    for key in ("data", "target", "groups", "sources"):
        np.testing.assert_array_equal(part[key], bunch[key][numbers])
    pd.testing.assert_frame_equal(part.frame, bunch.frame.iloc[numbers].reset_index(drop=True))
    assert part.target_names == sorted(set(part.target.tolist()))
    assert (part.ignored, part.missing) == (bunch.ignored, bunch.missing)
    assert f"Selected {len(numbers)} of 5 rows" in part.DESCR


def test_rows_are_selected_by_the_frame(bunch):
    """A condition on the frame is a mask, and the index of a query is row numbers."""
    by_mask = select_rows(bunch, bunch.frame["view"] == "PA")
    by_query = select_rows(bunch, bunch.frame.query("view == 'PA'").index)
    assert same(by_mask, by_query)
    assert by_mask.target.tolist() == ["a", "b"]


def test_a_selection_shares_no_data_with_the_original(bunch):
    """A change of the selection does not change the original bunch."""
    part = select_rows(bunch, [0, 1, 2, 3, 4])
    part.frame.loc[0, "label"] = "x"
    part.ignored.append("x")
    part.target[0] = "x"
    assert bunch.frame.loc[0, "label"] == bunch.target[0] == "a"
    assert len(bunch.ignored) == 1


def test_unknown_sources_stay_unknown(tree):
    """Without sources there are none after selecting."""
    part = select_rows(load_xray_folder(tree("a/1.png", "b/2.png")), [1])
    assert part.sources is None
    assert part.frame["source"].tolist() == [""]


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([True, False], ValueError, "mask of 2 values for 5 images; expected one value per image"),
        ([False] * 5, ValueError, "it selects none of 5 images"),
        ([], ValueError, "it selects none of 5 images"),
        ([5], ValueError, "the row 5 does not exist; expected numbers from 0 to 4"),
        ([-6], ValueError, "the row -6 does not exist"),
        ([0.5], TypeError, "rows is invalid: its type is list, of float64 values"),
        ([[0]], TypeError, "rows is invalid: its type is list, of int64 values"),
        (["a"], TypeError, "rows is invalid: its type is list, of <U1 values"),
        (2, TypeError, "rows is invalid: its type is int"),
        (pd.array([True, None, True, True, True]), TypeError, "without missing values"),
    ],
    ids=str,
)
def test_errors_of_selecting(bunch, rows, error, said):
    """Rows that are not there, or are no rows, are an error in one line."""
    with pytest.raises(error, match=said) as caught:
        select_rows(bunch, rows)
    assert "\n" not in str(caught.value)


def test_other_bunches_are_refused():
    """select_rows takes what the loaders return."""
    with pytest.raises(TypeError, match="its type is Bunch, without frame and groups"):
        select_rows(load_iris(), [0])
