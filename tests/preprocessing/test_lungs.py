"""The lungs are found, and images are cropped to them."""

from __future__ import annotations

import pickle
import warnings
from importlib import resources

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from cxr_sklearn import ResNetOvO, XRayLoader
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import LungsNotFoundWarning
from cxr_sklearn.preprocessing import LungCrop, LungFields, MeanRadiograph, _lung_crop
from cxr_sklearn.preprocessing._lung_network import LungNetwork, without_batch_norm
from cxr_sklearn.preprocessing._lung_regions import blank_lungs, keep_lungs, lung_boxes
from cxr_sklearn.preprocessing._lung_segmentation import LungSegmentation, segment_lungs

from ..toys import toy, write_images

SIDE = 128


@pytest.fixture(scope="module")
def drawn():
    """Return 40 phantoms, their classes and their lungs."""
    return make_chest_phantoms(40, image_size=SIDE, return_masks=True, random_state=7)


def segmentation_of(*boxes):
    """Return lungs that fill a box (left, top, right, bottom in 128ths), or none."""
    probabilities = np.zeros((len(boxes), 128, 128), np.float32)
    for image, box in zip(probabilities, boxes, strict=True):
        if box is not None:
            left, top, right, bottom = box
            image[top:bottom, left:right] = 1
    return LungSegmentation(probabilities, np.ones(len(boxes), np.float32))


# the checks contain images of one pixel and of two values, in which there are no lungs
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.LungsNotFoundWarning")
@parametrize_with_checks([LungFields(image_size=8), LungCrop(image_size=8)])
def test_common_checks(estimator, check):
    """Both keep scikit-learn's contract."""
    check(estimator)


# -- the network ----------------------------------------------------------------------------------


def test_weights_are_small_and_their_source_is_named():
    """The weights are part of the package, with a licence file."""
    folder = resources.files("cxr_sklearn.preprocessing")
    assert len(folder.joinpath("lung_fields.safetensors").read_bytes()) <= 2_000_000
    licence = folder.joinpath("lung_fields.LICENSE.txt").read_text(encoding="utf-8")
    assert "V7 Labs" in licence
    assert "COVID-19 image data collection" in licence


def test_normalisation_is_part_of_the_convolutions():
    """The network of the package computes what the trained one computes."""
    torch.manual_seed(0)
    trained = LungNetwork(is_trained=True).train()
    images = torch.randn(4, 1, 64, 64)
    for _ in range(3):
        trained(images)
    expected = trained.eval()(images)
    found = without_batch_norm(trained)(images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in found_layers(trained))


def found_layers(trained):
    """Return the layers of the network without normalisation."""
    return list(without_batch_norm(trained).modules())


# -- LungFields -----------------------------------------------------------------------------------


def test_masks_agree_with_drawn_lungs(drawn):
    """The Dice coefficient on phantoms that the network has not seen is high."""
    X, _, masks = drawn
    found = LungFields(image_size=SIDE).fit_transform(X)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 255}
    both = ((found > 0) & (masks > 0)).sum(axis=1)
    dice = 2 * both / ((found > 0).sum(axis=1) + (masks > 0).sum(axis=1))
    assert dice.mean() > 0.93
    # The masks of other images do not agree.
    wrong = ((found > 0) & (masks[::-1] > 0)).sum(axis=1)
    assert (2 * wrong / ((found > 0).sum(axis=1) + (masks[::-1] > 0).sum(axis=1))).mean() < 0.9


def test_exposure_and_size_do_not_matter(drawn):
    """Brighter, darker and smaller images have almost the same lungs."""
    X = drawn[0][:10]
    fields = LungFields(image_size=64).fit(X)
    expected = fields.transform(X) > 0
    for changed in (X / np.float32(255), 0.3 * X / np.float32(255) + 0.5):
        same = LungFields(image_size=64).fit_transform(changed.astype(np.float32)) > 0
        assert (same == expected).mean() > 0.99
    small = np.stack([np.asarray(Image.fromarray(i).resize((96, 96))) for i in as_images(X)])
    assert ((LungFields(image_size=64).fit_transform(small) > 0) == expected).mean() > 0.97


