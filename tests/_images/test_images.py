"""Image files to rows of pixels."""

from __future__ import annotations

import contextlib
import errno
import io
import pickle
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import parallel_config
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from cxr_sklearn import XRayLoader
from cxr_sklearn._images import reading, row_file
from cxr_sklearn._images.paths import as_paths
from cxr_sklearn._images.reading import read_image, read_images
from cxr_sklearn.exceptions import UnreadableImageWarning

SIDE = 16

# every grey level once, so that a lost or shifted one shows
GREY = np.arange(256, dtype=np.uint8).reshape(SIDE, SIDE)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def flat(path: Path, value: int, shape: tuple[int, int] = (SIDE, SIDE)) -> Path:
    return save(Image.fromarray(np.full(shape, value, np.uint8)), path)


@pytest.fixture
def files(tmp_path):
    """Twelve flat images, the i-th of grey level 20 i."""
    return [str(flat(tmp_path / f"{i:02d}.png", 20 * i)) for i in range(12)]


# -- colour modes -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_of_every_mode_keeps_its_grey_levels(tmp_path, mode):
    """A grey picture reads the same from every colour mode of PNG."""
    path = save(Image.fromarray(GREY).convert(mode), tmp_path / "x.png")
    pixels = read_image(path, SIDE)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, GREY)


def test_one_bit_png_reads_as_black_and_white(tmp_path):
    """A bilevel PNG has the values 0 and 255."""
    bits = GREY % 3 == 0
    path = save(Image.fromarray(bits), tmp_path / "x.png")
    with Image.open(path) as image:
        assert image.mode == "1"
    np.testing.assert_array_equal(read_image(path, SIDE), np.where(bits, 255, 0))


def test_16_bit_png_keeps_its_range(tmp_path):
    """16-bit grey levels are scaled to 8 bits, not clipped at 255."""
    path = save(Image.fromarray(GREY.astype(np.uint16) * 257), tmp_path / "x.png")
    with Image.open(path) as image:
        assert image.mode.startswith("I")
    np.testing.assert_array_equal(read_image(path, SIDE), GREY)


def test_16_bit_png_rounds_to_the_nearest_level(tmp_path):
    """A 16-bit value goes to the 8-bit level that is nearest to it."""
    deep = np.array([[0, 128, 129, 300], [32767, 40000, 65406, 65535]] * 2, dtype=np.uint16)
    path = save(Image.fromarray(deep), tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(path, 4), np.rint(deep / 257))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode_keeps_its_grey_levels(tmp_path, mode):
    """A grey picture reads the same from every colour mode of JPEG, up to its compression."""
    path = save(Image.fromarray(GREY).convert(mode), tmp_path / "x.jpg", quality=100)
    with Image.open(path) as image:
        assert image.mode == mode
    difference = read_image(path, SIDE).astype(int) - GREY
    assert np.abs(difference).max() <= 3


def test_colour_becomes_luma(tmp_path):
    """Colours are weighted as the eye weights them: green over red over blue."""
    colours = np.zeros((3, 3, 3), np.uint8)
    colours[np.arange(3), :, np.arange(3)] = 255
    path = save(Image.fromarray(colours), tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(path, 3)[:, 0], [76, 150, 29])


