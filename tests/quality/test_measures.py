"""What is measured of every file, and which images are there twice."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from PIL import Image

from cxr_sklearn.datasets import make_chest_phantom_files
from cxr_sklearn.quality._duplicates import duplicate_groups, find_duplicates
from cxr_sklearn.quality._measure import measure_files
from cxr_sklearn.quality._pixel_statistics import BORDER_SIDE, BORDER_WIDTHS, border_statistics


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Return files of phantoms, the last one damaged."""
    bunch = make_chest_phantom_files(tmp_path_factory.mktemp("xrays"), 12, random_state=0)
    paths = bunch.data[:, 0].tolist()
    with open(paths[-1], "wb") as file:
        file.write(b"no image")
    return paths


def test_measures_are_those_of_the_pixels(paths):
    """Header, grey levels and hashes of a file are what numpy says of it."""
    measured = measure_files(paths)
    row = measured.frame.iloc[0]
    with Image.open(paths[0]) as image:
        pixels = np.asarray(image).astype(float)
    assert row[["format", "mode", "width", "height", "bit_depth"]].tolist() == [
        "PNG",
        "L",
        64,
        64,
        8,
    ]
    assert row["sd"] == pytest.approx(pixels.std())
    assert row["contrast"] == pytest.approx(np.subtract(*np.percentile(pixels, [99, 1])), abs=1)
    assert row["black_white"] == pytest.approx(((pixels <= 5) | (pixels >= 250)).mean())
    assert row["saturated"] == row["colour"] == 0
    assert measured.histograms[0].sum() == pytest.approx(1)
    assert measured.hashes.shape == measured.mirrored_hashes.shape == (12, 256)


def test_colour_is_measured(tmp_path):
    """A quarter of saturated red is a quarter."""
    pixels = np.full((40, 40, 3), 100, np.uint8)
    pixels[:20, :20] = (200, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "red.png")
    row = measure_files([str(tmp_path / "red.png")]).frame.iloc[0]
    assert row["saturated"] == 0.25
    assert row["colour"] == 50


def test_a_damaged_file_is_a_row_with_its_error(paths):
    """Other rows stay where they are."""
    measured = measure_files(paths)
    assert measured.is_readable.tolist() == [True] * 11 + [False]
    assert measured.frame["error"].iloc[-1]
    assert measured.take(measured.is_readable).frame["path"].tolist() == paths[:-1]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_threads_fill_the_arrays_whatever_the_backend(paths, backend):
    """Also where the user has chosen processes, which would fill copies."""
    alone = measure_files(paths)
    with joblib.parallel_config(backend, n_jobs=2):
        together = measure_files(paths)
    np.testing.assert_array_equal(together.thumbnails, alone.thumbnails)
    assert together.thumbnails[0].any()
    assert together.frame.equals(alone.frame)


@pytest.mark.parametrize("width", BORDER_WIDTHS)
def test_a_ring_sees_its_border_only(width):
    """What stands inside does not change its statistics, what stands in it does."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BORDER_SIDE, BORDER_SIDE)).astype(np.uint8)
    before = border_statistics(pixels, width)
    inside = pixels.copy()
    inside[width:-width, width:-width] = 0
    np.testing.assert_array_equal(border_statistics(inside, width), before)
    for side in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        outside = pixels.copy()
        outside[side] = 0
        assert not np.array_equal(border_statistics(outside, width), before)


def test_pairs_and_groups(tmp_path):
    """Pairs are found once each, the first of equal ones for all; linked images are one group."""
    bunch = make_chest_phantom_files(tmp_path, 9, random_state=0)
    paths = bunch.data[:, 0].tolist()
    with Image.open(paths[0]) as image:
        image.save(paths[4])
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(paths[7])
    pairs = find_duplicates(measure_files(paths))
    found = pairs[["first", "second", "kind"]].to_numpy().tolist()
    assert found == [[0, 4, "exact"], [0, 7, "mirrored"]]
    groups = duplicate_groups(pairs, 9)
    assert len(set(groups)) == 7
    assert groups[0] == groups[4] == groups[7]


def test_no_files_no_pairs():
    """Of nothing there is nothing."""
    measured = measure_files([])
    assert len(measured) == 0
    assert find_duplicates(measured).empty


def test_many_equal_images_are_no_flood_of_pairs(tmp_path):
    """Each copy is paired with the first, across two sets too."""
    xray = Image.new("L", (64, 64), 90)
    for k in range(40):
        xray.save(tmp_path / f"{k:02d}.png")
    measured = measure_files(sorted(map(str, tmp_path.iterdir())))
    pairs = find_duplicates(measured)
    assert pairs["first"].tolist() == [0] * 39
    assert pairs["second"].tolist() == list(range(1, 40))
    across = find_duplicates(measured, measured)
    assert len(across) == 79
    assert set(across["first"]) == set(across["second"]) == set(range(40))
