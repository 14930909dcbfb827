"""Files of X-rays to pictures: which formats, how grey levels are scaled, why a file is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from . import _dicom
from ._quiet import quiet

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *DICOM_SUFFIXES)

# The largest radiographs have some 25 million pixels: of 43 cm at 0.1 mm 18 million, mammograms of
# 30 cm at 0.05 mm 28 million. Formats that decode slowly take 1 GiB and 20 s at the limit.
MAX_PIXELS = 40_000_000

_WHOLE_BYTES = 2**26  # nearly all DICOM films have less
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


@dataclass(frozen=True)
class Film:
    """A decoded image.

    Parameters
    ----------
    header : Header
        What the file says of it.
    grey : PIL.Image.Image
        Of mode "L", upright, full size.
    rgb : PIL.Image.Image or None
        Of mode "RGB", upright, full size; None where the file has no colours.
    """

    header: Header
    grey: Image.Image
    rgb: Image.Image | None


def read_film(path: str | os.PathLike) -> Film:
    """Read one file at full size.

    Parameters
    ----------
    path : str or path
        A PNG, JPEG, TIFF, BMP, WebP or DICOM file.

    Returns
    -------
    Film

    Raises
    ------
    OSError
        With the reason, and without the path: callers name every bad file at once.
    """
    header, plane, rgb = _decode(path, colour=True)
    return Film(header, to_bytes(plane), rgb)


def read_plane(path: str | os.PathLike) -> Image.Image:
    """Read one file in shades of grey.

    Parameters
    ----------
    path : str or path
        As for `read_film`.

    Returns
    -------
    PIL.Image.Image
        Upright. Of mode "L", or where the file has more than 8 bits of mode "F" with values from
        0 to 255, so that what resizes them rounds last.

    Raises
    ------
    OSError
        As `read_film` does.
    """
    return _decode(path, colour=False)[1]


def read_header(path: str | os.PathLike) -> Header:
    """Read what a file says of its image, without decoding its pixels.

    Parameters
    ----------
    path : str or path
        As for `read_film`.

    Returns
    -------
    Header

    Raises
    ------
    OSError
        If the file is no image that `read_film` takes, as far as its header tells.
    """
    with _opened(path) as (file, kind, n_bytes):
        if kind == "DICOM":
            return _dicom_header(file, n_bytes, path)
        image = _open(file, kind)
        return _image_header(image, file, kind, n_bytes)


def looks_like_image(path: str | os.PathLike) -> bool:
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


def to_bytes(plane: Image.Image) -> Image.Image:
    """Round an image of mode "F" with values from 0 to 255 to one of mode "L"."""
    if plane.mode == "L":
        return plane
    return Image.fromarray(np.rint(np.asarray(plane)).clip(0, 255).astype(np.uint8))


def one_line(text: str) -> str:
    r"""Write what would break a line, or could not be printed, as Python's escapes.

    Examples
    --------
    >>> one_line("a\nb\udcff")
    'a\\nb\\udcff'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


# -- opening --------------------------------------------------------------------------------------


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, str, int]]:
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


def _format(head: bytes, path: str | os.PathLike) -> str:
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


def _suffix(path: str | os.PathLike) -> str:
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


def _dicom_header(file: BinaryIO, n_bytes: int, path: str | os.PathLike) -> Header:
    return _header_of(_dicom.read_info(file, force=_suffix(path) in DICOM_SUFFIXES), n_bytes)


def _header_of(info: _dicom.DicomInfo, n_bytes: int) -> Header:
    _check(info.width, info.height, info.n_frames)
    return Header("DICOM", info.photometric, info.width, info.height, info.bits, n_bytes)


# -- pixels ---------------------------------------------------------------------------------------


def _decode(
    path: str | os.PathLike, colour: bool
) -> tuple[Header, Image.Image, Image.Image | None]:
    """Return the header, the grey image (of mode "L" or "F"), and where asked for the colours."""
    with _opened(path) as (file, kind, n_bytes):
        if kind == "DICOM":
            header, picture = _dicom_picture(file, n_bytes, path)
            return header, *_split(picture, colour)
        image = _open(file, kind)
        header = _image_header(image, file, kind, n_bytes)
        image.load()
        picture = _picture(image)
        turn = None if kind == "TIFF" else _orientation(image)  # Pillow turns TIFF on its own
        plane, rgb = _split(picture, colour)
        if turn is None:
            return header, plane, rgb
        return header, plane.transpose(turn), None if rgb is None else rgb.transpose(turn)


def _dicom_picture(
    file: BinaryIO, n_bytes: int, path: str | os.PathLike
) -> tuple[Header, Image.Image]:
    if n_bytes > _WHOLE_BYTES:  # parsed twice, rather than read whole and then refused
        _dicom_header(file, n_bytes, path)
    header, pixels = _dicom.read_pixels(
        file,
        force=_suffix(path) in DICOM_SUFFIXES,
        check=lambda info: _header_of(info, n_bytes),
    )
    return header, Image.fromarray(pixels)


def _split(picture: Image.Image, colour: bool) -> tuple[Image.Image, Image.Image | None]:
    if picture.mode in ("L", "F"):
        return picture, None
    is_grey = picture.mode in ("1", "LA", "La")
    return picture.convert("L"), picture.convert("RGB") if colour and not is_grey else None


def _picture(image: ImageFile.ImageFile) -> Image.Image:
    """Return the image without its transparency, of mode "F" if it has more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scale_deep(image))
    if not image.has_transparency_data:
        return image
    is_grey = image.mode in ("1", "L", "LA", "La")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")  # a copy takes much memory
    layer = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), layer)
    return layer.convert("L" if is_grey else "RGB")


def _scale_deep(image: Image.Image) -> np.ndarray:
    """Return float32 grey levels from 0 to 255 of an image with more than 8 bits.

    They are scaled by the smallest maximum of 12, 14 or 16 bits that holds them: films of 12 bits
    come in files of 16, and would be nearly black. Of floats the maximum may be 1 or 255 too.
    """
    values = np.asarray(image)
    is_float = values.dtype.kind == "f"
    if is_float and not np.isfinite(values).all():
        raise OSError("holds NaN or infinite values")
    if (key := image.info.get("transparency")) is not None:
        values = np.where(values == key, 0, values)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise OSError(f"holds values from {low:g} to {high:g}; expected 0 to 1, to 255 or to 65535")
    maxima = (*((1, 255) if is_float else ()), 4095, 16383, 65535)
    scale = np.float32(255 / min(top for top in maxima if top >= high))
    grey = values.astype(np.float32)
    grey *= scale
    if isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0:
        np.subtract(255, grey, out=grey)  # Pillow inverts "white is zero" up to 8 bits only
    return grey


# what undoes each value of EXIF's orientation tag (0x0112)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """Return how to turn an image; Pillow's exif_transpose fails on other tags' damage."""
    try:
        return _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # damage to the tags is none to the picture
        return None