def half_transparent(mode: str) -> Image.Image:
    """Return an image of grey level 200, whose left half is transparent."""
    rgba = np.full((SIDE, SIDE, 4), 200, np.uint8)
    rgba[:, : SIDE // 2, 3] = 0
    rgba[:, SIDE // 2 :, 3] = 255
    return Image.fromarray(rgba).convert(mode)


def keyed(mode: str) -> Image.Image:
    """Return an image whose left half has the value 0 or (100, 100, 100), to be made transparent.

    The right half has the grey level 200.
    """
    index = np.repeat(np.array([[0, 1]], np.uint8), SIDE // 2, axis=1).repeat(SIDE, axis=0)
    if mode == "P":
        image = Image.fromarray(index)
        image.putpalette([100] * 3 + [200] * 3 + [0] * 254 * 3)
        return image
    return Image.fromarray(np.array([100, 200], np.uint8)[index]).convert(mode)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (half_transparent("RGBA"), {}),
        (half_transparent("LA"), {}),
        (keyed("P"), {"transparency": 0}),
        (keyed("P"), {"transparency": b"\x00\xff"}),
        (keyed("L"), {"transparency": 100}),
        (keyed("RGB"), {"transparency": (100, 100, 100)}),
    ],
    ids=["RGBA", "LA", "P-index", "P-table", "L-key", "RGB-key"],
)
def test_transparent_pixels_become_black(tmp_path, image, options):
    """What is transparent is black, whatever colour it hides, and the rest keeps its level."""
    pixels = read_image(save(image, tmp_path / "x.png", **options), SIDE)
    assert (pixels[:, : SIDE // 2] == 0).all()
    assert (pixels[:, SIDE // 2 :] == 200).all()


def test_half_transparent_pixels_fade_to_black(tmp_path):
    """A translucent pixel is mixed with black in proportion."""
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[..., 3] = 51  # a fifth
    assert (read_image(save(Image.fromarray(rgba), tmp_path / "x.png"), 4) == 40).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, GREY), (3, np.rot90(GREY, 2)), (6, np.rot90(GREY, -1)), (8, np.rot90(GREY))],
)
def test_exif_orientation_is_applied(tmp_path, suffix, orientation, upright):
    """A picture that its EXIF data calls rotated is read upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if suffix == "jpg" else {}
    path = save(Image.fromarray(GREY), tmp_path / f"x.{suffix}", exif=exif, **options)
    assert np.abs(read_image(path, SIDE).astype(int) - upright).max() <= 3


# -- geometry ---------------------------------------------------------------------------------


def test_pad_keeps_the_aspect_ratio_with_black_margins(tmp_path):
    """Padding centres the whole image between black margins."""
    path = flat(tmp_path / "wide.png", 200, (SIDE // 2, SIDE))
    pixels = read_image(path, SIDE, "pad")
    quarter = SIDE // 4
    assert (pixels[:quarter] == 0).all()
    assert (pixels[quarter:-quarter] == 200).all()
    assert (pixels[-quarter:] == 0).all()


def test_crop_cuts_off_the_ends_and_keeps_the_middle(tmp_path):
    """Cropping keeps the central square at its aspect ratio."""
    wide = np.zeros((SIDE, 2 * SIDE), np.uint8)
    wide[:, SIDE // 2 : -SIDE // 2] = GREY
    path = save(Image.fromarray(wide), tmp_path / "wide.png")
    np.testing.assert_array_equal(read_image(path, SIDE, "crop"), GREY)


def test_stretch_keeps_the_whole_image(tmp_path):
    """Stretching changes the aspect ratio and cuts and adds nothing."""
    halves = np.repeat([[40, 200]], SIDE, axis=1).repeat(SIDE, axis=0).astype(np.uint8)
    path = save(Image.fromarray(halves), tmp_path / "wide.png")
    pixels = read_image(path, SIDE, "stretch")
    assert (pixels[:, : SIDE // 2 - 1] == 40).all()
    assert (pixels[:, SIDE // 2 + 1 :] == 200).all()


def test_pad_is_the_default(tmp_path):
    """By default an image is neither cropped nor distorted."""
    path = flat(tmp_path / "tall.png", 200, (SIDE, SIDE // 2))
    np.testing.assert_array_equal(read_image(path, SIDE), read_image(path, SIDE, "pad"))
    assert (read_image(path, SIDE)[:, 0] == 0).all()


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_a_square_image_is_only_scaled(tmp_path, resize):
    """All three modes agree on an image that is square already."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(path, 8, resize), read_image(path, 8, "pad"))
    np.testing.assert_array_equal(read_image(path, SIDE, resize), GREY)


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_shrinking_averages(tmp_path, resize):
    """A fine checkerboard shrinks to its mean grey, not to one of its colours."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.uint8)
    path = save(Image.fromarray(board), tmp_path / "board.png")
    assert np.abs(read_image(path, 8, resize).astype(int) - 100).max() <= 4


# -- rows -------------------------------------------------------------------------------------


def test_rows_are_uint8_and_flattened_line_by_line(tmp_path):
    """A row is its image in row-major order, as uint8."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")
    rows = XRayLoader(image_size=SIDE).fit_transform([[path], [path], [path]])
    assert rows.shape == (3, SIDE * SIDE)
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows, np.tile(GREY.reshape(-1), (3, 1)))


