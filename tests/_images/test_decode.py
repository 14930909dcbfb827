"""Files to pictures: formats, grey levels, headers and refusals."""

from __future__ import annotations

import errno
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageFile

from cxr_sklearn import XRayLoader
from cxr_sklearn._images import dicom as dicom_module
from cxr_sklearn._images import formats
from cxr_sklearn._images.decode import DecodedImage, decode_grey, decode_image
from cxr_sklearn._images.formats import IMAGE_SUFFIXES, MAX_PIXELS, looks_like_image
from cxr_sklearn._images.headers import Header, read_header
from cxr_sklearn._images.reading import read_image
from cxr_sklearn._utils.messages import one_line

from ..dicom_files import dicom, save_dicom

# every grey level once, of an image that no rotation leaves as it is
GREY = np.arange(256, dtype=np.uint8).reshape(8, 32)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def grey(path: Path) -> np.ndarray:
    return np.asarray(decode_image(path).grey)


# -- formats and modes ------------------------------------------------------------------------

MODES = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "tif": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
    "webp": ["L", "RGB", "RGBA"],
    "jpg": ["L", "RGB", "CMYK"],
}
FORMATS = {"png": "PNG", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP", "jpg": "JPEG"}
OPTIONS = {"webp": {"lossless": True}, "jpg": {"quality": 100}}


def _pillow_reads(path: Path) -> bool:
    """Whether this Pillow reads a file; of YCbCr TIFF files, some before 13 do not."""
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
)
def test_every_format_and_mode_keeps_its_grey_levels(tmp_path, suffix, mode):
    """A grey picture reads the same from every format and colour mode, at its full size."""
    source = Image.fromarray(GREY).convert(mode)
    expected = np.asarray(source.convert("L"))
    path = save(source, tmp_path / f"x.{suffix}", **OPTIONS.get(suffix, {}))
    if mode == "YCbCr" and int(PIL.__version__.split(".")[0]) < 13 and not _pillow_reads(path):
        with pytest.raises(OSError, match="truncated"):  # said, rather than read wrongly
            decode_image(path)
        return
    decoded = decode_image(path)
    assert isinstance(decoded, DecodedImage)
    assert decoded.header.format == FORMATS[suffix]
    assert decoded.grey.mode == "L"
    tolerance = 3 if suffix == "jpg" else 0
    assert np.abs(np.asarray(decoded.grey).astype(int) - expected).max() <= tolerance
    if decoded.rgb is not None:
        assert decoded.rgb.mode == "RGB"
        rgb = np.asarray(decoded.rgb).astype(int)
        assert np.abs(rgb - expected[..., None]).max() <= tolerance
    assert (decoded.rgb is None) == (decoded.header.mode in ("1", "L", "LA"))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    """TIFF's usual compressions are read."""
    path = save(Image.fromarray(GREY), tmp_path / "x.tif", compression=compression)
    np.testing.assert_array_equal(grey(path), GREY)


