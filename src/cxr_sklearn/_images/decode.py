"""Decode one image file: scale its grey levels, or give the reason why it is refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from . import dicom
from .formats import DICOM_SUFFIXES, _open, _opened, _suffix
from .headers import Header, _dicom_header, _header_of, _image_header

_WHOLE_BYTES = 2**26  # nearly all DICOM films have less


@dataclass(frozen=True)
class DecodedImage:
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


def decode_image(path: str | os.PathLike[str]) -> DecodedImage:
    """Read one file at full size.

    Parameters
    ----------
    path : str or path
        A PNG, JPEG, TIFF, BMP, WebP or DICOM file.

    Returns
    -------
    DecodedImage

    Raises
    ------
    OSError
        With the reason, and without the path: callers name every bad file at once.
    """
    header, plane, rgb = _decode(path, colour=True)
    return DecodedImage(header, round_to_uint8(plane), rgb)


def decode_grey(path: str | os.PathLike[str]) -> Image.Image:
    """Read one file in shades of grey.

    Parameters
    ----------
    path : str or path
        As for `decode_image`.

    Returns
    -------
    PIL.Image.Image
        Upright. Of mode "L", or where the file has more than 8 bits of mode "F" with values from
        0 to 255, so that what resizes them rounds last.

    Raises
    ------
    OSError
        As `decode_image` does.
    """
    return _decode(path, colour=False)[1]


def round_to_uint8(plane: Image.Image) -> Image.Image:
    """Round an image of mode "F" with values from 0 to 255 to one of mode "L"."""
    if plane.mode == "L":
        return plane
    return Image.fromarray(np.rint(np.asarray(plane)).clip(0, 255).astype(np.uint8))


# -- pixels ---------------------------------------------------------------------------------------
def _decode(
    path: str | os.PathLike[str], colour: bool
) -> tuple[Header, Image.Image, Image.Image | None]:
    """Return the header, the grey image (of mode "L" or "F"), and the colours if requested."""
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
    file: BinaryIO, n_bytes: int, path: str | os.PathLike[str]
) -> tuple[Header, Image.Image]:
    if n_bytes > _WHOLE_BYTES:  # parsed twice, rather than read whole and then refused
        _dicom_header(file, n_bytes, path)
    header, pixels = dicom.read_pixels(
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
    except Exception:  # damaged tags do not make the image unreadable
        return None