def test_rows_are_written_to_threads_memory_whatever_backend_is_set(files):
    """A backend of processes, set around the call, loses no row."""
    with parallel_config(backend="loky", n_jobs=2):
        rows = XRayLoader(image_size=4).fit_transform(files)
    np.testing.assert_array_equal(rows[:, 0], 20 * np.arange(12))


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_rows_come_in_the_order_of_the_files(files, n_jobs):
    """Row i is file i, however many threads decode and however often a file is named."""
    order = np.random.RandomState(0).randint(len(files), size=40)
    loader = XRayLoader(image_size=4, n_jobs=n_jobs)
    rows = loader.fit_transform([files[i] for i in order])
    np.testing.assert_array_equal(rows, np.tile(20 * order[:, None], (1, 16)))


def test_resize_reaches_the_rows(tmp_path):
    """The parameter resize of the loader decides about images that are not square."""
    path = flat(tmp_path / "wide.png", 200, (8, 16))
    means = {
        resize: XRayLoader(image_size=8, resize=resize).fit_transform([path]).mean()
        for resize in ("pad", "crop", "stretch")
    }
    assert means == {"pad": 100, "crop": 200, "stretch": 200}


def test_an_empty_list_of_files_gives_no_rows():
    """The array is empty, but has the right width and type."""
    rows = read_images([], 4)
    assert rows.shape == (0, 16)
    assert rows.dtype == np.uint8


# -- what X may be ----------------------------------------------------------------------------

FORMS = {
    "list": lambda paths: paths,
    "tuple": tuple,
    "list of lists": lambda paths: [[p] for p in paths],
    "list of PathLike": lambda paths: [Path(p) for p in paths],
    "list of lists of PathLike": lambda paths: [[Path(p)] for p in paths],
    "array (n,) of str": np.array,
    "array (n, 1) of str": lambda paths: np.array(paths)[:, None],
    "array (n,) of object": lambda paths: np.array(paths, dtype=object),
    "array (n, 1) of PathLike": lambda paths: np.array([[Path(p)] for p in paths], dtype=object),
    "array of numpy's string type": lambda paths: np.array(paths, dtype=np.dtypes.StringDType()),
    "pandas Series": pd.Series,
    "pandas Series of object": lambda paths: pd.Series(paths, dtype=object),
    "pandas Series of category": lambda paths: pd.Series(paths, dtype="category"),
    "pandas Series with an index": lambda paths: pd.Series(paths, index=range(50, 50 + len(paths))),
    "pandas Series of PathLike": lambda paths: pd.Series([Path(p) for p in paths]),
    "pandas DataFrame": lambda paths: pd.DataFrame({"path": paths}),
    "polars Series": pl.Series,
    "polars DataFrame": lambda paths: pl.DataFrame({"path": paths}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_column_of_paths(files, form):
    """Lists, arrays, Series and DataFrames of paths all give the same rows."""
    X = form(files)
    loader = XRayLoader(image_size=4)
    rows = loader.fit(X).transform(X)
    np.testing.assert_array_equal(rows[:, 0], 20 * np.arange(12))
    assert loader.n_features_in_ == 1


def test_column_names_are_remembered(files):
    """A DataFrame's column is feature_names_in_, and another column is refused."""
    loader = XRayLoader(image_size=4).fit(pd.DataFrame({"path": files}))
    assert loader.feature_names_in_.tolist() == ["path"]
    with pytest.raises(ValueError, match="feature names"):
        loader.transform(pd.DataFrame({"file": files}))


@pytest.mark.parametrize("path", ["xray.png", Path("xray.png")])
def test_a_single_path_is_an_error_that_names_it(path):
    """A path that is not in a list is told how to be passed."""
    with pytest.raises(TypeError, match=r"single path \('xray.png'\).*Pass \[path\]") as caught:
        XRayLoader().fit(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hole", "found"), [(None, "None"), (np.nan, "nan"), (3, "3"), (b"a.png", "b'a.png'")]
)
@pytest.mark.parametrize("container", [list, pd.Series, lambda x: [[v] for v in x]])
def test_a_mixed_column_is_an_error_that_names_the_row(hole, found, container):
    """A row without a path among paths is named, with what stands there."""
    column = container(["a.png", "b.png", hole, "c.png"])
    with pytest.raises(TypeError, match=r"X\[2\] is .* among file paths") as caught:
        XRayLoader().fit(column)
    if hole is not None:  # pandas may show None as nan
        assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_null_in_a_polars_column_is_an_error_that_names_the_row():
    """A null among the paths of a polars Series is named by its row."""
    with pytest.raises(TypeError, match=r"X\[1\] is None among file paths"):
        XRayLoader().fit(pl.Series(["a.png", None]))


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((3, 4)),
        np.zeros((3, 1), dtype=np.uint8),
        [[1.0, 2.0], [3.0, 4.0]],
        np.array([["a.png", "b.png"]]),
        pd.DataFrame({"path": ["a.png"], "other": ["b.png"]}),
        pd.DataFrame({"value": [1.0, 2.0]}),
        pl.Series([1, 2]),
        [],
        np.empty((0, 1), dtype=object),
        None,
        3,
    ],
    ids=lambda X: type(X).__name__,
)
def test_x_that_is_not_a_column_of_paths_raises(X):
    """Anything else is a ValueError with a message of one line."""
    with pytest.raises(
        ValueError, match=r"expected .*(one column of paths|str or PathLike)"
    ) as caught:
        XRayLoader().fit(X)
    assert "\n" not in str(caught.value)