def as_images(X):
    """Return rows as square images."""
    side = round(X.shape[1] ** 0.5)
    return X.reshape(-1, side, side)


def test_quality_falls_on_images_that_are_not_upright_radiographs(drawn):
    """Turned, inverted and mixed-up images have lower scores than almost all phantoms."""
    X = as_images(drawn[0])
    fields = LungFields(image_size=64).fit(X)
    upright = fields.score_samples(X)
    assert upright.dtype == np.float32
    assert upright.min() >= 0
    assert upright.max() <= 1
    limit = np.quantile(upright, 0.1)
    rng = np.random.default_rng(0)
    others = {
        "turned by 90 degrees": np.rot90(X, axes=(1, 2)),
        "upside down": X[:, ::-1],
        "inverted": 255 - X,
        "noise": rng.integers(0, 256, X.shape, dtype=np.uint8),
    }
    for name, images in others.items():
        assert (fields.score_samples(images) < limit).mean() > 0.9, name


def test_masks_of_files_align_with_the_loader(drawn, tmp_path):
    """A file that is not square gets the same margins, and the mask is empty there."""
    image = as_images(drawn[0])[0]
    path = tmp_path / "tall.png"
    Image.fromarray(image).resize((90, 180)).save(path)
    column = np.array([[str(path)]])
    rows = XRayLoader(image_size=96).fit_transform(column)
    of_file = LungFields(image_size=96).fit_transform(column)
    np.testing.assert_array_equal(of_file, LungFields(image_size=96).fit_transform(rows))
    mask = as_images(of_file)[0] > 0
    assert mask[:, 30:66].any()
    assert not mask[:, :22].any()


def test_boxes_enclose_the_masks(drawn):
    """In pixels of the masks, up to a pixel of the network; NaN without lungs."""
    X = drawn[0][:10]
    fields = LungFields(image_size=SIDE).fit(X)
    masks, boxes = as_images(fields.transform(X)), fields.bounding_boxes(X)
    assert boxes.dtype == np.float32
    for mask, box in zip(masks, boxes, strict=True):
        lines, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        extent = [columns[0], lines[0], columns[-1] + 1, lines[-1] + 1]
        np.testing.assert_allclose(box, extent, atol=1)
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    assert np.isnan(LungFields().fit(noise).bounding_boxes(noise)).all()
    assert not LungFields().fit(noise).transform(noise).any()


def test_parts_that_are_too_small_are_not_lungs():
    """The two largest parts are kept, without holes."""
    from cxr_sklearn.preprocessing._lung_segmentation import _lungs

    mask = np.zeros((128, 128), dtype=bool)
    mask[20:90, 10:50] = mask[20:90, 70:110] = True
    mask[40:45, 20:25] = False
    mask[100:120, 40:60] = True  # large, but the third
    mask[2:5, 2:5] = True
    expected = np.zeros_like(mask)
    expected[20:90, 10:50] = expected[20:90, 70:110] = True
    np.testing.assert_array_equal(_lungs(mask), expected)
    assert not _lungs(np.zeros_like(mask)).any()


def test_global_state_and_pickles(drawn):
    """Random numbers are not drawn, and a pickle contains no weights."""
    X = drawn[0][:4]
    fields = LungFields(image_size=32).fit(X)
    generator = torch.get_rng_state()
    expected = fields.transform(X)
    assert torch.equal(torch.get_rng_state(), generator)
    pickled = pickle.dumps(fields)
    assert len(pickled) < 5000
    np.testing.assert_array_equal(pickle.loads(pickled).transform(X), expected)
    np.testing.assert_array_equal(fields.transform(X), expected)


