"""What X may be: every form of the same images gives the same predictions."""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    XRayLoader,
    clear_cache,
)
from cxr_sklearn._images import images as images_module
from cxr_sklearn._images.file_digests import FILE_DIGESTS
from cxr_sklearn._images.images import Images
from cxr_sklearn.datasets import make_chest_phantoms

from ..toys import MODELS, toy

# two epochs are enough to compare models, not to learn
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")

SIDE = 16
N = 18
X, Y = make_chest_phantoms(N, image_size=SIDE, random_state=0)
STACK = X.reshape(N, SIDE, SIDE)
COLOUR = np.repeat(STACK[..., None], 3, axis=-1)
STANDARDISED = (X / 255 - 0.5) / 0.25
NAMES = [f"p{i}" for i in range(X.shape[1])]


def model(kind: type = ResNetClassifier, **parameters: object):
    settings = {"backbone": toy, "weights": None, "image_size": SIDE, "random_state": 0}
    if kind is not ResNetFeatures:
        settings["max_epochs"] = 2
    return kind(**settings | parameters)


def probabilities(X, y=Y, kind: type = ResNetClassifier, **parameters: object) -> np.ndarray:
    """Return what a model predicts of its training images, from an empty cache."""
    clear_cache()
    return model(kind, **parameters).fit(X, y).predict_proba(X)


@pytest.fixture(scope="module")
def expected_features():
    """Return the features of X, computed from pixel rows."""
    return model(ResNetFeatures).fit_transform(X)


@pytest.fixture(scope="module")
def fitted():
    return model().fit(X, Y)


@pytest.fixture(scope="module")
def expected():
    return probabilities(X)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xrays")
    names = [str(folder / f"{i:02d}.png") for i in range(N)]
    for name, image in zip(names, STACK, strict=True):
        Image.fromarray(image).save(name)
    return names


@pytest.fixture(scope="module")
def fitted_on_paths(paths):
    return model().fit(paths, Y)


def error_of(call, *args, kind: type[Exception] = ValueError, match: str = "") -> str:
    """Return the one line of the error that a call raises."""
    with pytest.raises(kind, match=match) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- pixels -----------------------------------------------------------------------------------

# the same 8-bit images, so exactly the same predictions
SAME = {
    "images (n, h, w)": STACK,
    "colour images (n, h, w, 3)": COLOUR,
    "list of rows": list(X),
    "list of images": list(STACK),
    "list of colour images": list(COLOUR),
    "rows in column-major order": np.asfortranarray(X),
    "every other row of an array": X.repeat(2, axis=0)[::2],
    "read-only rows": np.frombuffer(X.tobytes(), np.uint8).reshape(X.shape),
    "pandas DataFrame": pd.DataFrame(X),
    "pandas DataFrame with names": pd.DataFrame(X, columns=NAMES),
    "pandas DataFrame with an index": pd.DataFrame(X, index=np.arange(N)[::-1]),
    "polars DataFrame": pl.DataFrame(X, schema=NAMES),
}

# the same values in another type: equal up to float32's rounding
SCALED = {
    "uint16 rows": X.astype(np.uint16) * 257,
    "uint16 images": STACK.astype(np.uint16) * 257,
    "uint16 colour images": COLOUR.astype(np.uint16) * 257,
    "big-endian uint16": (X.astype(np.uint16) * 257).astype(">u2"),
    "uint32 rows": X.astype(np.uint32) * np.uint32(0x01010101),
    "float64 rows": X / 255,
    "float32 rows": (X / 255).astype(np.float32),
    "float images": STACK / 255,
    "float colour images": COLOUR / 255,
    "list of lists": (X / 255).tolist(),
    "list of lists of lists": (STACK / 255).tolist(),
    "object rows of numbers": (X / 255).astype(object),
    "pandas DataFrame of floats": pd.DataFrame(X / 255, columns=NAMES),
    "pandas DataFrame of objects": pd.DataFrame(X / 255).astype(object),
    "polars DataFrame of floats": pl.DataFrame(X / 255, schema=NAMES),
}


def names_columns(form: object) -> bool:
    return isinstance(form, pl.DataFrame) or (
        isinstance(form, pd.DataFrame) and form.columns.tolist() == NAMES
    )