def test_pixel_rows_at_transform_are_an_error(files):
    """A loader fitted on paths takes no pixels."""
    loader = XRayLoader(image_size=4).fit(files)
    with pytest.raises(ValueError, match="Pass rows of pixels directly"):
        loader.transform(np.zeros((2, 16), dtype=np.uint8))


def test_object_columns_of_numbers_are_not_read_as_paths():
    """Only a column with strings or paths is a column of paths."""
    assert as_paths(np.array([[1.0], [2.0]], dtype=object)) is None
    assert as_paths(pd.DataFrame({"pixel": [1, 2]}, dtype=object)) is None
    assert as_paths([[0.0, 1.0]]) is None


# -- damaged files ----------------------------------------------------------------------------


@pytest.fixture
def bad_files(tmp_path):
    """Files that cannot be read, with the reason that is expected for each."""
    noise = np.random.RandomState(0).randint(256, size=(64, 64)).astype(np.uint8)
    whole = {s: save(Image.fromarray(noise), tmp_path / f"whole.{s}") for s in ("png", "jpg")}
    content = {suffix: path.read_bytes() for suffix, path in whole.items()}
    (tmp_path / "empty.png").touch()
    (tmp_path / "truncated.png").write_bytes(content["png"][: len(content["png"]) // 2])
    (tmp_path / "header.png").write_bytes(content["png"][:20])
    (tmp_path / "truncated.jpg").write_bytes(content["jpg"][: len(content["jpg"]) // 2])
    damaged = bytearray(content["png"])
    damaged[60] ^= 255
    (tmp_path / "damaged.png").write_bytes(damaged)
    (tmp_path / "text.png").write_text("no image at all")
    Image.fromarray(noise).save(tmp_path / "gif.png", format="GIF")
    (tmp_path / "folder.png").mkdir()
    reasons = {
        "missing.png": "No such file",
        "empty.png": "an empty file",
        "truncated.png": "truncated",
        "header.png": "Truncated",
        "truncated.jpg": "truncated",
        "damaged.png": "broken",
        "text.png": "not a PNG, JPEG, TIFF, BMP, WebP or DICOM image",
        "gif.png": "not a PNG, JPEG, TIFF, BMP, WebP or DICOM image",
        "folder.png": "a folder, not a file",
    }
    return {tmp_path / name: reason for name, reason in reasons.items()}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_every_bad_file_is_named_at_once_with_its_reason(files, bad_files, n_jobs):
    """One error names all files that cannot be read, why, and none of those that can."""
    loader = XRayLoader(image_size=4, n_jobs=n_jobs).fit(files)
    with pytest.raises(OSError, match=r"^9 of 21 image files could not be read") as caught:
        loader.transform([*files[:6], *bad_files, *files[6:]])
    message = str(caught.value)
    for path, reason in bad_files.items():
        said = message.partition(f"{path} (")[2].partition(")")[0]
        assert said, path
        assert reason in said
    assert not any(path in message for path in files)
    assert "\n" not in message


def test_read_image_raises_oserror_for_each_bad_file(bad_files):
    """A file that cannot be read is an OSError, whatever is wrong with it."""
    for path, reason in bad_files.items():
        with pytest.raises(OSError, match=reason or "."):
            read_image(path, SIDE)


# -- on_error ---------------------------------------------------------------------------------


def spread(files, bad_files):
    """Return good and bad files in turn, and which are good."""
    paths = [str(path) for pair in zip(files, bad_files, strict=False) for path in pair]
    return paths, np.arange(len(paths)) % 2 == 0


@pytest.mark.parametrize("n_jobs", [None, 3])
def test_mask_keeps_the_rows_and_marks_the_black_ones(files, bad_files, n_jobs):
    """Unreadable files are rows of zeros in their place, with a warning, a mask and reasons."""
    paths, good = spread(files[1:], bad_files)
    loader = XRayLoader(image_size=4, on_error="mask", n_jobs=n_jobs).fit(paths)
    with pytest.warns(UnreadableImageWarning, match=r"^9 of 18 image .*X\[loader.readable_\]"):
        rows = loader.transform(paths)
    np.testing.assert_array_equal(loader.readable_, good)
    assert loader.readable_.dtype == bool
    np.testing.assert_array_equal(rows[good][:, 0], 20 * np.arange(1, 10))
    assert not rows[~good].any()
    assert [f.row for f in loader.failures_] == np.flatnonzero(~good).tolist()
    for row, path, reason in loader.failures_:
        assert path == paths[row]
        assert bad_files[Path(path)] in reason


def test_y_and_groups_stay_aligned(files, bad_files):
    """The mask leaves the same rows out of X, y and groups."""
    paths, good = spread(files, bad_files)
    y = np.where(good, "readable", "broken")
    loader = XRayLoader(image_size=4, on_error="mask")
    with pytest.warns(UnreadableImageWarning):
        X = loader.fit_transform(paths)
    X, y = X[loader.readable_], y[loader.readable_]
    assert len(X) == len(y) == 9
    assert set(y) == {"readable"}


@pytest.mark.parametrize("on_error", ["raise", "mask"])
def test_readable_files_cause_no_warning(files, on_error):
    """All values of the mask are true, and the list of failures is empty."""
    loader = XRayLoader(image_size=4, on_error=on_error)
    loader.fit_transform(files)
    assert loader.readable_.all()
    assert loader.readable_.shape == (12,)
    assert loader.failures_ == []


def test_mask_describes_the_last_transform(files, bad_files):
    """Each transform has its own mask."""
    loader = XRayLoader(image_size=4, on_error="mask").fit(files)
    with pytest.warns(UnreadableImageWarning, match="^9 of 9 "):
        loader.transform(list(bad_files))
    assert not loader.readable_.any()
    loader.transform(files[:2])
    assert loader.readable_.tolist() == [True, True]


def test_hundreds_of_bad_files_are_all_named(tmp_path):
    """The error names every file, however many there are."""
    paths = [str(tmp_path / f"{i:04d}.png") for i in range(300)]
    with pytest.raises(OSError, match=r"^300 of 300") as caught:
        XRayLoader(image_size=4).fit_transform(paths)
    assert all(path in str(caught.value) for path in paths)


# -- memmap -----------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of files that are decoded, growing as they are."""
    read = []
    original = reading.decode_grey
    monkeypatch.setattr(reading, "decode_grey", lambda path: read.append(path) or original(path))
    return read


def test_memmap_gives_the_same_rows_from_a_file(files, tmp_path):
    """Rows on disk are those in memory, as a map that scikit-learn slices and models take."""
    folder = tmp_path / "not" / "there"
    expected = XRayLoader(image_size=4).fit_transform(files)
    rows = XRayLoader(image_size=4, memmap=folder, n_jobs=2).fit_transform(files)
    assert isinstance(rows, np.memmap)
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows, expected)
    (path,) = folder.iterdir()
    assert path.suffix == ".npy"
    np.testing.assert_array_equal(np.load(path), expected)
    y = np.repeat(["dark", "bright"], 6)
    pipeline = make_pipeline(XRayLoader(image_size=4, memmap=str(folder)), KNeighborsClassifier(1))
    assert pipeline.fit(files, y).predict(files).tolist() == y.tolist()


def test_memmap_is_found_again(files, tmp_path, decoded):
    """The same files and parameters are decoded once, by whatever loader and thread count."""
    first = XRayLoader(image_size=4, memmap=tmp_path / "rows").fit_transform(files)
    assert len(decoded) == 12
    again = XRayLoader(image_size=4, memmap=tmp_path / "rows", on_error="mask", n_jobs=2)
    np.testing.assert_array_equal(again.fit_transform([Path(p) for p in files]), first)
    assert len(decoded) == 12
    assert again.readable_.all()


def test_memmap_is_another_file_where_something_differs(files, tmp_path, decoded):
    """Other files, another order, size or way of resizing, and changed files are decoded."""

    def rows(paths, **parameters):
        parameters = {"image_size": 4, "memmap": tmp_path / "rows", **parameters}
        return XRayLoader(**parameters).fit_transform(paths)

    rows(files)
    counts = [len(decoded)]
    for call in (
        lambda: rows(files[:5]),
        lambda: rows(files[::-1]),
        lambda: rows(files, image_size=5),
        lambda: rows(files, resize="crop"),
        lambda: flat(Path(files[0]), 77, (SIDE, SIDE + 1)) and rows(files),
    ):
        last = call()
        counts.append(len(decoded))
    assert np.diff(counts).tolist() == [5, 12, 12, 12, 12]
    assert last[0].max() == 77


def test_changes_of_a_memory_map_are_not_written_to_its_file(files, tmp_path):
    """Copy-on-write: a step that works in place does not change what is kept."""
    loader = XRayLoader(image_size=4, memmap=tmp_path / "rows")
    rows = loader.fit_transform(files)
    rows += 1
    assert rows[0, 0] == 1
    assert loader.transform(files)[0, 0] == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"no array", b"\x93NUMPY\x01\0", None],
    ids=["empty", "text", "head", "cut"],
)
def test_a_damaged_map_is_written_anew(files, tmp_path, decoded, content):
    """A file that is not whole is not taken for one."""
    loader = XRayLoader(image_size=4, memmap=tmp_path / "rows")
    expected = np.array(loader.fit_transform(files))
    (path,) = (tmp_path / "rows").iterdir()
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    np.testing.assert_array_equal(loader.transform(files), expected)
    assert len(decoded) == 24


def test_a_map_of_another_shape_or_type_is_written_anew(files, tmp_path, decoded):
    """A file under this name that holds other arrays is replaced."""
    loader = XRayLoader(image_size=4, memmap=tmp_path / "rows")
    loader.fit_transform(files)
    (path,) = (tmp_path / "rows").iterdir()
    for other in (np.zeros((3, 4), np.uint8), np.zeros((12, 16)), np.zeros((12, 16), np.uint8)):
        np.save(path, other)
        assert loader.transform(files)[1, 0] == 20
    assert len(decoded) == 48


def test_a_mapped_file_stores_which_images_are_unreadable(files, bad_files, tmp_path, decoded):
    """When the file is opened again, only the unreadable images are read again."""
    paths, good = spread(files, bad_files)
    loader = XRayLoader(image_size=4, on_error="mask", memmap=tmp_path / "rows").fit(paths)
    for count in (18, 9):
        decoded.clear()
        with pytest.warns(UnreadableImageWarning, match="^9 of 18 "):
            rows = loader.transform(paths)
        assert len(decoded) == count
        np.testing.assert_array_equal(loader.readable_, good)
        assert len(loader.failures_) == 9
        assert not rows[~good].any()
        np.testing.assert_array_equal(rows[good][:, 0], 20 * np.arange(9))
    with pytest.raises(OSError, match=r"^9 of 18 image files"):
        XRayLoader(image_size=4, memmap=tmp_path / "rows").fit_transform(paths)


def test_a_file_that_has_become_readable_is_read(files, tmp_path, monkeypatch):
    """What failed for a reason outside of the file, such as a missing package, is made good."""
    original, broken = reading.decode_grey, files[3]

    def fail(path):
        if path == broken:
            raise OSError("no decoder")
        return original(path)

    loader = XRayLoader(image_size=4, on_error="mask", memmap=tmp_path / "rows").fit(files)
    monkeypatch.setattr(reading, "decode_grey", fail)
    with pytest.warns(UnreadableImageWarning):
        assert loader.transform(files)[3].max() == 0
    monkeypatch.setattr(reading, "decode_grey", original)
    assert loader.transform(files)[3].min() == 60
    assert loader.readable_.all()


def test_an_error_in_reading_leaves_no_file(files, bad_files, tmp_path):
    """Neither the file of rows nor a part of it exists after the error."""
    loader = XRayLoader(image_size=4, memmap=tmp_path / "rows", n_jobs=2).fit(files)
    with pytest.raises(OSError, match=r"^9 of 21 image files could not be read"):
        loader.transform([*files, *bad_files])
    assert list((tmp_path / "rows").iterdir()) == []


def test_an_interrupt_leaves_no_file(files, tmp_path, monkeypatch):
    """Ctrl-C raises KeyboardInterrupt and leaves no part of a file."""

    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "decode_grey", interrupt)
    with pytest.raises(KeyboardInterrupt):
        XRayLoader(image_size=4, memmap=tmp_path / "rows").fit_transform(files)
    assert list((tmp_path / "rows").iterdir()) == []


