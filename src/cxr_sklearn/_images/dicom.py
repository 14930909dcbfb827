"""DICOM files to grey levels, by pydicom.

What pydicom raises may quote a patient's name or number. No such text passes: callers get the
kind of the error.
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

# only these are read; none of them names a person, an institution or a device
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
_INFLATED_BYTES = 2**28  # more than 40 million pixels of three channels and 16 bits take


@dataclass(frozen=True)
class DicomInfo:
    """What the header of a DICOM file says of its image."""

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
        At its beginning, where it is left.
    force : bool
        Whether a file without DICOM's mark is one too.

    Returns
    -------
    DicomInfo

    Raises
    ------
    OSError
        If pydicom is not installed, or the file holds no image that can be read.
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
    """Read the pixels of a DICOM file as they are to be shown.

    Parameters
    ----------
    file : file object
        At its beginning.
    force : bool
        Whether a file without DICOM's mark is one too.
    check : callable
        Is given what the header says, before any room is made for pixels; raises if that will not
        do.

    Returns
    -------
    checked
        What `check` returned.
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
            scaled = stored if top == 255 else np.rint(stored.clip(0, top) * (255 / top))
            return checked, scaled.astype(np.uint8)
        unsigned = stored.view(f"u{stored.dtype.itemsize}")
        return checked, _shown(dataset, unsigned).take(unsigned)


@contextmanager
def _kind_only() -> Iterator[None]:
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
            "a DICOM file, and pydicom is not installed: pip install 'cxr-sklearn[dicom]'"
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
    return uid.ExplicitVRLittleEndian if is_little_endian else uid.ExplicitVRBigEndian


def _check_deflated(file: BinaryIO) -> None:
    """Refuse a deflated file that would fill the memory, before pydicom inflates it at once."""
    head = file.read(1024)
    file.seek(0)
    if _DEFLATED not in head:
        return
    with _kind_only():
        (meta_length,) = struct.unpack_from("<L", head, 140)
        file.seek(144 + meta_length)
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
    """Decode the pixels, checking before how many there are."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except Exception:
        raise OSError("a DICOM file of an unknown transfer syntax") from None
    if not decoder.is_available:
        raise OSError(
            "a compressed DICOM file, and its decoder is not installed: "
            "pip install 'cxr-sklearn[dicom]'"
        )
    # the photometric interpretation implies it, and some devices leave it empty
    is_colour = dataset.PhotometricInterpretation in _COLOUR
    if dataset.get("SamplesPerPixel") in (None, ""):
        dataset.SamplesPerPixel = 3 if is_colour else 1
    _check_pixel_data(dataset, syntax)
    with _kind_only():
        # of values in unused bits this module knows more: see _shown
        options = {} if syntax.is_encapsulated else {"correct_unused_bits": False}
        values = pixel_array(dataset, **options)
        if values.ndim != 2 + is_colour or values.dtype.itemsize > 2:
            raise ValueError
        # of big-endian files the array is too
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _check_pixel_data(dataset: Any, syntax: Any) -> None:
    """Refuse pixel data of another size than the header's, which a decoder would make room for."""
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


# starts of frame of JPEG and JPEG-LS, all but the tables and reserved ones among C0 to CF
_FRAME_STARTS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def _codestream_size(data: bytes) -> tuple[int, int]:
    """Return the width and height in a JPEG, JPEG-LS or JPEG 2000 codestream."""
    if not data.startswith(b"\xff\xd8"):  # JPEG 2000, maybe behind the boxes of a JP2 file
        start = data.index(b"\xff\x4f\xff\x51")
        right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
        return right - left, bottom - top
    position = 2
    while data[position] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker in _FRAME_STARTS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 1 if marker == 0xFF else 2 + length  # any number of FF may precede a marker
    raise ValueError


# -- grey levels ----------------------------------------------------------------------------------
def _shown(dataset: Any, unsigned: np.ndarray) -> np.ndarray:
    """Return the grey level, 0 to 255, of every value that a pixel of an image can have.

    All steps that a header requires map single values, so they are applied to a table of values.
    """
    bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    allocated = 8 * unsigned.dtype.itemsize
    # outside compressed data the bits in use may lie higher, and overlays may lie in the rest
    syntax = dataset.file_meta.TransferSyntaxUID
    shift = 0 if syntax.is_encapsulated else int(dataset.get("HighBit") or bits - 1) + 1 - bits
    fits = shift <= 0 and unsigned.max(initial=0) < 2**bits  # most of 2**16 values never occur
    raw = np.arange(2**bits if fits else 2**allocated)
    stored = (raw >> max(0, shift)) & (2**bits - 1)
    if is_signed:
        raw = raw - ((raw >> (allocated - 1)) << allocated)
        stored = stored - ((stored >> (bits - 1)) << bits)
    shown = _windowed(dataset, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    if (padding := dataset.get("PixelPaddingValue")) is not None:
        limit = dataset.get("PixelPaddingRangeLimit")
        low, high = sorted((int(padding), int(padding if limit is None else limit)))
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
        # pydicom counts the entries of a table of 8 bits by 8 bits, and others by 16
        item.LUTDescriptor = [n_entries, first, max(bits, 16)]
        last = first + (n_entries or 2**16) - 1
        values = apply_voi_lut(np.rint(values).clip(first, last).astype(np.int64), dataset)
        bottom, top = 0, 2 ** int(bits) - 1
    elif "WindowWidth" in dataset:
        values = apply_voi_lut(values, dataset)  # from `bottom`, which a negative slope puts above
    else:
        bottom, top = min(bottom, top), max(bottom, top)
    shown = (values - np.float64(bottom)) / (np.float64(top) - bottom)
    if not np.isfinite(shown).all():
        raise ValueError
    return shown


def _take_first_of(*names: str, dataset: Any) -> None:
    """Reduce two elements to their first values that form a pair; remove both if there is none.

    Devices write alternatives, some of which are empty.
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
    """Remove what pydicom cannot apply: empty elements, halves of pairs, windows without width."""
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        items = dataset.get(name)
        if not items or not (items[0].get("LUTDescriptor") and items[0].get("LUTData")):
            dataset.pop(name, None)
    _take_first_of("RescaleSlope", "RescaleIntercept", dataset=dataset)
    _take_first_of("WindowCenter", "WindowWidth", dataset=dataset)
    if not dataset.get("VOILUTFunction"):
        dataset.VOILUTFunction = "LINEAR"
    narrowest = 1 if dataset.VOILUTFunction == "LINEAR" else 1e-9
    if dataset.get("WindowWidth", 0) < narrowest:
        dataset.pop("WindowWidth", None)
        dataset.pop("WindowCenter", None)
    if "ModalityLUTSequence" in dataset:
        dataset.pop("RescaleSlope", None)
