"""DICOM files to grey levels."""

from __future__ import annotations

import io
import logging
import sys
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cxr_sklearn import XRayLoader
from cxr_sklearn._images import dicom as dicom_module
from cxr_sklearn._images.decode import decode_grey, decode_image
from cxr_sklearn._images.formats import looks_like_image
from cxr_sklearn._images.headers import Header, read_header

from ..dicom_files import (
    PATIENT,
    PATIENT_ID,
    dicom,
    save_bare,
    save_dicom,
    table,
    with_jpeg,
    with_lossless_jpeg,
    with_stream,
)

SIDE = 64  # the encoder of JPEG 2000 takes no smaller images
RAMP = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
FLAT = (RAMP % 256).astype(np.uint8)
DEEP = RAMP.astype(np.uint16)  # every value of 12 bits once
COLOURS = np.stack([FLAT, FLAT.T, 255 - FLAT], axis=-1)


def lookup(**elements: object) -> list[Dataset]:
    """Return the sequence of a lookup table with these elements."""
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
        item[name].VR = "US"
    return [item]


@pytest.fixture
def shown(tmp_path):
    """Return a function from a dataset to its levels from 0 to 255, before rounding."""

    def show(ds: Dataset) -> np.ndarray:
        return np.asarray(decode_grey(save_dicom(ds, tmp_path / "x.dcm")), dtype=float)

    return show


# -- grey levels ------------------------------------------------------------------------------


def test_values_of_eight_bits_are_unchanged_without_a_window(shown):
    """The file has no window, no slope and no table."""
    np.testing.assert_array_equal(shown(dicom(FLAT)), FLAT)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_without_a_window_the_stored_bits_are_the_range(shown, bits):
    """The largest value that the bits can represent is white, even if it does not occur."""
    values = (RAMP % 2**bits).astype(np.uint16)
    np.testing.assert_allclose(
        shown(dicom(values, bits=bits)), values * (255 / (2**bits - 1)), atol=1e-3
    )