@pytest.mark.parametrize("form", SAME.values(), ids=SAME)
def test_forms_of_the_same_pixels_train_the_same_model(form, expected):
    """Rows, images, lists and DataFrames of one set of 8-bit images are one and the same."""
    np.testing.assert_array_equal(probabilities(form), expected)


@pytest.mark.parametrize("form", SCALED.values(), ids=SCALED)
def test_types_of_the_same_pixels_train_the_same_model(form, expected):
    """uint16 is uint8 times 257, floats in [0, 1] are uint8 over 255, up to rounding."""
    np.testing.assert_allclose(probabilities(form), expected, atol=1e-4)


@pytest.mark.parametrize(
    "form", [f for f in (SAME | SCALED).values() if not names_columns(f)], ids=lambda _: "form"
)
def test_a_model_predicts_on_every_form_of_pixels(form, fitted, expected):
    """A model fitted on uint8 rows takes the same images in any other form."""
    np.testing.assert_allclose(fitted.predict_proba(form), expected, atol=1e-4)


def test_booleans_are_black_and_white():
    """True is white, as 255 is, and False is black."""
    bits = X > 100
    np.testing.assert_allclose(
        probabilities(bits), probabilities(bits.astype(np.uint8) * 255), atol=1e-4
    )


def test_full_scale_is_that_of_the_type():
    """Unsigned integers are scaled by what their type can hold, not by what X holds."""
    features = model(ResNetFeatures, trainable="all")
    for dtype in (np.uint8, np.uint16, np.uint32):
        rows = np.zeros((2, SIDE * SIDE), dtype)
        rows[1] = np.iinfo(dtype).max
        found = features.fit_transform(rows)
        np.testing.assert_array_equal(found, rows > 0)
        np.testing.assert_allclose(features.fit_transform(rows // 2)[1], 0.5, atol=0.01)


def test_colours_become_luma():
    """A colour image is the grey image of its luma, as it is for files."""
    rng = np.random.RandomState(0)
    colours = rng.randint(256, size=(5, SIDE, SIDE, 3)).astype(np.uint8)
    rows = np.stack([np.asarray(Image.fromarray(c).convert("L")).reshape(-1) for c in colours])
    features = model(ResNetFeatures, trainable="all").fit(rows)
    # Pillow counts in integers, so a level may fall to the other side
    difference = features.transform(colours) - features.transform(rows)
    assert np.abs(difference).max() < 1.01 / 255


def test_standardised_floats_keep_their_values():
    """Floats beyond [0, 1] are taken as standardised: nothing is scaled, and models train."""
    features = model(ResNetFeatures, trainable="all").fit(STANDARDISED)
    np.testing.assert_allclose(features.transform(STANDARDISED), STANDARDISED, rtol=1e-6)
    found = probabilities(STANDARDISED)
    assert found.shape == (N, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_part_of_standardised_rows_is_read_as_the_whole():
    """How values are read is settled by fit: single rows in [0, 1] change nothing at predict."""
    rows = STANDARDISED.copy()
    rows[0] = X[0] / 255
    classifier = model().fit(rows, Y)
    np.testing.assert_allclose(
        classifier.predict_proba(rows[:1]), classifier.predict_proba(rows)[:1], atol=1e-4
    )


def test_x_is_left_as_it_was():
    """Neither fit nor predict writes to X."""
    for rows in (X.copy(), X / 255, X.astype(np.uint16) * 257):
        before = rows.copy()
        model().fit(rows, Y).predict(rows)
        np.testing.assert_array_equal(rows, before)


# -- files ------------------------------------------------------------------------------------

PATH_FORMS = {
    "list": list,
    "list of lists": lambda paths: [[p] for p in paths],
    "list of PathLike": lambda paths: [Path(p) for p in paths],
    "array (n,)": np.array,
    "array (n, 1)": lambda paths: np.array(paths, dtype=object)[:, None],
    "pandas Series": pd.Series,
    "pandas DataFrame": lambda paths: pd.DataFrame({"path": paths}),
    "polars Series": pl.Series,
    "polars DataFrame": lambda paths: pl.DataFrame({"path": paths}),
}


@pytest.mark.parametrize("form", PATH_FORMS.values(), ids=PATH_FORMS)
def test_forms_of_paths_equal_the_rows_of_the_loader(form, paths):
    """Paths in any form and the loader's rows give exactly the same probabilities."""
    rows = XRayLoader(image_size=SIDE).fit_transform(paths)
    np.testing.assert_array_equal(probabilities(form(paths)), probabilities(rows))


@pytest.mark.parametrize("trainable", ["head", "all"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_classifier_reads_paths_as_the_loader_does(kind, trainable, paths):
    """All four models give the same for paths as for the loader's rows, at the head and whole."""
    rows = XRayLoader(image_size=SIDE).fit_transform(paths)
    settings = {"kind": kind, "trainable": trainable}
    np.testing.assert_array_equal(probabilities(paths, **settings), probabilities(rows, **settings))


def test_paths_are_read_at_the_image_size(tmp_path):
    """Files larger than image_size, square or not, are read as the loader reads them."""
    rng = np.random.RandomState(0)
    files = []
    for i, shape in enumerate([(40, 30), (30, 40), (33, 33)] * 4):
        files.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.randint(256, size=shape).astype(np.uint8)).save(files[-1])
    y = np.arange(12) % 2
    rows = XRayLoader(image_size=SIDE).fit_transform(files)
    np.testing.assert_array_equal(probabilities(files, y), probabilities(rows, y))


def test_a_size_set_after_fit_does_not_change_how_files_are_read(fitted_on_paths, paths):
    """The new size is used in the next fit, so predictions do not change silently."""
    before = fitted_on_paths.predict_proba(paths)
    clear_cache()
    changed = copy.deepcopy(fitted_on_paths).set_params(image_size=SIDE // 4)
    np.testing.assert_array_equal(changed.predict_proba(paths), before)


def test_the_loader_in_a_pipeline_equals_paths(paths):
    """A pipeline of loader and classifier is the classifier on paths."""
    pipeline = make_pipeline(XRayLoader(image_size=SIDE), model()).fit(paths, Y)
    np.testing.assert_array_equal(pipeline.predict_proba(paths), probabilities(paths))


def test_threads_change_nothing(paths):
    """Decoding with several threads gives the same features."""
    one = model(ResNetFeatures).fit(paths).transform(paths)
    clear_cache()
    two = model(ResNetFeatures, n_jobs=2).fit(paths).transform(paths)
    np.testing.assert_array_equal(one, two)


def test_a_changed_file_is_read_again(tmp_path):
    """What a path shows is read from its file, not remembered from an earlier image."""
    path = tmp_path / "xray.png"
    Image.fromarray(STACK[0]).save(path)
    features = model(ResNetFeatures).fit([path])
    first = features.transform([path])
    Image.fromarray(STACK[1]).resize((20, 20)).save(path)
    second = features.transform([path])
    rows = XRayLoader(image_size=SIDE).fit_transform([path])
    assert (first != second).any()
    expected = model(ResNetFeatures).fit(rows).transform(rows)
    np.testing.assert_allclose(second, expected, atol=1e-4)


def replace_unnoticed(path: Path, pixels: np.ndarray) -> None:
    """Replace a file by one of the same size, with its time of modification."""
    status = path.stat()
    other = path.with_name("other.bmp")
    Image.fromarray(pixels).save(other)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert other.stat().st_size == status.st_size
    other.replace(path)
    assert path.stat().st_mtime_ns == status.st_mtime_ns


@pytest.fixture
def remembered_at_once(monkeypatch):
    """Remember digests of files that were written a moment ago, too."""
    monkeypatch.setattr(images_module, "_SETTLED_NS", 0)
    FILE_DIGESTS.clear()


@pytest.mark.usefixtures("remembered_at_once")
def test_a_replaced_file_of_equal_size_and_time_is_read_again(tmp_path):
    """Neither size nor time of modification prove that a file is the same."""
    path = tmp_path / "xray.bmp"
    Image.fromarray(STACK[0]).save(path)
    time.sleep(0.02)  # so that the time of change is before that of reading
    features = model(ResNetFeatures).fit([path])
    first = features.transform([path])
    assert len(FILE_DIGESTS) == 1
    replace_unnoticed(path, STACK[1])
    second = features.transform([path])
    assert (first != second).any()
    replace_unnoticed(path, STACK[0])
    np.testing.assert_array_equal(features.transform([path]), first)


def test_a_replaced_file_makes_another_map_of_rows(tmp_path):
    """Rows of a memory-mapped file are those of the files that are there now."""
    path = tmp_path / "xray.bmp"
    Image.fromarray(STACK[0]).save(path)
    loader = XRayLoader(image_size=SIDE, memmap=tmp_path / "rows")
    np.testing.assert_array_equal(loader.fit_transform([path])[0], X[0])
    replace_unnoticed(path, STACK[1])
    np.testing.assert_array_equal(loader.transform([path])[0], X[1])


@pytest.mark.usefixtures("remembered_at_once")
@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_file_that_changes_before_it_is_decoded_is_an_error(
    is_remembered, tmp_path, monkeypatch, expected_features
):
    """Features of one content are never stored under the digest of another."""
    path = tmp_path / "xray.bmp"
    Image.fromarray(STACK[0]).save(path)
    time.sleep(0.02)
    features = model(ResNetFeatures).fit([path])
    if is_remembered:
        features.transform([path])
        clear_cache()
    digests = Images.digests

    def replace_after(self):
        found = digests(self)
        self._is_decoded[:] = False  # as of sets that do not fit into memory
        replace_unnoticed(path, STACK[1])
        return found

    monkeypatch.setattr(Images, "digests", replace_after)
    with pytest.raises(OSError, match=r"^1 image files have changed since .*xray\.bmp; ") as caught:
        features.transform([path])
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(Images, "digests", digests)
    for pixels, row in ((STACK[1], 1), (STACK[0], 0)):
        replace_unnoticed(path, pixels)
        np.testing.assert_allclose(features.transform([path])[0], expected_features[row], atol=1e-4)


@pytest.mark.usefixtures("remembered_at_once")
def test_a_file_that_changes_while_it_is_decoded_is_not_remembered(tmp_path, monkeypatch):
    """A digest belongs to the file that was decoded, not to the one that is there afterwards."""
    path = tmp_path / "xray.bmp"
    Image.fromarray(STACK[0]).save(path)
    time.sleep(0.02)
    read = images_module.read_images

    def replace_after(*args, **kwargs):
        rows = read(*args, **kwargs)
        replace_unnoticed(path, STACK[1])
        return rows

    monkeypatch.setattr(images_module, "read_images", replace_after)
    features = model(ResNetFeatures).fit([path])
    first = features.transform([path])
    assert len(FILE_DIGESTS) == 0
    monkeypatch.setattr(images_module, "read_images", read)
    assert (features.transform([path]) != first).any()


def test_a_file_that_was_just_written_is_not_remembered(tmp_path, monkeypatch):
    """File systems count time in steps: within one a file can change and keep its time."""
    FILE_DIGESTS.clear()
    path = tmp_path / "xray.bmp"
    Image.fromarray(STACK[0]).save(path)
    features = model(ResNetFeatures).fit([path])
    features.transform([path])
    assert len(FILE_DIGESTS) == 0
    monkeypatch.setattr(images_module, "_SETTLED_NS", 0)
    time.sleep(0.02)
    features.transform([path])
    assert len(FILE_DIGESTS) == 1


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
def test_width_of_x(kind, paths):
    """n_features_in_ is the number of pixels, or 1 for paths."""
    assert model(kind).fit(X, Y).n_features_in_ == SIDE * SIDE
    assert model(kind).fit(STACK, Y).n_features_in_ == SIDE * SIDE
    assert model(kind).fit(paths, Y).n_features_in_ == 1


def test_names_of_columns(paths):
    """A DataFrame's columns are feature_names_in_, for pixels and for paths."""
    on_pixels = model().fit(pd.DataFrame(X, columns=NAMES), Y)
    assert on_pixels.feature_names_in_.tolist() == NAMES
    on_paths = model().fit(pl.DataFrame({"path": paths}), Y)
    assert on_paths.feature_names_in_.tolist() == ["path"]


# -- shape ------------------------------------------------------------------------------------


def test_image_shape_reads_rows_as_images_of_that_shape():
    """Rows with image_shape and the (n, h, w) images they came from are the same."""
    tall = STACK[:, :, :10]
    rows = tall.reshape(N, -1)
    by_shape = probabilities(rows, image_shape=(SIDE, 10))
    np.testing.assert_array_equal(by_shape, probabilities(tall))
    np.testing.assert_array_equal(by_shape, probabilities(rows, image_shape=[SIDE, 10]))
    assert (by_shape != probabilities(rows, image_shape=(10, SIDE))).any()


def test_image_shape_is_height_then_width():
    """The first number counts lines: what is constant along a line stays so when resized."""
    lines = np.linspace(0, 1, 8)[:, None].repeat(4, axis=1)
    features = model(ResNetFeatures, trainable="all", image_shape=(8, 4))
    image = features.fit_transform(lines.reshape(1, -1)).reshape(SIDE, SIDE)
    assert np.ptp(image, axis=1).max() < 1e-6
    assert (np.diff(image[:, 0]) >= 0).all()
    assert np.ptp(image[:, 0]) > 0.9


def test_rows_of_a_length_that_is_not_a_square_are_images_of_one_line():
    """Without image_shape, other shapes are not guessed."""
    rows = X[:, :120]
    np.testing.assert_array_equal(probabilities(rows), probabilities(rows, image_shape=(1, 120)))
    assert (probabilities(rows) != probabilities(rows, image_shape=(12, 10))).any()


def test_image_shape_is_optional_for_square_images(expected):
    """Passing the shape of square rows changes nothing."""
    np.testing.assert_array_equal(probabilities(X, image_shape=(SIDE, SIDE)), expected)


def test_rows_of_another_size_are_resized():
    """Rows need not have image_size: the model resizes them."""
    larger, y = make_chest_phantoms(N, image_size=24, random_state=0)
    found = probabilities(larger, y)
    assert found.shape == (N, 3)
    features = model(ResNetFeatures, trainable="all").fit_transform(larger)
    assert features.shape == (N, SIDE * SIDE)


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [X.astype(float), X.astype(np.float32), X.astype(np.int64)])
def test_raw_pixel_values_in_a_wrong_type_are_an_error(rows, fitted):
    """0 to 255 in floats or signed integers is refused, at fit and at predict, with the remedy."""
    for call, args in ((model().fit, (rows, Y)), (fitted.predict, (rows,))):
        message = error_of(call, *args, match="look like raw pixel values")
        assert str(rows.dtype) in message
        assert "np.uint8" in message


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_hounsfield_units_are_an_error(dtype, fitted):
    """Values of computed tomography are refused by their name."""
    rows = np.random.RandomState(0).uniform(-1024, 1500, X.shape).astype(dtype)
    error_of(model().fit, rows, Y, match="look like Hounsfield units")
    error_of(fitted.predict, rows, match="look like Hounsfield units")


@pytest.mark.parametrize("form", [X, pd.DataFrame(X)], ids=["rows", "DataFrame"])
def test_an_image_shape_that_does_not_fit_rows_is_an_error(form):
    """image_shape must make as many pixels as a row has."""
    fit = model(image_shape=(10, 12)).fit
    error_of(fit, form, Y, match=r"image_shape=\(10, 12\) makes 120 pixels.*have 256")


def test_an_image_shape_that_contradicts_images_is_an_error():
    """image_shape must be that of (n, h, w) images, or None."""
    fit = model(image_shape=(8, 32)).fit
    error_of(fit, STACK, Y, match=r"image_shape=\(8, 32\), but X holds images of 16x16 pixels")


@pytest.mark.parametrize("shape", [(256,), (0, 16), (16, -16), (4, 8, 8), "16x16", 16], ids=str)
def test_an_invalid_image_shape_raises(shape):
    """A valid image_shape consists of two positive integers."""
    error_of(model(image_shape=shape).fit, X, Y, match="image_shape")


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_paths_for_a_model_of_pixels_are_an_error(method, fitted, paths):
    """A model fitted on pixels says that it was, when it is given paths."""
    match = "X is a column of file paths, and fit was given rows of 256 pixels"
    error_of(getattr(fitted, method), paths, match=match)


@pytest.mark.parametrize(
    "form", [X, STACK, pd.DataFrame(X), X / 255], ids=["rows", "images", "DataFrame", "floats"]
)
def test_pixels_for_a_model_of_paths_are_an_error(form, fitted_on_paths):
    """A model fitted on paths says that it was, when it is given pixels."""
    match = "X is rows of 256 values, and fit was given a column of file paths"
    error_of(fitted_on_paths.predict, form, match=match)


def test_nested_lists_for_a_model_of_paths_are_an_error(fitted_on_paths):
    """Lists of pixels are refused by a model fitted on paths."""
    error_of(fitted_on_paths.predict, (X / 255).tolist(), match="X has 256 features")


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
def test_the_other_form_is_an_error_for_every_estimator(kind, paths):
    """Pixels and paths are never mixed up between fit and use, both ways."""
    use = "transform" if kind is ResNetFeatures else "predict"
    error_of(getattr(model(kind).fit(X, Y), use), paths, match="file paths")
    error_of(getattr(model(kind).fit(paths, Y), use), X, match="file paths")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_an_error(value, fitted):
    """NaN and infinity are refused, at fit and at predict."""
    rows = X / 255
    rows[3, 5] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model().fit(rows, Y)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        fitted.predict(rows)


@pytest.mark.parametrize(
    "form", [X[:, :100], STACK[:, :10], pd.DataFrame(X[:, :100])], ids=["rows", "images", "frame"]
)
def test_a_wrong_number_of_pixels_is_an_error(form, fitted):
    """A model predicts on images of the size that fit saw."""
    error_of(fitted.predict, form, match=r"X has 1\d0 features, but .* is expecting 256 features")


def test_images_of_another_shape_with_as_many_pixels_are_an_error(fitted):
    """Images are not read as another shape because their number of pixels agrees."""
    other = X.reshape(N, 8, 32)
    error_of(fitted.predict, other, match="images of 8x32 pixels, but .* was fitted on 16x16")


@pytest.mark.parametrize("form", [X, STACK, X.astype(np.uint16) * 257], ids=["rows", "3-D", "u2"])
def test_raw_pixels_for_a_model_of_standardised_ones_are_an_error(form):
    """A model fitted on standardised floats takes no unsigned integers."""
    classifier = model().fit(STANDARDISED, Y)
    error_of(classifier.predict, form, match=rf"X is {form.dtype}, but .* standardised floats")


@pytest.mark.parametrize("shape", [(SIDE, SIDE, 4), (SIDE, SIDE, 1), (3, SIDE, SIDE)], ids=str)
def test_other_channels_than_three_are_an_error(shape, fitted):
    """4-D arrays are colour images with the channels last, and nothing else."""
    images = np.zeros((N, *shape), np.uint8)
    error_of(model().fit, images, Y, match=r"X has shape .*; expected \(n, h, w, 3\)")
    error_of(fitted.predict, images, match=r"X has shape .*; expected \(n, h, w, 3\)")


def test_more_dimensions_are_an_error():
    """5-D arrays are no images."""
    error_of(model().fit, np.zeros((N, 1, 4, 4, 3), np.uint8), Y, match="dim 5")


def test_a_single_path_is_an_error():
    """A path alone is told to stand in a list."""
    error_of(model().fit, "xray.png", ["a"], kind=TypeError, match=r"'xray.png'.*Pass \[path\]")


def test_a_mixed_column_is_an_error_that_names_the_row(paths):
    """A row without a path is named, at fit."""
    column = [*paths[:5], None, *paths[6:]]
    error_of(model().fit, column, Y, kind=TypeError, match=r"X\[5\] is None among file paths")


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
def test_unreadable_files_are_an_error_that_names_them(kind, paths, tmp_path):
    """Every file that cannot be read is named, at fit or, for the bare trunk, at transform."""
    (tmp_path / "text.png").write_text("no image")
    files = [*paths[:-2], str(tmp_path / "gone.png"), str(tmp_path / "text.png")]
    estimator = model(kind)
    call = estimator.fit if kind is not ResNetFeatures else lambda X, y: estimator.fit_transform(X)
    message = error_of(call, files, Y, kind=OSError, match="^2 of .* could not be read")
    assert "gone.png (No such file" in message
    assert "text.png (not a PNG, JPEG, TIFF, BMP, WebP or DICOM image)" in message


PIXELS_AND_LABEL = pd.DataFrame(X).assign(label=Y)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            PIXELS_AND_LABEL,
            r"text in 'label'; expected pixels only.*X\.drop\(columns=\['label'\]\)",
        ),
        (PIXELS_AND_LABEL.assign(label=0), "has the column 'label' next to 256 others"),
        (PIXELS_AND_LABEL.to_numpy(), "257 columns and contains text in 256; expected pixels only"),
    ],
    ids=["text", "numbers", "array"],
)
@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
def test_a_column_of_labels_among_pixels_is_an_error(kind, form, message):
    """Labels are not trained on as if they were a pixel, and the column is named."""
    error_of(model(kind).fit, form, Y, match=message)


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures, XRayLoader])
@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_table_of_paths_and_labels_is_an_error(kind, library, paths):
    """The error shows how to select the column of paths, for every estimator that takes paths."""
    table = library.DataFrame({"label": Y, "path": list(map(str, paths))})
    estimator = XRayLoader() if kind is XRayLoader else model(kind)
    error_of(estimator.fit, table, Y, match=r"text in 'label', 'path'; .*Pass X\[\['path'\]\]")
    rows = list(zip(map(str, paths), Y, strict=True))
    error_of(estimator.fit, rows, Y, match=r"text in 0, 1; .*Pass X\[:, \[0\]\]")


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures, XRayLoader])
def test_a_bunch_in_place_of_its_data_is_an_error(kind, paths):
    """The remedy is one line, without the paths in the bunch."""
    bunch = Bunch(data=np.array(paths, dtype=object)[:, None], target=Y)
    estimator = XRayLoader() if kind is XRayLoader else model(kind)
    match = r"^X is a Bunch; .*Pass bunch\.data as X and bunch\.target as y\.$"
    error_of(estimator.fit, bunch, Y, kind=TypeError, match=match)


