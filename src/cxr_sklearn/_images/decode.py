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

# Nearly all DICOM files are smaller than this.
_WHOLE_BYTES = 2**26


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Parameters
    ----------
    header : Header
        Properties that the file states.
    grey : PIL.Image.Image
        Grey levels, in mode "L", upright and at full size.
    rgb : PIL.Image.Image or None
        Colours, in mode "RGB", upright and at full size. None if the file has no colours.
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
        With the reason, but without the path, because callers list all bad files in one message.
    """
    header, plane, rgb = _decode(path, colour=True)
    return DecodedImage(header, round_to_uint8(plane), rgb)


def decode_grey(path: str | os.PathLike[str]) -> Image.Image:
    """Read the grey levels of one file.

    Parameters
    ----------
    path : str or path
        As in :func:`decode_image`.

    Returns
    -------
    PIL.Image.Image
        Upright, in mode "L". If the file has more than 8 bits, in mode "F" with values from 0 to
        255, so that resizing can precede rounding.

    Raises
    ------
    OSError
        As in :func:`decode_image`.
    """
    return _decode(path, colour=False)[1]


def round_to_uint8(plane: Image.Image) -> Image.Image:
    """Round an image in mode "F" with values from 0 to 255, and return it in mode "L"."""
    if plane.mode == "L":
        return plane
    return Image.fromarray(np.rint(np.asarray(plane)).clip(0, 255).astype(np.uint8))


# -- pixels ---------------------------------------------------------------------------------------
def _decode(
    path: str | os.PathLike[str], colour: bool
) -> tuple[Header, Image.Image, Image.Image | None]:
    """Return the header, the grey levels (in mode "L" or "F"), and the colours if requested."""
    with _opened(path) as (file, kind, n_bytes):
        if kind == "DICOM":
            header, decoded = _decode_dicom(file, n_bytes, path)
            return header, *_split(decoded, colour)
        image = _open(file, kind)
        header = _image_header(image, file, kind, n_bytes)
        image.load()
        plane, rgb = _split(_without_transparency(image), colour)
        # Pillow has already turned TIFF images.
        turn = None
        if kind != "TIFF":
            turn = _orientation(image)
        if turn is not None:
            plane = plane.transpose(turn)
            if rgb is not None:
                rgb = rgb.transpose(turn)
        return header, plane, rgb


def _decode_dicom(
    file: BinaryIO, n_bytes: int, path: str | os.PathLike[str]
) -> tuple[Header, Image.Image]:
    # The header of a large file is read first, so that a file that is refused is not read whole.
    if n_bytes > _WHOLE_BYTES:
        _dicom_header(file, n_bytes, path)
    header, pixels = dicom.read_pixels(
        file,
        force=_suffix(path) in DICOM_SUFFIXES,
        check=lambda info: _header_of(info, n_bytes),
    )
    return header, Image.fromarray(pixels)


def _split(image: Image.Image, colour: bool) -> tuple[Image.Image, Image.Image | None]:
    """Return the grey levels of an image, and its colours if requested."""
    if image.mode in ("L", "F"):
        return image, None
    is_grey = image.mode in ("1", "LA", "La")
    rgb = None
    if colour and not is_grey:
        rgb = image.convert("RGB")
    return image.convert("L"), rgb


def _without_transparency(image: ImageFile.ImageFile) -> Image.Image:
    """Return the image on a black background, in mode "F" if it has more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scale_deep(image))
    if not image.has_transparency_data:
        return image
    # An image that is RGBA already is not converted, because the copy would take much memory.
    layer: Image.Image = image
    if image.mode != "RGBA":
        layer = image.convert("RGBA")
    layer = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), layer)
    is_grey = image.mode in ("1", "L", "LA", "La")
    return layer.convert("L" if is_grey else "RGB")


def _scale_deep(image: Image.Image) -> np.ndarray:
    """Return float32 grey levels from 0 to 255 of an image with more than 8 bits.

    The values are divided by the smallest maximum of 12, 14 or 16 bits that is not exceeded.
    Radiographs of 12 bits are stored in files of 16 bits, and would be nearly black if they were
    divided by 65535. For floats, the maximum may also be 1 or 255.
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
    maxima = [4095, 16383, 65535]
    if is_float:
        maxima = [1, 255, *maxima]
    maximum = min(top for top in maxima if top >= high)
    # The array is scaled in place, because an image at the limit takes 160 MB in float32.
    grey = values.astype(np.float32)
    grey *= np.float32(255 / maximum)
    # Tag 262 is 0 if white is stored as zero. Pillow inverts such images only up to 8 bits.
    if isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0:
        np.subtract(255, grey, out=grey)
    return grey


# The operation that makes an image upright, for each value of EXIF's orientation tag (0x0112).
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
    """Return the operation that makes an image upright, or None.

    Pillow's own ``exif_transpose`` fails if any other tag is damaged.
    """
    try:
        return _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:
        # The pixels of a file with damaged tags are intact, so the image is used as it is.
        return None