def test_monochrome1_is_inverted(shown):
    """Of MONOCHROME1 the smallest value is white, and it looks as its MONOCHROME2 does."""
    positive = shown(dicom(DEEP, bits=12))
    negative = shown(dicom(4095 - DEEP, bits=12, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(negative, positive, atol=1e-3)


def test_signed_values(shown):
    """Of signed values the most negative is black."""
    values = (RAMP - 2048).astype(np.int16)
    np.testing.assert_allclose(shown(dicom(values, bits=12)), DEEP * (255 / 4095), atol=1e-3)


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    middle, half = center - 0.5, (width - 1) / 2
    return np.interp(values, [middle - half, middle + half], [0, 255])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_is_mapped_to_the_range_from_black_to_white(shown, photometric):
    """Values outside of the window become black or white."""
    ds = dicom(
        DEEP, bits=12, WindowCenter=1000, WindowWidth=401, PhotometricInterpretation=photometric
    )
    expected = linear(RAMP, 1000, 401)
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_allclose(shown(ds), expected, atol=1e-3)


def test_of_several_windows_the_first_is_taken(shown):
    """Alternatives follow the window that is meant first."""
    ds = dicom(DEEP, bits=12, WindowCenter=[1000, 50], WindowWidth=[401, 10])
    np.testing.assert_allclose(shown(ds), linear(RAMP, 1000, 401), atol=1e-3)


@pytest.mark.parametrize(
    ("center", "width"),
    [
        (["1000", ""], ["401", ""]),
        (["", "1000"], ["", "401"]),
        (["", "1000"], ["50", "401"]),
        (["1000", ""], ["401"]),
    ],
    ids=str,
)
def test_of_windows_with_empty_values_the_first_whole_one_is_taken(shown, center, width):
    """A trailing backslash in a header leaves an empty value, which is not a window."""
    ds = dicom(DEEP, bits=12, WindowCenter=center, WindowWidth=width)
    np.testing.assert_allclose(shown(ds), linear(RAMP, 1000, 401), atol=1e-3)


def test_of_several_slopes_the_first_whole_one_is_taken(shown):
    """Slope and intercept are a pair, as the two values of a window are."""
    slopes = {"RescaleSlope": ["2", "", "3"], "RescaleIntercept": ["", "7", "-100"]}
    window = {"WindowCenter": 1000, "WindowWidth": 401}
    ds = dicom(DEEP, bits=12, **slopes, **window)
    np.testing.assert_allclose(shown(ds), linear(3 * RAMP - 100.0, 1000, 401), atol=1e-3)


@pytest.mark.parametrize("values", [FLAT, COLOURS], ids=["grey", "colour"])
def test_an_empty_number_of_samples_is_implied(tmp_path, values):
    """The photometric interpretation says how many samples a pixel has."""
    expected = decode_image(save_dicom(dicom(values), tmp_path / "whole.dcm"))
    for name, ds in (("empty", dicom(values)), ("missing", dicom(values))):
        ds.SamplesPerPixel = None
        if name == "missing":
            del ds.SamplesPerPixel
        decoded = decode_image(save_dicom(ds, tmp_path / f"{name}.dcm"))
        np.testing.assert_array_equal(np.asarray(decoded.grey), np.asarray(expected.grey))
        assert (decoded.rgb is None) == (expected.rgb is None)


def test_windows_of_other_functions(shown):
    """LINEAR_EXACT and SIGMOID are followed, and an empty function is LINEAR."""
    options = {"WindowCenter": 1000, "WindowWidth": 400}
    exact = np.interp(RAMP, [800, 1200], [0, 255])
    sigmoid = 255 / (1 + np.exp(-4 * (RAMP - 1000) / 400))
    for function, expected in (
        ("LINEAR_EXACT", exact),
        ("SIGMOID", sigmoid),
        ("", linear(RAMP, 1000, 400)),
    ):
        found = shown(dicom(DEEP, bits=12, VOILUTFunction=function, **options))
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 1000, "WindowWidth": 0},
        {"WindowCenter": 1000},
        {"WindowWidth": 400},
        {"WindowCenter": None, "WindowWidth": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 2},
        {"VOILUTSequence": []},
        {"VOILUTSequence": [Dataset()]},
        {"ModalityLUTSequence": []},
        {"ModalityLUTSequence": lookup(LUTDescriptor=None, LUTData=[0] * 4096)},
        {"VOILUTSequence": lookup(LUTDescriptor=[4096, 0, 16], LUTData=None)},
    ],
    ids=str,
)
def test_empty_and_incomplete_values_are_ignored(shown, elements):
    """A window without width, or one half of a pair, leaves the range of the bits."""
    found = shown(dicom(DEEP, bits=12, **elements))
    np.testing.assert_allclose(found, DEEP * (255 / 4095), atol=1e-3)


def test_rescaling_is_applied_before_the_window(shown):
    """The window counts in rescaled units."""
    ds = dicom(
        DEEP, bits=12, RescaleSlope=0.5, RescaleIntercept=-1000, WindowCenter=0, WindowWidth=201
    )
    np.testing.assert_allclose(shown(ds), linear(RAMP * 0.5 - 1000, 0, 201), atol=1e-3)


def test_rescaling_without_a_window_keeps_the_range(shown):
    """A slope and an intercept alone change nothing that can be seen; a negative slope inverts."""
    plain = DEEP * (255 / 4095)
    found = shown(dicom(DEEP, bits=12, RescaleSlope=3, RescaleIntercept=-7))
    np.testing.assert_allclose(found, plain, atol=1e-3)
    found = shown(dicom(DEEP, bits=12, RescaleSlope=-1, RescaleIntercept=4095))
    np.testing.assert_allclose(found, 255 - plain, atol=1e-3)


