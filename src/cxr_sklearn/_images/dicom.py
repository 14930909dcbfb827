"""Convert DICOM files to grey levels, with pydicom.

The errors of pydicom may quote the name or the number of a patient. Their text is therefore never
passed on: callers get only the type of the error.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import numpy as np

T = TypeVar("T")

# Only these elements are read. None of them identifies a person, an institution or a device.
_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
# 40 million pixels of three channels and 16 bits take less than this.
_INFLATED_BYTES = 2**28


@dataclass(frozen=True)
class DicomInfo:
    """Properties of an image that the header of its DICOM file states."""

    photometric: str
    width: int
    height: int
    bits: int
    n_frames: int


def read_info(file: BinaryIO, *, force: bool) -> DicomInfo:
    """Read the header of a DICOM file, up to its pixels.

    Parameters
    ----------
    file : file object
        At its beginning, to which it returns.
    force : bool
        Whether to read a file as DICOM that does not have the letters ``DICM``.

    Returns
    -------
    DicomInfo

    Raises
    ------
    OSError
        If pydicom is not installed, or the file contains no image that can be read.
    """
    return _info(_read(file, stop_before_pixels=True, force=force))


def _info(dataset: Any) -> DicomInfo:
    with _kind_only():
        photometric = str(dataset.get("PhotometricInterpretation") or "")
        height, width = (int(dataset.get(name) or 0) for name in ("Rows", "Columns"))
        allocated, stored = (int(dataset.get(n) or 0) for n in ("BitsAllocated", "BitsStored"))
        n_frames = int(dataset.get("NumberOfFrames") or 1)
    if not photometric and not height:
        raise OSError("a DICOM file without an image")
    if photometric not in _GREY + _COLOUR:
        raise OSError("a DICOM image of other colours than MONOCHROME1, MONOCHROME2, RGB and YBR")
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise OSError(f"a DICOM image of {stored} bits in {allocated}; expected 8 to 16")
    return DicomInfo(photometric, width, height, stored, n_frames)


def read_pixels(
    file: BinaryIO, *, force: bool, check: Callable[[DicomInfo], T]
) -> tuple[T, np.ndarray]:
    """Read the pixels of a DICOM file as a viewer would show them.

    Parameters
    ----------
    file : file object
        At its beginning.
    force : bool
        As in :func:`read_info`.
    check : callable
        Function that gets the properties in the header before memory is allocated for the pixels.
        It raises OSError if the image is not acceptable.

    Returns
    -------
    checked
        The result of `check`.
    pixels : ndarray of shape (height, width), dtype float32, or (height, width, 3), dtype uint8
        From 0 (black) to 255.

    Raises
    ------
    OSError
        If pydicom is not installed, or the pixels cannot be decoded.
    """
    dataset = _read(file, stop_before_pixels=False, force=force)
    checked = check(_info(dataset))
    if "PixelData" not in dataset:
        raise OSError("a DICOM file without an image")
    stored = _stored_values(dataset)
    with _kind_only():
        if dataset.PhotometricInterpretation in _COLOUR:
            top = 2 ** int(dataset.BitsStored) - 1
            if top != 255:
                stored = np.rint(stored.clip(0, top) * (255 / top))
            return checked, stored.astype(np.uint8)
        # Values are interpreted as unsigned, so that they are indices of a table.
        unsigned = stored.view(f"u{stored.dtype.itemsize}")
        return checked, _table_of_levels(dataset, unsigned).take(unsigned)


@contextmanager
def _kind_only() -> Iterator[None]:
    """Replace any error by one that contains only its type, and no value of the file."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise OSError(f"damaged DICOM file ({type(error).__name__})") from None


# -- the file -------------------------------------------------------------------------------------
def _read(file: BinaryIO, *, stop_before_pixels: bool, force: bool) -> Any:
    try:
        import pydicom
    except ImportError:
        raise OSError(
            "a DICOM file, and pydicom is not installed. Run pip install 'cxr-sklearn[dicom]'"
        ) from None
    _check_deflated(file)
    with _kind_only():
        dataset = pydicom.dcmread(
            file, stop_before_pixels=stop_before_pixels, force=force, specific_tags=list(_TAGS)
        )
        file.seek(0)
        if not dataset.file_meta.get("TransferSyntaxUID"):
            dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    return dataset