def test_colours_come_upright_and_whole(tmp_path):
    """The colours of a file are those it has, turned as its EXIF says."""
    colours = np.random.RandomState(0).randint(256, size=(8, 32, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(save(Image.fromarray(colours), tmp_path / "x.png", exif=exif))
    np.testing.assert_array_equal(np.asarray(decoded.rgb), np.rot90(colours, -1))
    assert decoded.grey.size == decoded.rgb.size == (8, 32)


def test_transparency_is_black_in_colours_too(tmp_path):
    """Transparent pixels are black in the grey levels and in the colours."""
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[:2, :, 3] = 0
    rgba[2:, :, 3] = 255
    decoded = decode_image(save(Image.fromarray(rgba), tmp_path / "x.tif"))
    np.testing.assert_array_equal(np.asarray(decoded.rgb)[:, 0, 0], [0, 0, 200, 200])
    np.testing.assert_array_equal(np.asarray(decoded.grey)[:, 0], [0, 0, 200, 200])


TURNS = {
    1: GREY,
    2: GREY[:, ::-1],
    3: np.rot90(GREY, 2),
    4: GREY[::-1],
    5: GREY.T,
    6: np.rot90(GREY, -1),
    7: np.rot90(GREY, 2).T,
    8: np.rot90(GREY),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied_once(tmp_path, suffix, orientation):
    """Each of EXIF's eight orientations is undone, and the header tells the file's own sizes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(
        Image.fromarray(GREY), tmp_path / f"x.{suffix}", exif=exif, **OPTIONS.get(suffix, {})
    )
    upright = TURNS[orientation]
    found = grey(path)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= 3
    header = read_header(path)
    assert (header.width, header.height) == (32, 8)


def test_a_compressed_tiff_is_turned_once(tmp_path):
    """Libtiff's way through Pillow turns an image no second time."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.fromarray(GREY), tmp_path / "x.tif", exif=exif, compression="tiff_lzw")
    np.testing.assert_array_equal(grey(path), np.rot90(GREY, -1))


def test_of_a_multi_picture_jpeg_the_first_is_read(tmp_path):
    """Cameras append previews to a JPEG; what viewers show is read."""
    path = tmp_path / "x.jpg"
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(path, "MPO", save_all=True, append_images=[second], quality=100)
    assert read_header(path).format == "JPEG"
    assert np.abs(grey(path).astype(int) - GREY).max() <= 3


def test_the_content_decides_and_not_the_name(tmp_path):
    """A JPEG that is named .png, .dcm or not at all is a JPEG."""
    for name in ("x.png", "x.dcm", "x"):
        Image.fromarray(GREY).save(tmp_path / name, "JPEG", quality=100)
        assert read_header(tmp_path / name).format == "JPEG"


# -- more than 8 bits -------------------------------------------------------------------------


def deep_file(values: np.ndarray, path: Path) -> Path:
    return save(Image.fromarray(values), path)


@pytest.mark.parametrize(
    ("top", "full"),
    [(300, 4095), (4095, 4095), (4096, 16383), (16383, 16383), (16384, 65535), (65535, 65535)],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_images_are_scaled_by_the_bits_that_they_use(tmp_path, suffix, top, full):
    """An image of 12 or 14 bits in a file of 16 bits is as bright as an image of 8 bits."""
    values = np.linspace(0, top, 256).astype(np.uint16).reshape(GREY.shape)
    path = deep_file(values, tmp_path / f"x.{suffix}")
    decoded = decode_image(path)
    np.testing.assert_array_equal(np.asarray(decoded.grey), np.rint(values * (255 / full)))
    assert decoded.rgb is None
    assert decoded.header.bit_depth == 16


def test_big_endian_and_compressed_deep_tiff(tmp_path):
    """16 bits are read from either byte order, and from compressed files."""
    values = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(grey(deep_file(values.astype(">u2"), tmp_path / "b.tif")), GREY)
    path = save(Image.fromarray(values), tmp_path / "x.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(grey(path), GREY)


def test_white_is_zero_in_deep_tiff(tmp_path):
    """A TIFF of 16 bits whose zero is white is inverted, as those of 8 bits are."""
    values = 65535 - GREY.astype(np.uint16) * 257
    path = save(Image.fromarray(values), tmp_path / "x.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(grey(path), GREY)


@pytest.mark.parametrize("top", [1, 255, 4095, 16383, 65535])
def test_floats_are_scaled_by_the_range_that_holds_them(tmp_path, top):
    """Floats up to 1, up to 255 or of the range of 12, 14 or 16 bits all read alike."""
    values = (GREY / 255 * top).astype(np.float32)
    decoded = decode_image(deep_file(values, tmp_path / "x.tif"))
    assert decoded.header.mode == "F"
    assert decoded.header.bit_depth == 32
    assert np.abs(np.asarray(decoded.grey).astype(int) - GREY).max() <= (top > 255)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_nan_is_an_error(tmp_path, hole):
    """A float image with NaN or an infinite value says so."""
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 2] = hole
    with pytest.raises(OSError, match=r"^holds NaN or infinite values$"):
        decode_image(deep_file(values, tmp_path / "x.tif"))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[-1000.0, 400.0]], np.float32), "holds values from -1000 to 400"),
        (np.array([[0, 70000]], np.int32), "holds values from 0 to 70000"),
    ],
)
def test_values_outside_of_16_bits_are_an_error(tmp_path, values, found):
    """Hounsfield units and wider integers are not guessed at."""
    with pytest.raises(OSError, match=found + "; expected 0 to 1, to 255 or to 65535"):
        decode_image(deep_file(values, tmp_path / "x.tif"))