# -- LungCrop -------------------------------------------------------------------------------------


@pytest.fixture
def coordinates(monkeypatch):
    """Return two images whose pixels are their coordinates; the lungs of one are a known box."""
    monkeypatch.setattr(
        _lung_crop, "segment_lungs", lambda images: segmentation_of((32, 48, 96, 80), None)
    )
    y, x = np.indices((128, 128)).astype(np.float32) / 128
    return np.stack([x, y])


def test_crop_is_the_square_around_the_box_with_its_margin(coordinates):
    """The box is 64 wide and 32 high; with a margin of 0.25 the square has a side of 96."""
    with pytest.warns(LungsNotFoundWarning, match=r"1 images \(rows 1, counted from 0\)"):
        crop = LungCrop(image_size=96, margin=0.25).fit_transform(coordinates)
    assert crop.dtype == np.float32
    image = as_images(crop)[0] * 128
    np.testing.assert_allclose(image[0], np.arange(16, 112), atol=0.01)


def test_image_without_lungs_is_returned_whole(coordinates):
    """It is only resized."""
    with pytest.warns(LungsNotFoundWarning):
        crop = LungCrop(image_size=128, margin=0.25, mask_outside=True).fit_transform(coordinates)
    np.testing.assert_array_equal(as_images(crop)[1], coordinates[1])


def test_crop_beyond_the_edge_is_padded_with_black(monkeypatch):
    """The square may be larger than the image."""
    monkeypatch.setattr(
        _lung_crop, "segment_lungs", lambda images: segmentation_of((0, 32, 128, 96))
    )
    image = np.full((1, 128, 128), 200, np.uint8)
    crop = as_images(LungCrop(image_size=192, margin=0.25).fit_transform(image))[0]
    assert crop.dtype == np.uint8
    assert (crop[32:160, 32:160] == 200).all()
    assert crop[:32].max() == crop[:, :32].max() == crop[160:].max() == 0


def test_mask_outside_leaves_only_the_lungs(monkeypatch):
    """Everything but the lungs and a small margin is black."""
    monkeypatch.setattr(
        _lung_crop, "segment_lungs", lambda images: segmentation_of((32, 32, 96, 96))
    )
    image = np.full((1, 128, 128), 200, np.uint8)
    crop = LungCrop(image_size=128, margin=0.5, mask_outside=True).fit_transform(image)
    inside = as_images(crop)[0] == 200
    expected = np.zeros((128, 128), dtype=bool)
    expected[29:99, 29:99] = True
    assert (inside != expected).mean() < 0.01
    assert set(np.unique(crop)) == {0, 200}


def test_files_are_cropped_in_a_higher_resolution(drawn, tmp_path):
    """A fine pattern in the lungs survives, which it does not in the loader's size."""
    size = 384
    X, _, masks = make_chest_phantoms(1, image_size=size, return_masks=True, random_state=3)
    image = X.reshape(size, size).copy()
    image[(np.indices((size, size)).sum(0) % 4 < 2) & (masks.reshape(size, size) > 0)] //= 2
    paths = np.array(write_images(tmp_path, image.reshape(1, -1)))[:, None]
    crop = LungCrop(image_size=128).fit_transform(paths)
    small = XRayLoader(image_size=128).fit_transform(paths)
    of_small = LungCrop(image_size=128).fit_transform(small)
    assert sharpness(crop) > 1.2 * sharpness(of_small)


def sharpness(rows):
    """Return the mean difference of neighbouring pixels."""
    return np.abs(np.diff(as_images(rows)[0].astype(float), axis=1)).mean()


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_crop_in_pipelines_searches_and_files(drawn, tmp_path):
    """It composes with the loader, the guard and the models, and is stored by joblib."""
    X, y, _ = drawn
    paths = np.array(write_images(tmp_path, X))[:, None]
    model = ResNetOvO(backbone=toy, weights=None, image_size=32, max_epochs=1, random_state=0)
    pipeline = make_pipeline(
        XRayLoader(image_size=SIDE), MeanRadiograph(), LungCrop(image_size=32), model
    )
    search = GridSearchCV(pipeline, {"lungcrop__margin": [0, 0.2]}, cv=2).fit(paths, y)
    expected = search.predict_proba(paths)
    joblib.dump(search.best_estimator_, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(paths), expected)