def _guessed_syntax(dataset: Any) -> Any:
    """Return the transfer syntax that pydicom has found to fit a file that does not name it."""
    from pydicom import uid

    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return uid.ImplicitVRLittleEndian
    if is_little_endian:
        return uid.ExplicitVRLittleEndian
    return uid.ExplicitVRBigEndian


def _check_deflated(file: BinaryIO) -> None:
    """Refuse a deflated file that would fill the memory, before pydicom inflates it at once."""
    head = file.read(1024)
    file.seek(0)
    if _DEFLATED not in head:
        return
    with _kind_only():
        (meta_length,) = struct.unpack_from("<L", head, 140)
        file.seek(144 + meta_length)
        # The data are inflated in small blocks that are discarded, only to measure their size.
        inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflater.eof and (block := inflater.unconsumed_tail or file.read(2**16)):
            total += len(inflater.decompress(block, 2**20))
            if total > _INFLATED_BYTES:
                break
        file.seek(0)
    if total > _INFLATED_BYTES:
        raise OSError(f"a DICOM file of more than {_INFLATED_BYTES // 2**20} MiB when inflated")


# -- stored values --------------------------------------------------------------------------------
def _stored_values(dataset: Any) -> np.ndarray:
    """Decode the pixels after a check of their number."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except Exception:
        raise OSError("a DICOM file of an unknown transfer syntax") from None
    if not decoder.is_available:
        raise OSError(
            "a compressed DICOM file, and its decoder is not installed. Run pip install "
            "'cxr-sklearn[dicom]'"
        )
    # Some devices leave the number of samples empty, but it follows from the colour space.
    is_colour = dataset.PhotometricInterpretation in _COLOUR
    if dataset.get("SamplesPerPixel") in (None, ""):
        dataset.SamplesPerPixel = 3 if is_colour else 1
    _check_pixel_data(dataset, syntax)
    with _kind_only():
        # Unused bits are removed in _table_of_levels, which also handles overlays in them.
        options = {}
        if not syntax.is_encapsulated:
            options["correct_unused_bits"] = False
        values = pixel_array(dataset, **options)
        if values.ndim != 2 + is_colour or values.dtype.itemsize > 2:
            raise ValueError
        # The array of a big-endian file is big-endian too.
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _check_pixel_data(dataset: Any, syntax: Any) -> None:
    """Refuse pixel data of another size than the header states.

    A decoder would allocate memory for the size in the compressed data, which may be very large.
    """
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_expected_length

    expected = size = (int(dataset.Columns), int(dataset.Rows))
    is_whole = True
    with _kind_only():
        if not syntax.is_encapsulated:
            is_whole = len(dataset.PixelData) >= get_expected_length(dataset)
        elif syntax.name.startswith(("JPEG", "High-Throughput JPEG")):
            size = _codestream_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if not is_whole:
        raise OSError("a truncated DICOM file")
    if size != expected:
        raise OSError("a DICOM file whose compressed image has another size than its header says")


# Markers that begin a frame of JPEG or JPEG-LS. C4, C8 and CC have other meanings.
_FRAME_STARTS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def _codestream_size(data: bytes) -> tuple[int, int]:
    """Return the width and height in a JPEG, JPEG-LS or JPEG 2000 codestream."""
    # Data without the first marker of JPEG are JPEG 2000, perhaps after the boxes of a JP2 file.
    if not data.startswith(b"\xff\xd8"):
        start = data.index(b"\xff\x4f\xff\x51")
        right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
        return right - left, bottom - top
    position = 2
    while data[position] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker in _FRAME_STARTS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        # Any number of bytes FF may precede a marker.
        if marker == 0xFF:
            position += 1
        else:
            position += 2 + length
    raise ValueError


# -- grey levels ----------------------------------------------------------------------------------
def _table_of_levels(dataset: Any, unsigned: np.ndarray) -> np.ndarray:
    """Return the grey level, 0 to 255, of every value that a pixel of an image can have.

    All steps that a header requires map single values, so they are applied to a table of values.
    """
    bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    allocated = 8 * unsigned.dtype.itemsize
    # In uncompressed data the used bits may be higher ones, and the others may contain overlays.
    shift = 0
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        shift = int(dataset.get("HighBit") or bits - 1) + 1 - bits
    # The table is small if no value has an unused bit, since most of 2**16 values never occur.
    n_values = 2**allocated
    if shift <= 0 and unsigned.max(initial=0) < 2**bits:
        n_values = 2**bits
    raw = np.arange(n_values)
    stored = (raw >> max(0, shift)) & (2**bits - 1)
    if is_signed:
        raw = raw - ((raw >> (allocated - 1)) << allocated)
        stored = stored - ((stored >> (bits - 1)) << bits)
    shown = _windowed(dataset, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    if (padding := dataset.get("PixelPaddingValue")) is not None:
        limit = dataset.get("PixelPaddingRangeLimit")
        if limit is None:
            limit = padding
        low, high = sorted((int(padding), int(limit)))
        # The padding value is compared with the values both with and without unused bits.
        for values in (raw, stored):
            shown[(values >= low) & (values <= high)] = 0
    return (255 * shown.clip(0, 1)).astype(np.float32)


def _windowed(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Apply the modality LUT or rescale and the VOI LUT or window; return values in [0, 1]."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    _drop_useless(dataset)
    values = apply_modality_lut(stored, dataset)
    if "ModalityLUTSequence" in dataset:
        bottom, top = 0, 2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    else:
        bottom, top = values[stored.argmin()], values[stored.argmax()]
    if "VOILUTSequence" in dataset:
        item = dataset.VOILUTSequence[0]
        n_entries, first, bits = item.LUTDescriptor
        # pydicom would read entries with 8 bits from single bytes. Here they take two bytes.
        item.LUTDescriptor = [n_entries, first, max(bits, 16)]
        last = first + (n_entries or 2**16) - 1
        values = apply_voi_lut(np.rint(values).clip(first, last).astype(np.int64), dataset)
        bottom, top = 0, 2 ** int(bits) - 1
    elif "WindowWidth" in dataset:
        # The result of a window begins at `bottom`, which a negative slope makes the larger one.
        values = apply_voi_lut(values, dataset)
    else:
        bottom, top = min(bottom, top), max(bottom, top)
    shown = (values - np.float64(bottom)) / (np.float64(top) - bottom)
    if not np.isfinite(shown).all():
        raise ValueError
    return shown


def _take_first_of(*names: str, dataset: Any) -> None:
    """Reduce two elements to their first values that form a pair, or remove both elements.

    Devices write several alternatives, and some of these are empty.
    """
    values = [np.ravel(np.array(dataset.get(name), dtype=object)) for name in names]
    for pair in zip(*values, strict=False):
        if not any(value in (None, "") for value in pair):
            for name, value in zip(names, pair, strict=True):
                dataset[name].value = value
            return
    for name in names:
        dataset.pop(name, None)


def _drop_useless(dataset: Any) -> None:
    """Remove elements that pydicom cannot apply: empty ones, half pairs, windows without width."""
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        items = dataset.get(name)
        if not items or not (items[0].get("LUTDescriptor") and items[0].get("LUTData")):
            dataset.pop(name, None)
    _take_first_of("RescaleSlope", "RescaleIntercept", dataset=dataset)
    _take_first_of("WindowCenter", "WindowWidth", dataset=dataset)
    if not dataset.get("VOILUTFunction"):
        dataset.VOILUTFunction = "LINEAR"
    # The formula of the linear function divides by the width minus 1.
    narrowest = 1 if dataset.VOILUTFunction == "LINEAR" else 1e-9
    if dataset.get("WindowWidth", 0) < narrowest:
        dataset.pop("WindowWidth", None)
        dataset.pop("WindowCenter", None)
    # A file must not have both a table and a slope. If it does, the table is used.
    if "ModalityLUTSequence" in dataset:
        dataset.pop("RescaleSlope", None)