def test_a_window_after_a_negative_slope(shown):
    """Brighter is what is larger after rescaling, in a window as without."""
    ds = dicom(
        DEEP, bits=12, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=1000, WindowWidth=401
    )
    np.testing.assert_allclose(shown(ds), linear(4095 - RAMP, 1000, 401), atol=1e-3)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_voi_table_is_looked_up(shown, bits):
    """A table of any depth maps the values; its own bits are the range."""
    top = 2**bits - 1
    entries = [round(top * (i / 4095) ** 2) for i in range(4096)]
    ds = dicom(DEEP, bits=12, VOILUTSequence=table(entries, 0, bits), WindowCenter=5, WindowWidth=2)
    np.testing.assert_allclose(shown(ds), np.array(entries)[RAMP] * (255 / top), atol=1e-3)


def test_voi_table_is_extended_beyond_its_ends(shown):
    """Values before the first entry take it, and those behind the last take that."""
    ds = dicom(DEEP, bits=12, VOILUTSequence=table([0, 100, 255], 1000, 8))
    expected = np.array([0, 100, 255])[(RAMP - 1000).clip(0, 2)]
    np.testing.assert_array_equal(shown(ds).round(), expected)


def test_a_voi_table_after_rescaling(shown):
    """A table counts in rescaled units, negative ones too."""
    ds = dicom(
        DEEP,
        bits=12,
        RescaleSlope=1,
        RescaleIntercept=-2048,
        PixelRepresentation=0,
        VOILUTSequence=table([0, 255], -5, 8),
    )
    np.testing.assert_array_equal(shown(ds).round(), np.where(RAMP - 2048 >= -4, 255, 0))