def test_deep_images_are_resized_before_they_are_rounded(tmp_path):
    """The mean of 100.4 and 100.4 levels is 100.4; rounding comes last."""
    values = np.full((8, 8), 0, np.uint16)
    values[:, ::2] = 65535 * 100.4 / 255
    values[:, 1::2] = 65535 * 101.4 / 255
    plane = decode_grey(deep_file(values, tmp_path / "x.png"))
    assert plane.mode == "F"
    assert abs(np.asarray(plane)[0, 0] - 100.4) < 0.01
    # 100 and 101 have the mean 100.5, which is even at 100; 100.9 is nearest to 101
    assert read_image(tmp_path / "x.png", 1)[0, 0] == 101


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_an_image_of_8_bits_and_the_same_image_of_16_bits_are_resized_alike(tmp_path, resize):
    """Both files give the same rows of pixels, except for rounding."""
    deep = deep_file(GREY.astype(np.uint16) * 257, tmp_path / "x.png")
    flat = save(Image.fromarray(GREY), tmp_path / "y.png")
    difference = read_image(deep, 6, resize).astype(int) - read_image(flat, 6, resize)
    assert np.abs(difference).max() <= 1


# -- headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image", "mode", "bits"),
    [
        ("x.png", Image.fromarray(GREY), "L", 8),
        ("x.png", Image.fromarray(GREY > 5), "1", 1),
        ("x.png", Image.fromarray(GREY.astype(np.uint16)), None, 16),
        ("x.tif", Image.fromarray(GREY), "L", 8),
        ("x.tif", Image.fromarray(GREY > 5), "1", 1),
        ("x.tif", Image.fromarray(GREY).convert("RGB"), "RGB", 8),
        ("x.tif", Image.fromarray(GREY.astype(np.uint16)), "I;16", 16),
        ("x.bmp", Image.fromarray(GREY > 5), "1", 1),
        ("x.bmp", Image.fromarray(GREY), "L", 8),
        ("x.bmp", Image.fromarray(GREY).convert("RGB"), "RGB", 8),
        ("x.jpg", Image.fromarray(GREY), "L", 8),
        ("x.webp", Image.fromarray(GREY), "RGB", 8),
    ],
)
def test_a_header_is_read_without_decoding_pixels(tmp_path, name, image, mode, bits):
    """Format, mode, size, bits per channel and number of bytes are read without decoding."""
    path = save(image, tmp_path / name)
    header = read_header(path)
    if mode is None:  # Pillow's name of it has changed
        mode = header.mode
        assert mode.startswith("I")
    kind = FORMATS[path.suffix[1:]]
    assert header == Header(kind, mode, 32, 8, bits, path.stat().st_size)
    assert header == decode_image(path).header


def test_few_bits_of_png_and_bmp(tmp_path):
    """Palettes of 4 bits and BMP of 5 bits per channel are told as they are."""
    image = Image.fromarray(GREY % 16).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    path = save(image, tmp_path / "x.png", bits=4)
    assert read_header(path).bit_depth == 4
    five = struct.pack("<2sLHHL", b"BM", 54 + 8, 0, 0, 54)
    five += struct.pack("<LllHHLLllLL", 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0) + b"\xff\x7f" * 4
    (tmp_path / "x.bmp").write_bytes(five)
    assert read_header(tmp_path / "x.bmp").bit_depth == 5
    assert (grey(tmp_path / "x.bmp") == 255).all()
    old = struct.pack("<2sLHHL", b"BM", 26 + 16, 0, 0, 26) + struct.pack("<LHHHH", 12, 2, 2, 1, 24)
    (tmp_path / "old.bmp").write_bytes(old + b"\xff\xff\xff\xff\xff\xff\0\0" * 2)
    assert read_header(tmp_path / "old.bmp").bit_depth == 8


def test_header_of_a_file_with_damaged_pixels_is_read(tmp_path):
    """Reading the header decodes nothing."""
    noise = np.random.RandomState(0).randint(256, size=(64, 64)).astype(np.uint8)
    for name in ("x.png", "x.tif", "x.jpg", "x.bmp"):
        path = save(Image.fromarray(noise), tmp_path / name)
        path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
        if name != "x.tif":  # whose header stands at the end
            assert read_header(path).width == 64
        with pytest.raises(OSError, match=r"."):
            decode_image(path)


# -- refusals ---------------------------------------------------------------------------------


def pages(n: int) -> list[Image.Image]:
    return [Image.fromarray(np.roll(GREY, i, axis=0)) for i in range(n)]


