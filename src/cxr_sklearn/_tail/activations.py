"""Activations by row number, for the length of one fit."""

from __future__ import annotations

import math
import warnings

import numpy as np

from .._cache import IN_PROCESS_BYTES, ActivationCache, CacheInfo
from .._images.images import Images
from .._trunk.context import RunContext
from .._trunk.counter import PassCounter
from .._trunk.runner import Runner
from .._utils.fit_tasks import FitTask
from ..exceptions import TrunkPassWarning


class ImageActivations:
    """Activations of the images of one fit, and of their augmented views.

    Row ``i + v * n_images`` is view `v` of image `i`; view 0 is the image itself. If all rows fit
    into 1 GiB they are computed once and kept as one array. Otherwise they come from the cache,
    batch by batch.

    Parameters
    ----------
    images : Images
    runner : Runner
    context : RunContext
    n_views : int
        Number of augmented views of each image. 0 without augmentation.
    is_viewed : ndarray of shape (n_images,), dtype bool
        Images whose augmented views are used: those that are trained on.
    task : FitTask, default=None
        The fit, which reports the run of the trunk to its callbacks.

    Attributes
    ----------
    shape : tuple of int
        Shape of one row.
    whole : ndarray of shape (n_images * (1 + n_views), *shape), or None
        All rows, if they fit into memory.
    counter : PassCounter
    """

    def __init__(
        self,
        images: Images,
        runner: Runner,
        context: RunContext,
        n_views: int,
        is_viewed: np.ndarray,
        task: FitTask | None = None,
    ) -> None:
        self.shape = runner.row_shape
        self.n_views = n_views
        self.counter = PassCounter()
        self.whole: np.ndarray | None = None
        self._n_images = len(images)
        self._images: Images | None = images
        self._runner: Runner | None = runner
        self._context = context
        self._is_viewed = is_viewed
        # Rows without a trunk are images, which pass nothing and are not counted.
        self._is_counted = not runner.is_empty
        self._is_requested = np.zeros(len(images) * (1 + n_views), dtype=bool)
        self._load(FitTask() if task is None else task)

    def _load(self, task: FitTask) -> None:
        """Compute all rows if they fit into memory; warn if they are computed again and again."""
        images, runner, context = self._images, self._runner, self._context
        assert images is not None
        assert runner is not None
        itemsize = images.dtype.itemsize if runner.is_empty else np.dtype(np.float32).itemsize
        n_bytes = len(self._is_requested) * math.prod(self.shape) * itemsize
        if n_bytes <= IN_PROCESS_BYTES:
            n_batches = math.ceil(len(images) / context.batch_size)
            with task.subtask("run the trunk", n_subtasks=n_batches) as run:
                self.whole = self._compute_all(images, runner, context, run)
            # Workers get the array alone, without the images and the network.
            self._images = self._runner = None
            if context.verbose > 1 and self._is_counted:
                print(self.counter.report(self._in_words()))
            return
        if not runner.is_empty and isinstance(context.cache, ActivationCache):
            warnings.warn(
                f"the activations of {len(images)} images at trainable={runner.trainable!r} exceed "
                f"{IN_PROCESS_BYTES / 2**30:.3g} GiB, so the trunk runs again for every batch. "
                "Pass memory=<folder> to keep them on disk.",
                TrunkPassWarning,
                stacklevel=5,
            )
        if self.n_views and images.keeps_decoded:
            # Otherwise each file would be decoded once per view.
            images.decode(np.arange(len(images)))

    def _compute_all(
        self, images: Images, runner: Runner, context: RunContext, task: FitTask
    ) -> np.ndarray:
        n = len(images)
        whole: np.ndarray | None = None
        for index, batch, block in runner.blocks(images, context, self.counter):
            with task.subtask("batch"):
                if len(index) == n and not self.n_views:
                    whole = block  # without a copy
                    continue
                if whole is None:
                    whole = np.empty((n * (1 + self.n_views), *block.shape[1:]), block.dtype)
                whole[index] = block
                self._add_views(whole, index, batch, runner, context)
        assert whole is not None
        self._is_requested[:n] = True
        for view in range(1, self.n_views + 1):
            self._is_requested[np.flatnonzero(self._is_viewed) + view * n] = True
        return whole

    def _add_views(
        self,
        whole: np.ndarray,
        index: np.ndarray,
        batch: Images,
        runner: Runner,
        context: RunContext,
    ) -> None:
        """Compute all views of a batch of images together, so that its files are decoded once."""
        is_viewed = self._is_viewed[index]
        if not is_viewed.any():
            return
        viewed = batch.take(np.flatnonzero(is_viewed))
        for view in range(1, self.n_views + 1):
            rows = runner.activations(viewed, context, self.counter, view=view)
            whole[index[is_viewed] + view * len(self._is_viewed)] = rows

    def take(self, ids: np.ndarray) -> np.ndarray:
        """Return some rows."""
        if self.whole is not None:
            return self.whole[ids]
        images, runner = self._images, self._runner
        assert images is not None
        assert runner is not None
        self._is_requested[ids] = True
        views, index = np.divmod(ids, self._n_images)
        rows: np.ndarray | None = None
        for view in np.unique(views):
            is_view = views == view
            batch = images.take(index[is_view])
            part = runner.activations(batch, self._context, self.counter, view=int(view))
            if rows is None:
                rows = np.empty((len(ids), *part.shape[1:]), part.dtype)
            rows[is_view] = part
        assert rows is not None
        return rows

    def cache_info(self, n_uses: int) -> CacheInfo:
        """Return the hits, the misses and the saved passes of the fit; print them if verbose.

        Parameters
        ----------
        n_uses : int
            Number of times that the tails used an image, in training and in prediction.
        """
        if not self._is_counted:
            return CacheInfo(0, 0, 0)
        n_requested = int(self._is_requested.sum())
        info = self.counter.cache_info(n_requested, n_uses)
        if self._context.verbose > 1:
            print(
                f"cache: {info.hits} hits, {info.misses} misses ({self._in_words()}); the tails "
                f"used images {n_uses} times: {info.passes_saved} passes saved"
            )
        return info

    def _in_words(self) -> str:
        text = f"{self._n_images} images"
        if self.n_views:
            text += f" and {self.n_views} augmented views of each"
        return text


class ArrayActivations:
    """Rows that no image has: those that a sampler made, or the outputs of other networks.

    Parameters
    ----------
    values : ndarray of shape (n, *shape)
    """

    n_views = 0

    def __init__(self, values: np.ndarray) -> None:
        self.whole: np.ndarray | None = np.ascontiguousarray(values, dtype=np.float32)
        self.shape = self.whole.shape[1:]

    def take(self, ids: np.ndarray) -> np.ndarray:
        """Return some rows."""
        assert self.whole is not None
        return self.whole[ids]


Activations = ImageActivations | ArrayActivations
