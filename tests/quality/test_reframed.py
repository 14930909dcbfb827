"""Copies of an image in another framing are found, and different images are not."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files, make_chest_phantoms
from cxr_sklearn.model_selection import check_split
from cxr_sklearn.quality import CurationRules, _duplicates, audit, curate
from cxr_sklearn.quality._duplicates import duplicate_groups, find_duplicates
from cxr_sklearn.quality._keypoints import MIN_SIDE, find_keypoints
from cxr_sklearn.quality._matching import find_candidates
from cxr_sklearn.quality._measure import measure_files
from cxr_sklearn.quality._registration import overlay

SIDE = 192
N = 3


def cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(share * image.width), round(share * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES = {
    "crop 3 %": lambda im: cropped(im, 0.03),
    "crop 10 %": lambda im: cropped(im, 0.1),
    "frame": lambda im: ImageOps.expand(im, 16, fill=0),
    "gamma": lambda im: im.point([round(255 * (v / 255) ** 0.5) for v in range(256)]),
    "equalised": ImageOps.equalize,
    "rotation 2": lambda im: im.rotate(2, Image.Resampling.BILINEAR),
    "rotation 5": lambda im: im.rotate(-5, Image.Resampling.BILINEAR),
    "inverted": ImageOps.invert,
    "left side cut": lambda im: im.crop((im.width // 5, 0, im.width, im.height)),
    "lower side cut": lambda im: im.crop((0, 0, im.width, im.height * 4 // 5)),
    "crop, mirrored, inverted": lambda im: ImageOps.invert(ImageOps.mirror(cropped(im, 0.05))),
    "crop, larger": lambda im: cropped(im, 0.1).resize((300, 300), Image.Resampling.BICUBIC),
}


@pytest.fixture(scope="module")
def images():
    """Return phantoms of enough pixels to have detail."""
    X, _ = make_chest_phantoms(N, image_size=SIDE, random_state=0)
    return [Image.fromarray(row.reshape(SIDE, SIDE)) for row in X]


def measured(images, folder):
    """Write images to files, and measure them."""
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"{k}.png") for k in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return measure_files(paths)


@pytest.fixture(scope="module")
def originals(images, tmp_path_factory):
    """Return measurements of the phantoms."""
    return measured(images, tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("change", CHANGES)
def test_reframed_copies_are_found(images, originals, change, tmp_path):
    """Each copy is paired with its original, and with no other image."""
    copies = measured([CHANGES[change](image) for image in images], tmp_path)
    pairs = find_duplicates(originals, copies)
    assert pairs[["first", "second"]].to_numpy().tolist() == [[k, k] for k in range(N)]


def test_a_reframed_pair_has_its_own_kind_and_correlation(images, originals, tmp_path):
    """The kind tells it from pairs in equal framing; the correlation is that of the detail."""
    copies = measured([cropped(images[2], 0.1)], tmp_path)
    (pair,) = find_duplicates(originals, copies).to_dict("records")
    assert list(pair) == ["first", "second", "kind", "distance", "correlation"]
    assert (pair["first"], pair["second"], pair["kind"]) == (2, 0, "reframed")
    assert pair["distance"] > 24
    assert 0.9 < pair["correlation"] <= 1


def test_reframed_copies_within_one_set_come_once(images, tmp_path):
    """The first row comes first, and threads change nothing."""
    compared = measured([cropped(images[0], 0.08), *images[:2]], tmp_path)
    pairs = find_duplicates(compared)
    assert pairs[["first", "second", "kind"]].to_numpy().tolist() == [[0, 1, "reframed"]]
    assert find_duplicates(compared, n_jobs=2).equals(pairs)


def test_linked_copies_are_not_compared_again(images, tmp_path, monkeypatch):
    """Each of many copies is in a pair, after few comparisons."""
    compared = []
    agreement = _duplicates._agreement
    monkeypatch.setattr(_duplicates, "_agreement", lambda *a: compared.append(a) or agreement(*a))
    copies = [cropped(images[0], 0.02 * k) for k in range(1, 6)]
    pairs = find_duplicates(measured([images[0], *copies], tmp_path))
    assert set(pairs["first"]) | set(pairs["second"]) == set(range(6))
    assert len(set(duplicate_groups(pairs, 6))) == 1
    assert len(compared) < 15


def test_equal_framing_is_not_called_reframed(images, originals, tmp_path):
    """What the hashes find keeps its kind."""
    lighter = images[0].point(lambda v: 0.9 * v + 10)
    copies = measured([images[1], lighter, ImageOps.mirror(images[2])], tmp_path)
    pairs = find_duplicates(originals, copies)
    found = pairs[["first", "second", "kind"]].to_numpy().tolist()
    assert found == [[0, 1, "near"], [1, 0, "exact"], [2, 2, "mirrored"]]


def test_different_phantoms_are_not_duplicates(tmp_path):
    """Ribs at equal distances are no evidence, at a size with detail."""
    bunch = make_chest_phantom_files(tmp_path, 6, image_size=SIDE, random_state=5)
    measured = measure_files(list(bunch.data[:, 0]))
    assert list(find_candidates(measured.keypoints, measured.keypoints, is_within=True))
    assert find_duplicates(measured).empty


def test_images_of_equal_coarse_look_are_not_duplicates(tmp_path, monkeypatch):
    """Pairs whose hashes and thumbnails agree must agree in local contrast as well."""
    X, _ = make_chest_phantoms(1, image_size=64, random_state=0)
    first = X[0].reshape(64, 64).astype(float)
    noise = np.random.default_rng(0).normal(0, 30, first.shape)
    fine_noise = gaussian_filter(noise, 0.7) - gaussian_filter(noise, 1.5)
    second = np.clip(gaussian_filter(first, 1) + fine_noise, 0, 255)
    compared = measured([Image.fromarray(p.astype(np.uint8)) for p in (first, second)], tmp_path)
    assert find_duplicates(compared).empty
    monkeypatch.setattr(_duplicates, "MIN_FINE_CORRELATION", -1)
    assert find_duplicates(compared)["kind"].tolist() == ["near"]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "size"), [(3000, 64), (60, SIDE)])
def test_no_duplicates_among_many_phantoms(tmp_path, n, size):
    """No pair is found, so no finding can be serious. Larger phantoms have many candidates."""
    bunch = make_chest_phantom_files(tmp_path, n, image_size=size, random_state=0)
    assert find_duplicates(measure_files(list(bunch.data[:, 0]))).empty


def test_images_without_detail_have_no_reframed_copies(tmp_path):
    """Blank images and gradients have no evidence in common."""
    ramp = np.add.outer(np.arange(200), np.arange(200)) * 255 // 400
    bowl = np.add.outer(np.arange(-90, 90) ** 2, np.arange(-100, 100) ** 2) // 80
    images = [
        Image.new("L", (200, 200), 90),
        Image.new("L", (220, 200), 90),
        Image.fromarray(ramp.astype(np.uint8)),
        Image.fromarray(bowl.astype(np.uint8)),
    ]
    pairs = find_duplicates(measured(images, tmp_path))
    assert "reframed" not in set(pairs["kind"])


def test_small_images_have_no_keypoints(images):
    """Below 128 pixels nothing but equal framing is looked for."""
    assert len(find_keypoints(images[0].resize((MIN_SIDE, 90))).positions) > 0
    assert len(find_keypoints(images[0].resize((MIN_SIDE - 1, 90))).positions) == 0


def test_keypoints_of_inverted_and_mirrored_images_correspond(images):
    """An inverted image has the negative descriptors, at the same places."""
    some, inverted = find_keypoints(images[0]), find_keypoints(ImageOps.invert(images[0]))
    shared = min(len(some.positions), len(inverted.positions))
    assert shared > 20
    equal = np.isclose(some.positions[:20], inverted.positions[:20]).all(axis=1)
    assert equal.mean() > 0.8
    difference = some.descriptors[:20][equal] + inverted.descriptors[:20][equal].astype(int)
    assert np.abs(difference).max() <= 6


def test_registration_finds_the_map(images):
    """From a start that is off by some pixels."""
    first = np.asarray(images[0])
    second = np.asarray(images[0].rotate(3, Image.Resampling.BICUBIC))
    correlation, overlap, matrix = overlay(first, second, np.eye(2, 3), 1)
    angle = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
    assert correlation > 0.9
    assert overlap > 0.9
    assert abs(angle) == pytest.approx(3, abs=0.1)


def test_the_split_names_reframed_copies_and_small_files(images, tmp_path):
    """check_split reports the kind, and what it could not compare in another framing."""
    for name in ("train", "test"):
        (tmp_path / name / "Normal").mkdir(parents=True)
        (tmp_path / name / "Pneumonia").mkdir()
    images[0].save(tmp_path / "train/Normal/a.png")
    images[1].save(tmp_path / "train/Pneumonia/b.png")
    cropped(images[0], 0.1).save(tmp_path / "test/Normal/c.png")
    images[2].resize((64, 64)).save(tmp_path / "test/Pneumonia/d.png")
    train, test = (load_xray_folder(tmp_path / name) for name in ("train", "test"))
    report = check_split(train, test)
    assert not report.is_clean
    assert report.duplicates["kind"].tolist() == ["reframed"]
    assert report.small == [str(tmp_path / "test/Pneumonia/d.png")]
    assert "duplicates across the split: 1 reframed" in str(report)
    assert "files compared in equal framing only: 1 (smaller than 128 pixels" in str(report)
    assert "reframed duplicate" in set(report.to_frame()["what"])


def test_curation_rejects_reframed_copies(images, tmp_path):
    """Of a crop and its original the larger is kept."""
    (tmp_path / "Normal").mkdir()
    for k, image in enumerate(images):
        image.save(tmp_path / "Normal" / f"{k}.png")
    cropped(images[1], 0.1).save(tmp_path / "Normal" / "copy.png")
    bunch = load_xray_folder(tmp_path)
    rules = CurationRules(min_side=64, min_likeness=None)
    manifest = curate(bunch, rules=rules).manifest.set_index("path")
    row = manifest.loc[str(tmp_path / "Normal" / "copy.png")]
    assert row["reasons"] == "duplicate"
    assert row["duplicate_of"] == str(tmp_path / "Normal" / "1.png")


def test_the_audit_notes_small_images(tmp_path):
    """An audit of small images does not claim more than it compared."""
    bunch = make_chest_phantom_files(tmp_path, 30, random_state=0)
    notes = {finding.check: finding for finding in audit(bunch).findings}
    assert notes["small images"].severity == "note"
    assert notes["small images"].found == "compared in equal framing only: 30 images"


@pytest.mark.skipif("CXR_DATA" not in os.environ, reason="CXR_DATA is not set")
def test_real_images_have_no_false_duplicates():
    """Of the set behind DarkCovidNet, only images of one exposure are paired."""
    bunch = load_xray_folder(os.environ["CXR_DATA"])
    measured = measure_files(list(bunch.data[:, 0]))
    pairs = find_duplicates(measured)
    assert len(pairs) <= 3  # looked at by eye: all are images of one exposure
    assert (pairs["correlation"] > 0.95).all()