def test_modality_table_is_applied_first(shown):
    """A modality table maps stored values, and its bits are the range where nothing follows."""
    entries = [65535 - 16 * i for i in range(4096)]
    ds = dicom(
        DEEP,
        bits=12,
        ModalityLUTSequence=table(entries, 0, 16),
        RescaleSlope=9,  # not both
        RescaleIntercept=9,
    )
    mapped = np.array(entries)[RAMP]
    np.testing.assert_allclose(shown(ds), mapped * (255 / 65535), atol=1e-3)
    ds.WindowCenter, ds.WindowWidth = 40000, 1001
    np.testing.assert_allclose(shown(ds), linear(mapped, 40000, 1001), atol=1e-3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black(shown, photometric):
    """What the device has filled up is black, in negatives too."""
    values = DEEP.copy()
    values[:, :5] = 77
    ds = dicom(values, bits=12, PhotometricInterpretation=photometric, PixelPaddingValue=77)
    found = shown(ds)
    assert (found[values == 77] == 0).all()
    assert (found[values == 1234] != 0).all()


def test_a_range_of_padding_is_black(shown):
    """A limit makes the padding a range, its ends included."""
    found = shown(dicom(DEEP, bits=12, PixelPaddingValue=4000, PixelPaddingRangeLimit=3000))
    np.testing.assert_array_equal(found == 0, (RAMP == 0) | ((RAMP >= 3000) & (RAMP <= 4000)))


def test_overlays_in_unused_bits_are_not_seen(shown):
    """Bits above those stored mean nothing, whatever stands in them."""
    expected = shown(dicom(DEEP, bits=12))
    np.testing.assert_array_equal(shown(dicom(DEEP | 0xF000, bits=12)), expected)
    np.testing.assert_array_equal(shown(dicom(DEEP << 4 | 5, bits=12, HighBit=15)), expected)


def test_images_of_more_than_8_bits_are_resized_before_they_are_rounded(tmp_path):
    """A loader resizes the levels of the window, and rounds them then."""
    path = save_dicom(dicom(DEEP, bits=12), tmp_path / "x.dcm")
    row = XRayLoader(image_size=1).fit_transform([path])
    assert row[0, 0] == round(DEEP.mean() * 255 / 4095)


# -- colours ----------------------------------------------------------------------------------


def test_colours_become_grey(tmp_path):
    """RGB is read with its colours, and becomes luma."""
    path = save_dicom(dicom(COLOURS), tmp_path / "x.dcm")
    decoded = decode_image(path)
    np.testing.assert_array_equal(np.asarray(decoded.rgb), COLOURS)
    luma = Image.fromarray(COLOURS).convert("L")
    np.testing.assert_array_equal(np.asarray(decoded.grey), np.asarray(luma))
    assert decoded.header == Header("DICOM", "RGB", SIDE, SIDE, 8, path.stat().st_size)


def test_colours_by_plane_and_of_16_bits(tmp_path):
    """Planes one after the other, and channels of more bits, read alike."""
    planes = dicom(COLOURS, PlanarConfiguration=1)
    planes.PixelData = COLOURS.transpose(2, 0, 1).tobytes()
    deep = dicom(COLOURS.astype(np.uint16) * 257, PhotometricInterpretation="RGB")
    for ds in (planes, deep):
        decoded = decode_image(save_dicom(ds, tmp_path / "x.dcm"))
        np.testing.assert_array_equal(np.asarray(decoded.rgb), COLOURS)


def test_ybr_becomes_grey(tmp_path):
    """Of luma and chroma the grey is the luma."""
    ybr = np.stack([FLAT, np.full_like(FLAT, 128), np.full_like(FLAT, 128)], axis=-1)
    ds = dicom(ybr, PhotometricInterpretation="YBR_FULL")
    decoded = decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    np.testing.assert_array_equal(np.asarray(decoded.grey), FLAT)


# -- compression ------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("kind", ["flat", "deep", "signed", "colours"])
def test_lossless_compression_changes_nothing(tmp_path, syntax, kind):
    """RLE and JPEG 2000 of every kind of image read as the image without them."""
    make = {
        "flat": lambda: dicom(FLAT),
        "deep": lambda: dicom(DEEP, bits=12),
        "signed": lambda: dicom((RAMP - 2048).astype(np.int16), bits=12),
        "colours": lambda: dicom(COLOURS),
    }[kind]
    plain = decode_image(save_dicom(make(), tmp_path / "plain.dcm"))
    ds = make()
    ds.compress(syntax, generate_instance_uid=False)
    decoded = decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    np.testing.assert_array_equal(np.asarray(decoded.grey), np.asarray(plain.grey))


@pytest.mark.parametrize(("values", "bits"), [(FLAT, 8), (DEEP, 12), (DEEP * 16, 16)])
def test_lossless_jpeg(shown, values, bits):
    """JPEG's lossless process, which most radiography devices write, is read to the last bit."""
    expected = shown(dicom(values, bits=bits))
    found = shown(with_lossless_jpeg(dicom(values, bits=bits), values, bits))
    np.testing.assert_array_equal(found, expected)


def test_lossless_jpeg_of_signed_values(shown):
    """Signed values are kept in a lossless JPEG as their bits."""
    values = (RAMP - 2048).astype(np.int16)
    bits = values.view(np.uint16) & 4095
    found = shown(with_lossless_jpeg(dicom(values, bits=12), bits, 12))
    np.testing.assert_array_equal(found, shown(dicom(values, bits=12)))


def test_baseline_jpeg(tmp_path):
    """Baseline JPEG is read, grey and in colours."""
    smooth = np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype(np.uint8)
    ds = with_jpeg(dicom(smooth), Image.fromarray(smooth))
    decoded = decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    assert np.abs(np.asarray(decoded.grey).astype(int) - smooth).max() <= 3
    rgb = np.stack([smooth] * 3, axis=-1)
    ds = with_jpeg(dicom(rgb, PhotometricInterpretation="YBR_FULL_422"), Image.fromarray(rgb))
    decoded = decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    assert np.abs(np.asarray(decoded.rgb).astype(int) - rgb).max() <= 3


def test_a_compressed_image_of_another_size_is_refused(tmp_path):
    """A stream that promises more than the header is not decoded."""
    ds = with_jpeg(dicom(FLAT), Image.fromarray(np.zeros((SIDE, 2 * SIDE), np.uint8)))
    with pytest.raises(OSError, match=r"compressed image has another size than its header says"):
        decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    ds = dicom(FLAT)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.Rows = 32
    with pytest.raises(OSError, match="another size"):
        decode_image(save_dicom(ds, tmp_path / "x.dcm"))


def test_a_stream_without_an_image_is_refused(tmp_path):
    """A compressed frame that is no JPEG is damage."""
    for stream in (b"\xff\xd8\xff\xff\xd9\0\2", b"no jpeg at all", b"\xff\xd8\0"):
        ds = with_stream(dicom(FLAT), stream, JPEGLSLossless)
        with pytest.raises(OSError, match=r"^damaged DICOM file \(\w+\)$"):
            decode_image(save_dicom(ds, tmp_path / "x.dcm"))


MR = [
    *("MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit"),
    *("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded"),
]
OTHERS = {
    "693_J2KI": ("MONOCHROME2", 14, 512, 512),
    "J2K_pixelrep_mismatch": ("MONOCHROME2", 13, 512, 512),
    "JPGExtended": ("MONOCHROME2", 12, 256, 1024),
    "GDCMJ2K_TextGBR": ("YBR_RCT", 8, 400, 400),  # a JP2 file with long boxes in it
    "SC_rgb_jpeg_dcmtk": ("YBR_FULL", 8, 100, 100),
    "SC_ybr_full_422_uncompressed": ("YBR_FULL_422", 8, 100, 100),
    "SC_rgb_small_odd_big_endian": ("RGB", 8, 3, 3),
    "examples_overlay": ("MONOCHROME2", 12, 484, 300),
    "image_dfl": ("MONOCHROME2", 8, 512, 512),
}


def shipped(name: str) -> str:
    return get_testdata_file(f"{name}.dcm", download=False)


@pytest.mark.parametrize("name", MR)
def test_files_of_devices_in_every_encoding(name):
    """One image that pydicom ships in many encodings reads the same from each."""
    expected = np.asarray(decode_image(shipped("MR_small")).grey)
    assert np.ptp(expected) > 200
    np.testing.assert_array_equal(np.asarray(decode_image(shipped(name)).grey), expected)


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_devices(name):
    """What else pydicom ships of single images is read, with contrast."""
    decoded = decode_image(shipped(name))
    header = decoded.header
    assert (header.mode, header.bit_depth, header.width, header.height) == OTHERS[name]
    assert decoded.grey.size == (header.width, header.height)
    assert np.ptp(np.asarray(decoded.grey)) >= 16


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.dcm", "x.DCM", "x.dicom", "x.ima", "IM0001", "x.png"])
def test_dicom_of_any_name(tmp_path, name):
    """A file with DICOM's mark is DICOM under every name."""
    path = save_dicom(dicom(FLAT), tmp_path / name)
    assert read_header(path) == Header("DICOM", "MONOCHROME2", SIDE, SIDE, 8, path.stat().st_size)
    np.testing.assert_array_equal(np.asarray(decode_image(path).grey), FLAT)
    assert looks_like_image(path)


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_dicom_without_preamble_is_known_by_its_suffix(tmp_path, implicit, little):
    """Old files have no mark; .dcm, .dicom and .ima say what they are."""
    ds = dicom(FLAT)
    path = save_bare(ds, tmp_path / "x.dcm", implicit=implicit, little=little)
    np.testing.assert_array_equal(np.asarray(decode_image(path).grey), FLAT)
    path.rename(tmp_path / "x")
    assert not looks_like_image(tmp_path / "x")
    with pytest.raises(OSError, match="not a PNG"):
        decode_image(tmp_path / "x")


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_uncompressed_syntaxes(tmp_path, syntax):
    """Every way of writing the elements is read."""
    ds = dicom(DEEP, bits=12)
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = DEEP.astype(">u2").tobytes()
    path = save_dicom(ds, tmp_path / "x.dcm")
    found = np.asarray(decode_grey(path))
    np.testing.assert_allclose(found, DEEP * (255 / 4095), atol=1e-3)


def test_a_deflated_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    """A small file that inflates to gigabytes is not inflated."""
    ds = dicom(np.zeros((1000, 1000), np.uint8))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save_dicom(ds, tmp_path / "x.dcm")
    assert path.stat().st_size < 10_000
    assert decode_image(path).grey.size == (1000, 1000)
    monkeypatch.setattr(dicom_module, "_INFLATED_BYTES", 2**19)
    with pytest.raises(OSError, match="MiB when inflated"):
        decode_image(path)


def test_a_damaged_deflated_file(tmp_path):
    """Damage to the deflated part is damage to the file."""
    ds = dicom(FLAT)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save_dicom(ds, tmp_path / "x.dcm")
    data = bytearray(path.read_bytes())
    data[-500:-400] = bytes(range(100))
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"^damaged DICOM file \(error\)$"):
        decode_image(path)
    assert zlib.error.__name__ == "error"


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (dicom(FLAT, NumberOfFrames=3), "^holds 3 images; expected one$"),
        (dicom(FLAT, PhotometricInterpretation="PALETTE COLOR"), "other colours than MONOCHROME1"),
        (dicom(FLAT, BitsStored=1), "a DICOM image of 1 bits in 8; expected 8 to 16"),
        (dicom(RAMP.astype(np.uint32)), "a DICOM image of 32 bits in 32; expected 8 to 16"),
        (dicom(FLAT, Rows=SIDE * 2), "^a truncated DICOM file$"),
        (dicom(FLAT, SamplesPerPixel=3, PlanarConfiguration=0, Rows=16), r"^damaged DICOM file \("),
        (dicom(FLAT, PixelRepresentation=None), r"^damaged DICOM file \("),
        (dicom(FLAT, RescaleSlope=0, RescaleIntercept=0), r"^damaged DICOM file \(ValueError\)$"),
        (
            dicom(FLAT, VOILUTFunction="CUBIC", WindowCenter=9, WindowWidth=9),
            r"^damaged DICOM file",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_cannot_be_shown_are_refused(tmp_path, ds, reason):
    """Each error contains the reason, and no value that identifies a patient."""
    with pytest.raises(OSError, match=reason) as caught:
        decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    assert PATIENT not in str(caught.value)


def test_a_dicom_file_without_an_image_raises(tmp_path):
    """Reports and directories are DICOM files too, but contain no pixels."""
    ds = dicom(FLAT)
    del ds.PixelData
    with pytest.raises(OSError, match=r"^a DICOM file without an image$"):
        decode_image(save_dicom(ds, tmp_path / "x.dcm"))
    for name in ("Rows", "Columns", "PhotometricInterpretation"):
        delattr(ds, name)
    for read in (decode_image, read_header):
        with pytest.raises(OSError, match=r"^a DICOM file without an image$"):
            read(save_dicom(ds, tmp_path / "x.dcm"))


def test_text_named_dcm(tmp_path):
    """A text under DICOM's suffix is no image."""
    (tmp_path / "x.dcm").write_text(
        "no image at all, but long enough to be taken for elements\n" * 9
    )
    with pytest.raises(OSError, match="DICOM file"):
        decode_image(tmp_path / "x.dcm")


def test_an_unknown_transfer_syntax(tmp_path):
    """A syntax that nobody knows is not quoted."""
    path = save_dicom(dicom(FLAT), tmp_path / "x.dcm")
    data = path.read_bytes()
    assert data.count(b"1.2.840.10008.1.2.1\0") == 1
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"))
    with pytest.raises(OSError, match=r"^a DICOM file of an unknown transfer syntax$"):
        decode_image(path)


# -- privacy ----------------------------------------------------------------------------------


def test_no_message_warning_or_log_contains_the_identity_of_a_patient(tmp_path, caplog, capfd):
    """Damaged elements that identify a patient are never quoted."""
    caplog.set_level(logging.DEBUG)
    ds = dicom(FLAT)
    path = save_dicom(ds, tmp_path / "x.dcm")
    data = path.read_bytes()
    at = data.index(PATIENT_ID.encode()) - 8
    tried = 0
    for position in range(at, at + 24):
        for value in (0, 0x28, 0xFF, ord("\\")):
            damaged = bytearray(data)
            damaged[position] = value
            path.write_bytes(damaged)
            tried += 1
            try:
                decode_image(path)
            except OSError as error:
                said = str(error) + repr(error.__cause__)
                assert PATIENT not in said
                assert "MRN" not in said
    assert tried == 96
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["Rows", "WindowCenter", "RescaleSlope", "PhotometricInterpretation"]
)
def test_values_of_elements_are_not_quoted(tmp_path, name):
    """A name that slipped into another element does not come out by an error."""
    path = save_bare(
        dicom(FLAT, WindowCenter=9, WindowWidth=9, RescaleSlope=1, RescaleIntercept=0),
        tmp_path / "x.dcm",
        implicit=True,
    )
    with pydicom.config.disable_value_validation():
        ds = pydicom.dcmread(path, force=True)
        ds.add_new(ds[name].tag, "LO", PATIENT)
        ds.save_as(path, implicit_vr=True, little_endian=True)
    with pytest.raises(OSError, match="DICOM") as caught:
        decode_image(path)
    assert PATIENT not in str(caught.value)
    assert "Lovelace" not in repr(caught.value.__cause__)