@pytest.mark.parametrize(
    "form", [STACK[0], (STACK[0] / 255).tolist(), COLOUR[0]], ids=["2-D", "list", "3-D"]
)
def test_a_single_image_is_an_error(form, fitted):
    """One image is not read as a batch of its lines, and the remedy works."""
    error_of(fitted.predict, form, match=r"X is one image of shape .*\. Pass \[X\]\.$")
    assert fitted.predict([form]).shape == (1,)


def test_a_single_image_and_its_label_are_an_error():
    """At fit the size of the images is unknown, and the single label tells."""
    error_of(model().fit, STACK[0], ["a"], match=r"X has 16 rows and y has one label.*pass \[X\]")


@pytest.mark.parametrize("form", [X[0], list(X[0])], ids=["array", "list"])
def test_a_single_row_is_an_error(form, fitted):
    """A row of pixels alone is an error of one line, without the pixels in it."""
    message = error_of(fitted.predict, form, match=r"X has shape \(256,\); expected")
    assert "np.reshape(X, (1, -1))" in message
    assert fitted.predict(np.reshape(form, (1, -1))).shape == (1,)


def test_a_number_of_labels_that_differs_is_an_error(paths):
    """X and y must have as many rows, for pixels and for paths."""
    error_of(model().fit, X[:-1], Y, match="inconsistent numbers of samples")
    error_of(model().fit, paths[:-1], Y, match="inconsistent numbers of samples")