def test_standardised_images_are_padded_with_their_minimum(drawn):
    """Not with 0, which would be grey."""
    X = (drawn[0][:3].astype(np.float32) - 120) / 60
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crop = LungCrop(image_size=64, margin=2.0).fit_transform(X)
    assert crop.dtype == np.float32
    np.testing.assert_allclose(as_images(crop)[:, 0, 0], X.min(axis=1))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LungCrop(margin=-0.1), "'margin' parameter of LungCrop must be a float in the range"),
        (LungCrop(margin=1000), "'margin' parameter of LungCrop must be a float in the range"),
        (LungCrop(mask_outside="yes"), "'mask_outside' parameter of LungCrop must be"),
        (LungFields(image_size=4), "'image_size' parameter of LungFields must be an int in"),
    ],
)
def test_invalid_parameters_raise(estimator, message, drawn):
    """The message names the parameter."""
    with pytest.raises(ValueError, match=message):
        estimator.fit(drawn[0])


def test_unreadable_files_are_named(tmp_path):
    """As the loader names them."""
    path = tmp_path / "no_image.png"
    path.write_text("text")
    for transformer in (LungFields(), LungCrop()):
        with pytest.raises(OSError, match=r"no_image\.png"):
            transformer.fit_transform([[str(path)]])


# -- images without lungs, and lungs alone --------------------------------------------------------


def test_blanked_box_contains_no_information():
    """It has the mean of what is left, and nothing else changes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 128, 128), dtype=np.uint8)
    found = blank_lungs(images, segmentation_of((32, 40, 96, 80), None))
    assert found.is_found.tolist() == [True, False]
    inside = np.zeros((128, 128), dtype=bool)
    inside[36:84, 28:100] = True  # a margin of 3 %, 3.84 pixels
    level = np.rint(images[0][~inside].mean())
    assert (found.images[0][inside] == level).all()
    np.testing.assert_array_equal(found.images[0][~inside], images[0][~inside])
    centre = np.zeros((128, 128), dtype=bool)
    centre[19:109, 19:109] = True
    assert len(np.unique(found.images[1][centre])) == 1
    np.testing.assert_array_equal(found.images[1][~centre], images[1][~centre])


def test_lungs_alone_lose_everything_else():
    """What is outside has the mean of the lungs; images without lungs become uniform."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(2, 128, 128, 3)).astype(np.float32)
    found = keep_lungs(images, segmentation_of((32, 40, 96, 80), None))
    assert found.is_found.tolist() == [True, False]
    np.testing.assert_array_equal(found.images[0, 42:78, 34:94], images[0, 42:78, 34:94])
    assert len(np.unique(found.images[0, :30].reshape(-1, 3), axis=0)) == 1
    assert np.ptp(found.images[1], axis=(0, 1)).max() == 0


def test_a_box_that_is_too_small_is_not_used():
    """A small part of a lung would leave the rest of the lungs visible."""
    images = np.random.default_rng(0).uniform(size=(1, 64, 64)).astype(np.float32)
    found = blank_lungs(images, segmentation_of((60, 60, 80, 80)))
    assert not found.is_found[0]
    assert np.isfinite(lung_boxes(segmentation_of((60, 60, 80, 80)))).all()


def test_lungs_are_found_where_they_are_not_given(drawn):
    """The default segmentation is that of the images."""
    images = as_images(drawn[0])[:5]
    found = blank_lungs(images)
    expected = blank_lungs(images, segment_lungs(images))
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.is_found.all()
