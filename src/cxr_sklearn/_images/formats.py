"""Formats of image files: recognise a file, open it, and refuse what cannot be used."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .._utils.messages import one_line
from .._utils.quiet import quiet

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *DICOM_SUFFIXES)

# The largest radiographs have some 25 million pixels: of 43 cm at 0.1 mm 18 million, mammograms of
# 30 cm at 0.05 mm 28 million. Formats that decode slowly take 1 GiB and 20 s at the limit.
MAX_PIXELS = 40_000_000
_HEAD = 132  # bytes up to the end of DICOM's mark
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,  # of a multi-picture JPEG it takes the first, as viewers do
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
}
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"BM": "BMP",
}


def looks_like_image(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is to be read as an image, by its suffix, or for DICOM by its content.

    Parameters
    ----------
    path : str or path
        A file. It is opened only if its suffix is not one of `IMAGE_SUFFIXES`.

    Returns
    -------
    bool
    """
    if _suffix(path) in IMAGE_SUFFIXES:
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return _is_dicom(file.read(_HEAD))
    except (OSError, ValueError):  # a null byte in a path is a ValueError
        return False


# -- opening --------------------------------------------------------------------------------------
@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str, int]]:
    """Open a file, and turn whatever a decoder raises in the block into an OSError."""
    try:
        with quiet():
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                raise OSError("a folder, not a file")
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
                raise OSError("a device or pipe, not a file")
            if status.st_size == 0:
                raise OSError("an empty file")
            with open(path, "rb") as file:
                kind = _format(file.read(_HEAD), path)
                file.seek(0)
                yield file, kind, status.st_size
    except MemoryError:
        raise OSError("needs more memory than there is") from None
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error)
        if not isinstance(error, OSError):
            name = type(error).__name__
            text = f"damaged: {text}" if isinstance(error, (SyntaxError, ValueError)) else name
        raise OSError(one_line(text)[:200] or type(error).__name__) from None


def _format(head: bytes, path: str | os.PathLike[str]) -> str:
    if _is_dicom(head):
        return "DICOM"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if _suffix(path) in DICOM_SUFFIXES:  # old ones have no preamble
        return "DICOM"
    raise OSError("not a PNG, JPEG, TIFF, BMP, WebP or DICOM image")


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _suffix(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fsdecode(path))[1].lower()


def _open(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    """Open an image, by its class: Image.open would apply the process's MAX_IMAGE_PIXELS."""
    if kind == "WEBP":  # its class makes room for the pixels
        _check(*_webp_size(file.read(30)), 1)
        file.seek(0)
    return _PLUGINS[kind](file)


def _check(width: int, height: int, n_images: int) -> None:
    if n_images != 1:
        raise OSError(f"holds {n_images} images; expected one")
    if width < 1 or height < 1:
        raise OSError(f"an image of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise OSError(
            f"an image of {width} x {height} pixels; expected {MAX_PIXELS // 10**6} million or "
            "less: save a smaller copy"
        )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return the width and height in the first 30 bytes of a WebP file."""

    def number(start: int, stop: int) -> int:
        return int.from_bytes(head[start:stop], "little")

    if head[12:16] == b"VP8X":
        return number(24, 27) + 1, number(27, 30) + 1
    if head[12:16] == b"VP8L":
        bits = number(21, 25)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF
