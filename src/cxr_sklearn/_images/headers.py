"""Read the headers of image files without decoding the pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from . import dicom
from .formats import DICOM_SUFFIXES, _check, _open, _opened, _suffix


@dataclass(frozen=True)
class Header:
    """Properties of an image that its file states.

    Parameters
    ----------
    format : {"PNG", "JPEG", "TIFF", "BMP", "WEBP", "DICOM"}
        Recognised by the content of the file, not by its name.
    mode : str
        Pillow's mode, or DICOM's photometric interpretation.
    width, height : int
        Pixels, before the orientation in the EXIF data is applied.
    bit_depth : int
        Bits per channel.
    n_bytes : int
        Size of the file.
    """

    format: str
    mode: str
    width: int
    height: int
    bit_depth: int
    n_bytes: int


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of an image file, without decoding its pixels.

    Parameters
    ----------
    path : str or path
        As in :func:`~cxr_sklearn._images.decode.decode_image`.

    Returns
    -------
    Header

    Raises
    ------
    OSError
        If the header shows that `decode_image` cannot read the file.
    """
    with _opened(path) as (file, kind, n_bytes):
        if kind == "DICOM":
            return _dicom_header(file, n_bytes, path)
        image = _open(file, kind)
        return _image_header(image, file, kind, n_bytes)


# -- headers --------------------------------------------------------------------------------------
def _image_header(image: ImageFile.ImageFile, file: BinaryIO, kind: str, n_bytes: int) -> Header:
    width, height = image.size
    # For TIFF files, Pillow returns the size after rotation. These tags contain the size before.
    if isinstance(image, TiffImageFile):
        width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
    _check(width, height, 1)
    # A multi-picture JPEG is accepted: Pillow reads its first image, as other viewers do.
    if getattr(image, "is_animated", False) and kind != "JPEG":
        _check(width, height, image.n_frames)  # type: ignore[attr-defined]
    return Header(kind, image.mode, width, height, _bit_depth(image, file), n_bytes)


def _bit_depth(image: ImageFile.ImageFile, file: BinaryIO) -> int:
    """Return the number of bits per channel.

    Pillow's mode does not contain it: images of 2, 4 and 8 bits may all have the mode "L".
    """
    if isinstance(image, JpegImageFile):
        return image.bits
    if isinstance(image, TiffImageFile):
        # Each channel may have a number of bits of its own. The default of the format is 1.
        return int(np.max(image.tag_v2.get(258, 1)))
    # Pillow does not provide these bits of PNG and BMP, so they are read from the file.
    position = file.tell()
    file.seek(0)
    head = file.read(30)
    file.seek(position)
    if isinstance(image, PngImageFile):
        return head[24]
    if isinstance(image, BmpImageFile):
        # A header of 12 bytes is the short one of OS/2, in which the field is at another place.
        field = head[28:30]
        if int.from_bytes(head[14:18], "little") == 12:
            field = head[24:26]
        bits = int.from_bytes(field, "little")
        # Up to 8 bits, the image is grey or has a palette. Above, three channels share the bits.
        if bits <= 8:
            return bits
        return min(8, bits // 3)
    return 8


def _dicom_header(file: BinaryIO, n_bytes: int, path: str | os.PathLike[str]) -> Header:
    return _header_of(dicom.read_info(file, force=_suffix(path) in DICOM_SUFFIXES), n_bytes)


def _header_of(info: dicom.DicomInfo, n_bytes: int) -> Header:
    _check(info.width, info.height, info.n_frames)
    return Header("DICOM", info.photometric, info.width, info.height, info.bits, n_bytes)
