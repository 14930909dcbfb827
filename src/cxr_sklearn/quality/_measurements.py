"""What curation and audit look at, measured of every file in one decode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image, ImageChops, ImageOps
from scipy.ndimage import laplace

from .._images.decode import DecodedImage, decode_image
from .._utils.quiet import quiet
from ..preprocessing._thumbnails import THUMBNAIL_SIDE
from ._keypoints import MIN_SIDE, NO_KEYPOINTS, Keypoints, find_keypoints

FINE_SIDE = 64
HASH_SIDE = 16  # 256 bits
RING_SIDE = 128
RING_WIDTHS = (4, 8, 16)  # of RING_SIDE
_SHARPNESS_SIDE = 256
_BLACK, _WHITE = 5, 250  # grey levels up to, and from, which a pixel is black or white
_SATURATED = 64  # the least difference of the greatest and the least colour channel

# what a machine says of a file, beside its pixels
HEADER = ("format", "mode", "width", "height", "bit_depth")


@dataclass(frozen=True)
class Films:
    """Measurements of `n` files; rows of unreadable files are NaN or 0.

    Attributes
    ----------
    frame : DataFrame of n rows
        ``path``, ``error`` ("" where the file was read), header (``format``, ``mode``, ``width``,
        ``height``, ``bit_depth``), ``n_bytes``, ``aspect`` (width / height), grey levels (``sd``,
        ``contrast``: 99th less 1st percentile; ``black_white``: share of black and white pixels),
        colour (``saturated``: share of pixels; ``colour``: mean difference of the channels),
        ``sharpness`` (variance of the Laplacian by that of the image) and ``digest`` (of the
        decoded pixels).
    thumbnails : ndarray of shape (n, 32, 32), dtype uint8
    fine : ndarray of shape (n, 64, 64), dtype uint8
        The same, larger.
    tiny : ndarray of shape (n, 64), dtype uint8
        Thumbnails of 8 by 8 pixels.
    histograms : ndarray of shape (n, 32), dtype float32
        Shares of the grey levels.
    rings : dict of int to ndarray of shape (n, n_statistics), dtype float32
        By width in 128ths of the side: statistics of a ring at the border.
    hashes, mirrored : ndarray of shape (n, 256), dtype bool
        Perceptual hash of the image, and of its mirror image.
    keypoints : list of n Keypoints
        Small parts of the image that are found again in another framing.
    """

    frame: pd.DataFrame
    thumbnails: np.ndarray
    fine: np.ndarray
    tiny: np.ndarray
    histograms: np.ndarray
    rings: dict[int, np.ndarray]
    hashes: np.ndarray
    mirrored: np.ndarray
    keypoints: list[Keypoints]

    @property
    def readable(self) -> np.ndarray:
        """Mask of the files that were read."""
        return (self.frame["error"] == "").to_numpy()

    @property
    def small(self) -> np.ndarray:
        """Mask of the images that are too small to be found in another framing."""
        side = self.frame[["width", "height"]].max(axis=1)
        return self.readable & (side < MIN_SIDE).to_numpy()

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: np.ndarray) -> Films:
        """Return the measurements of some rows, by mask or number."""
        return Films(
            frame=self.frame.iloc[np.arange(len(self))[rows]].reset_index(drop=True),
            thumbnails=self.thumbnails[rows],
            fine=self.fine[rows],
            tiny=self.tiny[rows],
            histograms=self.histograms[rows],
            rings={width: ring[rows] for width, ring in self.rings.items()},
            hashes=self.hashes[rows],
            mirrored=self.mirrored[rows],
            keypoints=[self.keypoints[row] for row in np.arange(len(self))[rows]],
        )


def measure_films(
    paths: Sequence[str], n_jobs: int | None = None, progress: Callable[[], Any] | None = None
) -> Films:
    """Decode every file once, and measure it.

    Parameters
    ----------
    paths : sequence of str
    n_jobs : int, default=None
        Threads; Pillow and numpy release the interpreter's lock for most of the work.
    progress : callable, default=None
        Called after each file.

    Returns
    -------
    Films
    """
    n = len(paths)
    films = Films(
        frame=pd.DataFrame(),
        thumbnails=np.zeros((n, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8),
        fine=np.zeros((n, FINE_SIDE, FINE_SIDE), np.uint8),
        tiny=np.zeros((n, 64), np.uint8),
        histograms=np.zeros((n, 32), np.float32),
        rings={w: np.zeros((n, _N_RING_STATISTICS), np.float32) for w in RING_WIDTHS},
        hashes=np.zeros((n, HASH_SIDE**2), bool),
        mirrored=np.zeros((n, HASH_SIDE**2), bool),
        keypoints=[NO_KEYPOINTS] * n,
    )

    def one(row: int) -> dict[str, Any]:
        try:
            film = decode_image(paths[row])
        except OSError as error:
            found: dict[str, Any] = {"error": str(error) or type(error).__name__}
        else:
            found = {"error": "", **_scalars(film)}
            _images(films, row, film.grey)
        if progress is not None:
            progress()
        return {"path": paths[row], **found}

    # the threads fill arrays that they share
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem")
    with quiet():  # once for all, as in reading
        rows = parallel(delayed(one)(row) for row in range(n))
    columns = ["path", "error", *_SCALARS]
    return Films(**{**vars(films), "frame": pd.DataFrame(rows, columns=columns)})


_SCALARS = (
    *HEADER,
    "n_bytes",
    "aspect",
    "sd",
    "contrast",
    "black_white",
    "saturated",
    "colour",
    "sharpness",
    "digest",
)


def _scalars(film: DecodedImage) -> dict[str, Any]:
    header = {name: getattr(film.header, name) for name in (*HEADER, "n_bytes")}
    counts = np.array(film.grey.histogram()[:256], dtype=float)
    share = counts / counts.sum()
    below = share.cumsum()
    level = np.arange(256)
    mean = share @ level
    saturated, colour = _colour(film.rgb)
    pixels = film.grey.tobytes()
    return header | {
        "aspect": film.grey.width / film.grey.height,
        "sd": float(np.sqrt(share @ (level - mean) ** 2)),
        "contrast": int(np.searchsorted(below, 0.99) - np.searchsorted(below, 0.01)),
        "black_white": float(share[: _BLACK + 1].sum() + share[_WHITE:].sum()),
        "saturated": saturated,
        "colour": colour,
        "sharpness": _sharpness(film.grey),
        "digest": hashlib.sha256(str(film.grey.size).encode() + pixels).hexdigest(),
    }


def _colour(rgb: Image.Image | None) -> tuple[float, float]:
    """Return the share of pixels of saturated colour, and the mean difference of the channels."""
    if rgb is None:
        return 0.0, 0.0
    red, green, blue = rgb.split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    least = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = np.array(ImageChops.subtract(most, least).histogram(), dtype=float)
    share = counts / counts.sum()
    return float(share[_SATURATED:].sum()), float(share @ np.arange(256))


def _sharpness(grey: Image.Image) -> float:
    """Return the variance of the Laplacian by that of the image, at one size for all."""
    small = grey.copy()
    small.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, dtype=np.float32)
    variance = float(pixels.var())
    return float(laplace(pixels).var()) / variance if variance > 0 else 0.0


def _images(films: Films, row: int, grey: Image.Image) -> None:
    """Fill a row of each array. Images are stretched, so that none tells the aspect ratio."""
    medium = grey.resize((RING_SIDE, RING_SIDE), Image.Resampling.BILINEAR)
    films.thumbnails[row] = np.asarray(
        medium.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    )
    films.fine[row] = np.asarray(medium.resize((FINE_SIDE, FINE_SIDE), Image.Resampling.BOX))
    films.tiny[row] = np.asarray(medium.resize((8, 8), Image.Resampling.BOX)).ravel()
    counts = np.array(grey.histogram()[:256], dtype=np.float32)
    films.histograms[row] = counts.reshape(32, 8).sum(axis=1) / counts.sum()
    films.hashes[row] = imagehash.phash(medium, HASH_SIDE).hash.ravel()
    films.mirrored[row] = imagehash.phash(ImageOps.mirror(medium), HASH_SIDE).hash.ravel()
    films.keypoints[row] = find_keypoints(grey)
    pixels = np.asarray(medium)
    for width in RING_WIDTHS:
        films.rings[width][row] = ring_statistics(pixels, width)


_PERCENTILES = (5, 25, 50, 75, 95)
_N_RING_STATISTICS = 4 * (2 + len(_PERCENTILES) + 8) + 16


def ring_statistics(pixels: np.ndarray, width: int) -> np.ndarray:
    """Return what a ring at the border of an image looks like.

    Parameters
    ----------
    pixels : ndarray of shape (128, 128), dtype uint8
    width : int
        Pixels.

    Returns
    -------
    ndarray of shape (n_statistics,), dtype float32
        Of each side: mean, standard deviation, five percentiles, and the means of eight pieces;
        of the whole ring: a histogram of 16 levels.
    """
    bands = (pixels[:width], pixels[-width:], pixels[:, :width].T, pixels[:, -width:].T)
    sides = np.stack(bands).astype(np.float32)  # (4, width, 128)
    flat = sides.reshape(4, -1)
    pieces = sides.reshape(4, width, 8, -1).mean(axis=(1, 3))
    of_sides = [flat.mean(axis=1), flat.std(axis=1), *np.percentile(flat, _PERCENTILES, axis=1)]
    levels = np.bincount(np.stack(bands).ravel() // 16, minlength=16) / flat.size
    return np.concatenate([*of_sides, pieces.ravel(), levels]).astype(np.float32)
