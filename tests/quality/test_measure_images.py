"""Measurements that are made once, and passed to every function that needs them."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

from cxr_sklearn.datasets import make_chest_phantom_files, select_rows
from cxr_sklearn.model_selection import check_split
from cxr_sklearn.quality import (
    CurationRules,
    ImageMeasurements,
    _measure,
    audit,
    curate,
    measure_images,
)

RULES = CurationRules(min_side=64)


@pytest.fixture(scope="module")
def bunch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xrays")
    return make_chest_phantom_files(folder, 45, confound=["duplicates", "patient"], random_state=0)


@pytest.fixture(scope="module")
def measurements(bunch):
    return measure_images(bunch)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Return a list that gets the path of each file that is decoded."""
    paths: list[str] = []
    decode = _measure.decode_image

    def counting_decode(path):
        paths.append(str(path))
        return decode(path)

    monkeypatch.setattr(_measure, "decode_image", counting_decode)
    return paths


def test_each_file_is_decoded_once_for_audit_curation_and_split(bunch, decoded):
    measured = measure_images(bunch)
    assert sorted(decoded) == sorted(bunch.data[:, 0])
    decoded.clear()

    audit(bunch, measurements=measured)
    curate(bunch, rules=RULES, measurements=measured)
    train = np.arange(len(bunch.data)) < 20
    sides = (measured.take(train), measured.take(~train))
    check_split(select_rows(bunch, train), select_rows(bunch, ~train), measurements=sides)
    assert not decoded


def test_results_are_those_without_measurements(bunch, measurements):
    assert str(audit(bunch, measurements=measurements)) == str(audit(bunch))
    pd.testing.assert_frame_equal(
        curate(bunch, rules=RULES, measurements=measurements).manifest,
        curate(bunch, rules=RULES).manifest,
    )
    rows = np.arange(len(bunch.data))
    sides = select_rows(bunch, rows[::2]), select_rows(bunch, rows[1::2])
    measured = measurements.take(rows[::2]), measurements.take(rows[1::2])
    report, expected = check_split(*sides, measurements=measured), check_split(*sides)
    assert len(expected.duplicates)
    pd.testing.assert_frame_equal(report.duplicates, expected.duplicates)
    assert report.small == expected.small


def test_rows_are_taken_by_mask_and_by_number(bunch, measurements):
    rows = np.array([7, 2, 30])
    mask = np.isin(np.arange(len(bunch.data)), rows)
    taken = measurements.take(rows)
    assert taken.frame["path"].tolist() == bunch.data[rows, 0].tolist()
    np.testing.assert_array_equal(taken.thumbnails, measurements.thumbnails[rows])
    assert measurements.take(mask).frame["path"].tolist() == bunch.data[np.sort(rows), 0].tolist()
    assert len(measurements.take([])) == 0


def test_measurements_can_be_saved_and_loaded(bunch, measurements, tmp_path, decoded):
    joblib.dump(measurements, tmp_path / "measurements.joblib")
    loaded: ImageMeasurements = joblib.load(tmp_path / "measurements.joblib")
    assert str(audit(bunch, measurements=loaded)) == str(audit(bunch, measurements=measurements))
    assert not decoded


def test_unreadable_files_are_measured_as_unreadable(bunch, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    paths = bunch.data.copy()
    paths[3, 0] = str(broken)
    copy = Bunch(**{**bunch, "data": paths})
    measured = measure_images(copy)
    assert np.flatnonzero(~measured.is_readable).tolist() == [3]
    n = len(bunch.data)
    assert repr(measured) == f"ImageMeasurements of {n} files, {n - 1} readable"
    assert audit(copy, measurements=measured).unreadable["path"].tolist() == [str(broken)]


@pytest.mark.parametrize("function", [audit, lambda b, **k: curate(b, rules=RULES, **k)])
def test_measurements_of_other_images_raise(bunch, measurements, function):
    n = len(bunch.data)
    with pytest.raises(ValueError, match=f"{n - 1} files were measured, and bunch has {n}"):
        function(bunch, measurements=measurements.take(np.arange(n - 1)))
    shuffled = measurements.take(np.arange(n)[::-1])
    with pytest.raises(ValueError, match=r"row 0 is '.*', and '.*' in bunch; expected the same"):
        function(bunch, measurements=shuffled)
    with pytest.raises(TypeError, match="measurements is str; expected ImageMeasurements"):
        function(bunch, measurements="measurements.joblib")


def test_split_needs_the_measurements_of_both_sides(bunch, measurements):
    first, second = np.arange(20), np.arange(20, len(bunch.data))
    sides = select_rows(bunch, first), select_rows(bunch, second)
    with pytest.raises(TypeError, match="expected a tuple of two ImageMeasurements"):
        check_split(*sides, measurements=measurements)
    swapped = measurements.take(second), measurements.take(first)
    with pytest.raises(ValueError, match=r"measurements\[0\] belongs to other images.*train"):
        check_split(*sides, measurements=swapped)


def test_curation_writes_nothing_for_measurements_of_other_images(bunch, measurements, tmp_path):
    with pytest.raises(ValueError, match="other images"):
        curate(bunch, tmp_path / "out", rules=RULES, measurements=measurements.take([0]))
    assert not (tmp_path / "out").exists()
