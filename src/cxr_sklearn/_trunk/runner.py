"""Run the trunk over images: look up stored activations, and compute the missing ones."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .._cache import CacheInfo
from .._utils.device import (
    is_out_of_memory,
)
from ..exceptions import TrunkPassWarning

# seconds that a process which computes the same images is waited for, while it lives
_PATIENCE = 600
if TYPE_CHECKING:
    from .features import ResNetFeatures

T = TypeVar("T")
U = TypeVar("U")


def _explained(error: RuntimeError, image_size: int) -> Exception:
    if is_out_of_memory(error):
        return error
    reason = str(error).split("\n")[0]
    return ValueError(
        f"backbone: its forward pass fails at image_size={image_size} ({reason}); expected a "
        "network that takes float32 images of this size: it may need larger images (image_size)"
    )


def _warn_worker() -> None:
    # Python's own filter shows it once per worker
    warnings.warn(
        "every joblib worker runs the trunk over its images again: memory=<folder> shares the "
        "activations between them",
        TrunkPassWarning,
        stacklevel=3,
    )


class _Found:
    """What the cache has of some images.

    Attributes
    ----------
    keys : list of bytes
    rows : list of ndarray or None
    missing : dict of bytes to int
        One place of each image that is not there: the same image twice passes once.
    """

    def __init__(self, keys: list[bytes], rows: list[np.ndarray | None]) -> None:
        self.keys = keys
        self.rows = rows
        self.missing = {key: i for i, key in enumerate(keys) if rows[i] is None}


def _one_ahead(work: Callable[[T], U], tasks: Sequence[T]) -> Iterator[U]:
    """Yield the results in order, the next one being worked on in a thread meanwhile."""
    if len(tasks) < 2:
        yield from map(work, tasks)
        return
    with ThreadPoolExecutor(1, "cxr_sklearn-ahead") as thread:
        ahead = thread.submit(work, tasks[0])
        for task in tasks[1:]:
            done = ahead.result()
            ahead = thread.submit(work, task)
            yield done
        yield ahead.result()


class _Tally:
    """Count images and passes, and print the counts with verbose=1.

    Attributes
    ----------
    images, passes : int
        Images that were requested, and images that passed the trunk.
    asked : ndarray of bool, or None
        Whether a fit has requested each image, and each augmented view of it.
    n_views : int
        Augmented views of each image.
    """

    def __init__(self, trunk: ResNetFeatures) -> None:
        self.verbose = trunk.verbose
        self.images = self.passes = self.n_views = 0
        self.asked: np.ndarray | None = None
        fit = getattr(trunk, "_fit_tally", None)
        # At a cut between stages a fit has passed its first images already, for the shape of their
        # activations. They are passes of this fit, and not found in a cache that it filled itself.
        self._passes_before = 0 if fit is None else fit.passes
        self._start = time.perf_counter() if fit is None else fit._start

    def info(self, uses: int) -> CacheInfo:
        """Return the hits and misses of a fit whose tails used images so many times; print them."""
        images = 0 if self.asked is None else int(self.asked.sum())
        saved = max(0, uses - self.passes) if images else 0
        info = CacheInfo(max(0, images - self.passes), self.passes, saved)
        if self.verbose and images:
            what = f" (images and {self.n_views} augmented views of each)" if self.n_views else ""
            print(
                f"cache: {info.hits} hits, {info.misses} misses{what}; the tails used images "
                f"{uses} times: {saved} passes saved"
            )
        return info

    def report(self) -> None:
        """Print how many images passed the trunk."""
        if self.verbose and self.images:
            passes = self.passes + self._passes_before
            found = max(0, self.images - passes)
            seconds = time.perf_counter() - self._start
            print(
                f"trunk: {passes} passes for {self.images} images ({found} from the cache), "
                f"{seconds:.1f} s"
            )