def test_rows_of_one_pixel_and_paths_are_distinguished(tmp_path):
    """Both have one feature, but a model fitted on one of them refuses the other."""
    path = str(tmp_path / "xray.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    options = {"backbone": toy, "weights": None, "image_size": 16}
    on_rows = ResNetFeatures(**options).fit([[0.0], [1.0]])
    with pytest.raises(ValueError, match=r"is a column of file paths, but .* fitted on pixels"):
        on_rows.transform([path])
    on_paths = ResNetFeatures(**options).fit([path])
    with pytest.raises(ValueError, match=r"is a column of numbers, but .* file paths"):
        on_paths.transform([[0.5]])


def test_images_then_standardised_floats():
    """Standardised floats after images would be normalised twice: an error; noise is none."""
    X = np.random.default_rng(0).integers(0, 255, (6, 64)).astype(np.uint8)
    features = ResNetFeatures(backbone=toy, weights=None, image_size=16).fit(X)
    with pytest.raises(ValueError, match=r"fitted on images in \[0, 1\]"):
        features.transform((X / 255 - 0.5) / 0.25)
    assert features.transform(X / 255 + 0.01).shape == (6, 32)


@pytest.mark.parametrize("shape", [(16.5, 16), ((1, 2), 3), ("a", "b"), (16,), (0, 256)])
def test_image_shape_is_two_integers(shape):
    """Anything else is a one-line error that shows it."""
    X = np.zeros((4, 256), np.uint8)
    with pytest.raises(ValueError, match="expected two integers") as caught:
        ResNetFeatures(backbone=toy, weights=None, image_size=16, image_shape=shape).fit(X)
    assert "\n" not in str(caught.value)