def test_a_folder_that_cannot_be_is_named(files, tmp_path):
    """A file in the folder's place raises an error of one line."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^memmap='.*' cannot hold the rows \(") as caught:
        XRayLoader(image_size=4, memmap=str(tmp_path / "file")).fit_transform(files)
    assert "File exists" in str(caught.value)
    assert "expected a writable folder" in str(caught.value)
    assert "\n" not in str(caught.value)


_FULL = """\
import resource, sys
from cxr_sklearn import XRayLoader
from cxr_sklearn._images import row_file

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    XRayLoader(image_size=64, memmap=sys.argv[1], n_jobs=2).fit_transform(sys.argv[2:])
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the size of files by Linux's means")
def test_a_full_disk_raises_and_leaves_no_file(files, tmp_path):
    """If the disk becomes full while rows are written, an error of one line is raised."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "rows"), *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"memmap={str(tmp_path / 'rows')!r} cannot hold the rows (")
    assert done.stdout.count("\n") == 1
    assert list((tmp_path / "rows").iterdir()) == []


@pytest.mark.parametrize("method", ["truncate", "write"])
def test_a_full_disk_is_named(files, tmp_path, monkeypatch, method):
    """The disk may be full when the file is created, or when a row is written."""

    class FullDisk(io.BytesIO):
        def fail(self, *args):
            raise OSError(errno.ENOSPC, "No space left on device")

    setattr(FullDisk, method, FullDisk.fail)
    monkeypatch.setattr(row_file, "replace_file", lambda path: contextlib.closing(FullDisk()))
    with pytest.raises(OSError, match=r"cannot hold the rows \(No space left on device\)"):
        XRayLoader(image_size=4, memmap=tmp_path / "rows").fit_transform(files)


def test_a_loader_with_a_folder_is_cloned_and_pickled(files, tmp_path):
    """The folder is a parameter like any other."""
    loader = XRayLoader(image_size=4, memmap=tmp_path / "rows", on_error="mask").fit(files)
    copy = pickle.loads(pickle.dumps(clone(loader).fit(files)))
    np.testing.assert_array_equal(copy.transform(files), loader.transform(files))


def test_the_peak_of_memory_is_the_rows_and_not_twice(tmp_path):
    """Rows go straight to their place: no list of them is made and stacked."""
    path = flat(tmp_path / "x.png", 100)
    loader = XRayLoader(image_size=256).fit([path])
    loader.transform([path])
    tracemalloc.start()
    rows = loader.transform([path] * 200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * rows.nbytes


def test_fit_does_not_open_files():
    """Fitting checks only the form of X, so that the files may be created later."""
    loader = XRayLoader().fit(["not there.png"])
    assert loader.n_features_in_ == 1


# -- scikit-learn's conventions ---------------------------------------------------------------


def test_feature_names_out(files):
    """Every pixel of the rows has a name."""
    loader = XRayLoader(image_size=4)
    rows = loader.fit_transform(files)
    names = loader.get_feature_names_out()
    assert len(names) == rows.shape[1]
    assert names[:2].tolist() == ["pixel0", "pixel1"]
    assert len(set(names)) == len(names)


def test_set_output_pandas(files):
    """The rows come as a DataFrame where asked for, with pixel names, index and type kept."""
    loader = XRayLoader(image_size=4).set_output(transform="pandas")
    frame = pd.DataFrame({"path": files}, index=np.arange(12) + 100)
    out = loader.fit_transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert out.columns.tolist() == loader.get_feature_names_out().tolist()
    assert out.index.equals(frame.index)
    assert set(out.dtypes) == {np.dtype(np.uint8)}


def test_set_output_polars(files):
    """The rows come as a polars DataFrame where asked for."""
    out = XRayLoader(image_size=4).set_output(transform="polars").fit_transform(files)
    assert isinstance(out, pl.DataFrame)
    assert out.shape == (12, 16)


def test_clone_keeps_parameters_and_forgets_the_fit(files):
    """A clone has the same parameters and must be fitted."""
    loader = XRayLoader(image_size=4, resize="crop", n_jobs=2).fit(files)
    copy = clone(loader)
    assert copy.get_params() == {
        "image_size": 4,
        "resize": "crop",
        "on_error": "raise",
        "memmap": None,
        "n_jobs": 2,
    }
    with pytest.raises(NotFittedError):
        copy.transform(files)
    np.testing.assert_array_equal(copy.fit_transform(files), loader.transform(files))


def test_loader_works_in_a_pipeline(files):
    """A pipeline from paths to a scikit-learn classifier fits, predicts and sets parameters."""
    y = np.repeat(["dark", "bright"], 6)
    pipeline = make_pipeline(XRayLoader(), KNeighborsClassifier(1))
    pipeline.set_params(xrayloader__image_size=4)
    X = np.array(files, dtype=object)[:, None]
    assert pipeline.fit(X, y).predict(X).tolist() == y.tolist()
    assert pipeline[:-1].get_feature_names_out().tolist() == [f"pixel{i}" for i in range(16)]


@pytest.mark.parametrize(
    "parameters",
    [
        {"image_size": 0},
        {"image_size": -4},
        {"image_size": 2.5},
        {"image_size": "224"},
        {"image_size": None},
        {"resize": "squash"},
        {"resize": None},
        {"on_error": "ignore"},
        {"memmap": 3},
        {"n_jobs": "all"},
        {"n_jobs": 1.5},
        {"n_jobs": 0},
    ],
    ids=str,
)
def test_invalid_parameters(files, parameters):
    """A parameter out of its range is scikit-learn's error, which names it."""
    (name,) = parameters
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of XRayLoader must be"):
        XRayLoader(**parameters).fit(files)