@pytest.mark.parametrize("name", ["x.tif", "x.png", "x.webp"])
def test_several_images_in_a_file_are_refused(tmp_path, name):
    """Pages and animations are not silently cut to the first."""
    first, *rest = pages(3)
    save(first, tmp_path / name, save_all=True, append_images=rest)
    for read in (read_header, decode_image):
        with pytest.raises(OSError, match=r"^holds 3 images; expected one$"):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO", "JPEG2000", "PDF"])
def test_other_formats_are_refused(tmp_path, kind):
    """What is not in the list is not read, under whatever name."""
    Image.fromarray(GREY).save(tmp_path / "x.png", kind)
    with pytest.raises(OSError, match=r"^not a PNG, JPEG, TIFF, BMP, WebP or DICOM image$"):
        decode_image(tmp_path / "x.png")


def png(width: int, height: int) -> bytes:
    """Return a PNG that promises an image of some size and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        )

    head = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<L", 4 + 8 + len(body)) + b"WEBP" + kind + body


BIG_WEBP = {
    "extended": webp(b"VP8X", struct.pack("<L", 10) + bytes(4) + b"\xff\x3f\0" * 2),
    "lossless": webp(b"VP8L", struct.pack("<L", 5) + b"\x2f" + struct.pack("<L", 0x0FFFFFFF)),
    "lossy": webp(b"VP8 ", struct.pack("<L", 10) + b"\0\0\0\x9d\x01\x2a" + b"\xff\x3f" * 2),
}


@pytest.mark.parametrize("limit", [None, 10, 10**12])
@pytest.mark.parametrize("name", ["png", *BIG_WEBP])
def test_huge_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch, name, limit):
    """40 million pixels are the most, whatever the process has set for Pillow."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = tmp_path / "x.png"
    path.write_bytes(png(20_000, 20_000) if name == "png" else BIG_WEBP[name])
    for read in (read_header, decode_image):
        with pytest.raises(OSError, match=r"pixels; expected 40 million or less\. Save a s"):
            read(path)