def test_pydicom_keeps_its_own_log_after_reading(tmp_path, caplog):
    """Silence ends with the reading."""
    decode_image(save_dicom(dicom(FLAT), tmp_path / "x.dcm"))
    logging.getLogger("pydicom").warning("heard")
    assert "heard" in caplog.text


# -- without the extra ------------------------------------------------------------------------


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    """A DICOM file says what to install, and other files are read as ever."""
    path = save_dicom(dicom(FLAT), tmp_path / "x.dcm")
    Image.fromarray(FLAT).save(tmp_path / "x.png")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for read in (decode_image, read_header):
        with pytest.raises(OSError, match=r"pip install 'cxr-sklearn\[dicom\]'$"):
            read(path)
    assert decode_image(tmp_path / "x.png").header.format == "PNG"
    assert looks_like_image(path)


def test_without_a_decoder_the_extra_is_named(tmp_path, monkeypatch):
    """A compressed file whose decoder is missing says what to install."""
    ds = dicom(FLAT)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    path = save_dicom(ds, tmp_path / "x.dcm")
    decoder = type(pydicom.pixels.get_decoder(JPEG2000Lossless))
    monkeypatch.setattr(decoder, "is_available", False)
    assert read_header(path).format == "DICOM"
    with pytest.raises(OSError, match=r"its decoder is not installed\. Run pip install"):
        decode_image(path)


def test_memory_that_is_short_is_a_reason(tmp_path, monkeypatch):
    """A DICOM image too large for the memory is a bad file like any other."""
    path = save_dicom(dicom(FLAT), tmp_path / "x.dcm")

    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(pydicom.pixels, "pixel_array", fail)
    with pytest.raises(OSError, match=r"^needs more memory than there is$"):
        decode_image(path)


def test_a_file_object_is_left_at_its_beginning(tmp_path):
    """What reads a header leaves the file as it was."""
    data = save_dicom(dicom(FLAT), tmp_path / "x.dcm").read_bytes()
    file = io.BytesIO(data)
    dicom_module.read_info(file, force=False)
    assert file.tell() == 0