def test_damaged_exif_does_not_keep_an_image_from_being_read(tmp_path):
    """Orientation is applied though another tag is damaged."""
    exif = (
        b"Exif\0\0MM\0*"
        + struct.pack(">LH", 8, 2)
        + struct.pack(">HHLHH", 0x0112, 3, 1, 6, 0)
        + struct.pack(">HHLL", 0x0128, 4, 1, 70000)
        + b"\0" * 4
    )
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:, :8] = 255
    path = tmp_path / "xray.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    rows = XRayLoader(image_size=16).fit_transform([path]).reshape(16, 16)
    assert rows[:8].mean() > 250  # turned by 90 degrees: left came to the top
    assert rows[8:].mean() < 5


def test_a_transparent_value_of_16_bits_is_black(tmp_path):
    """Transparency becomes black in 16-bit images too."""
    path = tmp_path / "xray.png"
    Image.fromarray(np.full((8, 8), 20000, np.uint16)).save(path, transparency=20000)
    assert XRayLoader(image_size=8).fit_transform([path]).max() == 0


def test_an_extreme_strip_keeps_a_line(tmp_path):
    """Padding a 1 x 1000 strip leaves a line of it."""
    path = tmp_path / "strip.png"
    Image.fromarray(np.full((1, 1000), 200, np.uint8)).save(path)
    assert XRayLoader(image_size=16).fit_transform([path]).max() == 200
