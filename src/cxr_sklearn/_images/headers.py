"""Headers of image files, read without decoding the pixels."""

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
    """What a file says of its image.

    Parameters
    ----------
    format : {"PNG", "JPEG", "TIFF", "BMP", "WEBP", "DICOM"}
        By the content, whatever the file's name says.
    mode : str
        Pillow's mode, or DICOM's photometric interpretation.
    width, height : int
        Pixels, before EXIF's rotation.
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
    """Read what a file says of its image, without decoding its pixels.

    Parameters
    ----------
    path : str or path
        As for `decode_image`.

    Returns
    -------
    Header

    Raises
    ------
    OSError
        If the file, by its header, is not an image that `decode_image` reads.
    """
    with _opened(path) as (file, kind, n_bytes):
        if kind == "DICOM":
            return _dicom_header(file, n_bytes, path)
        image = _open(file, kind)
        return _image_header(image, file, kind, n_bytes)


# -- headers --------------------------------------------------------------------------------------
def _image_header(image: ImageFile.ImageFile, file: BinaryIO, kind: str, n_bytes: int) -> Header:
    width, height = image.size
    if isinstance(image, TiffImageFile):  # Pillow gives the size after rotation
        width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
    _check(width, height, 1)
    if getattr(image, "is_animated", False) and kind != "JPEG":
        _check(width, height, image.n_frames)  # type: ignore[attr-defined]
    return Header(kind, image.mode, width, height, _bit_depth(image, file), n_bytes)


def _bit_depth(image: ImageFile.ImageFile, file: BinaryIO) -> int:
    """Return the bits per channel, which Pillow's mode tells for neither few nor many bits."""
    if isinstance(image, JpegImageFile):
        return image.bits
    if isinstance(image, TiffImageFile):
        return int(np.max(image.tag_v2.get(258, 1)))
    position = file.tell()
    file.seek(0)
    head = file.read(30)
    file.seek(position)
    if isinstance(image, PngImageFile):
        return head[24]
    if isinstance(image, BmpImageFile):
        old = int.from_bytes(head[14:18], "little") == 12  # OS/2's header
        bits = int.from_bytes(head[24:26] if old else head[28:30], "little")
        return bits if bits <= 8 else min(8, bits // 3)
    return 8


def _dicom_header(file: BinaryIO, n_bytes: int, path: str | os.PathLike[str]) -> Header:
    return _header_of(dicom.read_info(file, force=_suffix(path) in DICOM_SUFFIXES), n_bytes)


def _header_of(info: dicom.DicomInfo, n_bytes: int) -> Header:
    _check(info.width, info.height, info.n_frames)
    return Header("DICOM", info.photometric, info.width, info.height, info.bits, n_bytes)