def test_a_limit_that_pillow_warns_at_is_not_ours(tmp_path, monkeypatch):
    """An image that is small enough is read without a warning, whatever Pillow thinks of it."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(grey(path), GREY)
    monkeypatch.setattr(formats, "MAX_PIXELS", 100)
    with pytest.raises(OSError, match="an image of 32 x 8 pixels"):
        decode_image(path)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(tmp_path, size):
    """Width or height 0 is an error in one line."""
    (tmp_path / "x.png").write_bytes(png(*size))
    with pytest.raises(OSError, match=r"."):
        decode_image(tmp_path / "x.png")


def test_a_dicom_image_without_pixels_or_with_too_many_is_refused(tmp_path):
    """DICOM has the same bounds: by rows and columns, before its pixels are read."""
    for rows, found in ((0, "an image of 4 x 0 pixels"), (60_000, "expected 40 million or less")):
        ds = dicom(np.zeros((4, 4), np.uint8), Rows=rows)
        if rows:
            ds.Columns = 60_000
        save_dicom(ds, tmp_path / "x.dcm")
        for read in (read_header, decode_image):
            with pytest.raises(OSError, match=found):
                read(tmp_path / "x.dcm")


def test_each_bad_file_has_one_clear_reason(tmp_path):
    """Missing, empty, a folder, text, a pipe, truncated, no permission: each says what it is."""
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("no image")
    whole = save(Image.fromarray(GREY.repeat(8, axis=0)), tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-40])
    reasons = {
        "missing.png": "No such file or directory",
        "empty.png": "an empty file",
        "folder.png": "a folder, not a file",
        "text.png": "not a PNG, JPEG, TIFF, BMP, WebP or DICOM image",
        "cut.png": "truncated",
        "a\0b.png": "damaged: .*null byte",
    }
    for name, reason in reasons.items():
        for read in (decode_image, read_header) if name != "cut.png" else (decode_image,):
            with pytest.raises(OSError, match=reason) as caught:
                read(f"{tmp_path}/{name}")
            assert str(tmp_path) not in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    """Opening a named pipe would wait for a writer for ever."""
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(OSError, match=r"^a device or pipe, not a file$"):
        decode_image(tmp_path / "x.png")
    os.mkfifo(tmp_path / "x")
    assert not looks_like_image(tmp_path / "x")


def test_a_file_without_permission_raises_the_reason_of_the_system(tmp_path, monkeypatch):
    """The reason in the error is the text of the operating system."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(OSError, match=r"^Permission denied$"):
        decode_image(path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (struct.error("unpack requires"), "^error$"),
        (KeyError("x"), "^KeyError$"),
        (RecursionError("deep"), "^RecursionError$"),
        (MemoryError(), "^needs more memory than there is$"),
        (ValueError("bad\nline \udcff"), r"^damaged: bad\\nline \\udcff$"),
        (SyntaxError("broken"), "^damaged: broken$"),
        (OSError(), "^OSError$"),
        (OSError("x" * 1000), "^x{200}$"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_decoder_raises_is_an_oserror(tmp_path, monkeypatch, error, reason):
    """No decoder's exception passes as it is; each has a reason in one line."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")

    def fail(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(OSError, match=reason) as caught:
        decode_image(path)
    assert caught.value.__cause__ is None


def test_an_interrupt_passes(tmp_path, monkeypatch):
    """Ctrl-C is no damaged file."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_image(path)


def test_memory_that_is_short_while_resizing_is_a_reason(tmp_path, monkeypatch):
    """An image that is decoded but cannot be resized is a bad file like any other."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")

    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", fail)
    with pytest.raises(OSError, match=r"^needs more memory than there is$"):
        read_image(path, 4)


# -- names ------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", [b"a\nb.png", b"\xff\xfe.png", b"caf\xc3\xa9 \x1b[1m.png"])
def test_odd_names_are_read_and_can_be_printed(tmp_path, name):
    """Names with line ends, of no UTF-8 or with escapes are read, and named in one line."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    Image.fromarray(GREY).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", path)
    np.testing.assert_array_equal(grey(path), GREY)
    assert looks_like_image(path)
    with open(path, "wb") as file:
        file.write(b"no image")
    with pytest.raises(OSError, match="1 of 1 image files could not be read") as caught:
        XRayLoader(image_size=4).fit_transform([path])
    message = str(caught.value)
    message.encode()
    assert message.isprintable()


def test_one_line_escapes_only_characters_that_cannot_be_printed():
    """Letters of all languages are unchanged, and line breaks are escaped."""
    assert one_line("Röntgen 胸部.png") == "Röntgen 胸部.png"
    assert one_line("a\r\n\t\x1b\u2028\udc80b") == r"a\r\n\t\x1b\u2028\udc80b"


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_suffixes_look_like_images(suffix):
    """A known suffix is enough, in any case, and the file is not opened."""
    assert looks_like_image(f"not there{suffix}")
    assert looks_like_image(Path(f"NOT THERE{suffix.upper()}"))


def test_dicom_without_a_suffix_looks_like_an_image(tmp_path):
    """A file of another name, or of none, is an image if it bears DICOM's mark."""
    for name in ("IM000001", "1.2.840.113619", "x.bin"):
        save_dicom(dicom(GREY), tmp_path / name)
        assert looks_like_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image" * 100)
    (tmp_path / "short").touch()
    for name in ("notes.txt", "short", "missing", "a\0b"):
        assert not looks_like_image(f"{tmp_path}/{name}")
    assert not looks_like_image(tmp_path)


# -- silence ----------------------------------------------------------------------------------


def test_threads_that_decode_leave_the_warning_filters_unchanged(tmp_path):
    path = save(Image.fromarray(GREY), tmp_path / "x.png")
    before = list(warnings.filters)
    XRayLoader(image_size=4, n_jobs=4).fit_transform([path] * 40)
    assert list(warnings.filters) == before


def test_an_image_with_damaged_exif_tags_is_read_without_rotation(tmp_path, monkeypatch):
    """The pixels are used as they are if the EXIF data cannot be read."""
    path = save(Image.fromarray(GREY), tmp_path / "x.png")

    def fail(self):
        raise struct.error

    monkeypatch.setattr(Image.Image, "getexif", fail)
    np.testing.assert_array_equal(grey(path), GREY)


def test_the_size_limit_fits_radiographs():
    """The largest radiographs stay below the limit, and little else does."""
    assert MAX_PIXELS > (430 / 0.07) ** 2
    assert MAX_PIXELS > 240 / 0.05 * 300 / 0.05
    assert MAX_PIXELS < 2 * 25_000_000
    assert dicom_module._INFLATED_BYTES > MAX_PIXELS * 3 * 2
