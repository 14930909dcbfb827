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

# The largest chest radiographs have 18 million pixels (43 cm at 0.1 mm), and mammograms 29 million.
# At this limit, the slowest formats take 1 GiB of memory and 20 s.
MAX_PIXELS = 40_000_000
# Number of bytes up to the end of the mark of DICOM.
_HEAD = 132
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    # This class reads the first image of a multi-picture JPEG, as viewers do.
    "JPEG": JpegImageFile,
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
    """Return whether to read a file as an image, by its suffix or the mark of DICOM in it.

    Parameters
    ----------
    path : str or path
        File, which is opened only if its suffix is not one of `IMAGE_SUFFIXES`.

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
    except (OSError, ValueError):
        # A path with a null byte raises a ValueError.
        return False


# -- opening --------------------------------------------------------------------------------------
@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str, int]]:
    """Open a file, and convert any error of a decoder in the block to an OSError."""
    try:
        with quiet():
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                raise OSError("a folder, not a file")
            # Opening a named pipe would wait for a writer, perhaps for ever.
            if not stat.S_ISREG(status.st_mode):
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
        # Decoders raise errors of many types for damaged files. Only some have a helpful text.
        if not isinstance(error, OSError):
            name = type(error).__name__
            text = f"damaged: {text}" if isinstance(error, (SyntaxError, ValueError)) else name
        raise OSError(one_line(text)[:200] or type(error).__name__) from None


def _format(head: bytes, path: str | os.PathLike[str]) -> str:
    """Return the format of a file from its first bytes."""
    if _is_dicom(head):
        return "DICOM"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    # The oldest DICOM files have no mark, so their suffix is used.
    if _suffix(path) in DICOM_SUFFIXES:
        return "DICOM"
    raise OSError("not a PNG, JPEG, TIFF, BMP, WebP or DICOM image")


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _suffix(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fsdecode(path))[1].lower()


def _open(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    """Open an image with the class of its format.

    ``PIL.Image.open`` would apply ``MAX_IMAGE_PIXELS``, which other code may have changed.
    """
    # Pillow allocates memory for the pixels of WebP files as soon as it opens them.
    if kind == "WEBP":
        _check(*_webp_size(file.read(30)), 1)
        file.seek(0)
    return _PLUGINS[kind](file)


def _check(width: int, height: int, n_images: int) -> None:
    """Refuse files without an image, with several images, or with too large an image."""
    if n_images != 1:
        raise OSError(f"holds {n_images} images; expected one")
    if width < 1 or height < 1:
        raise OSError(f"an image of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise OSError(
            f"an image of {width} x {height} pixels; expected {MAX_PIXELS // 10**6} million or "
            "less. Save a smaller copy"
        )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return the width and height in the first 30 bytes of a WebP file."""

    def number(start: int, stop: int) -> int:
        return int.from_bytes(head[start:stop], "little")

    # Each of the three kinds of WebP has a header of its own. Some store the size minus 1.
    if head[12:16] == b"VP8X":
        return number(24, 27) + 1, number(27, 30) + 1
    if head[12:16] == b"VP8L":
        bits = number(21, 25)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF
