"""Runner: the frozen part of a network, and everything that is needed to run it over images."""

from __future__ import annotations

import contextlib
import copy
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch

from .._cache import ActivationCache
from .._images.augment import augmented_view
from .._images.images import Images
from .._utils.device import autocast, is_out_of_memory, on_cpu, place, to_device
from .._utils.processes import in_worker
from .._utils.progress import progress_bar
from ..exceptions import TrunkPassWarning
from .build import Backbone, build_network
from .context import RunContext
from .counter import PassCounter
from .engine import run_onnx
from .network import Network
from .pixels import network_images, unit_images
from .probe import probe

# Another process may be computing the same images. This process waits for it at most so many
# seconds, and then computes the images itself.
_WAIT_SECONDS = 600
_POLL_SECONDS = 0.05

T = TypeVar("T")
U = TypeVar("U")


class Runner:
    """The frozen part of a network, with everything that is needed to run it over images.

    A classifier has one runner, and its attribute ``trunk_`` uses the same one. Running it changes
    nothing in it: the device, the engine and the cache are in the :class:`RunContext`.

    Parameters
    ----------
    network : Network
    backbone : str or callable
    trainable : str
        The first trained stage, in front of which the network is cut.
    image_size : int
        Side of the square that the network sees, in pixels.
    device : torch.device

    Attributes
    ----------
    stages : tuple of str
        Names of the stages of the whole network. The last one is the classification layer.
    module : torch.nn.Module
        The network below the cut, in eval mode.
    network : Network or None
        The whole network, from which tails are built. None in a runner that was pickled.
    channels : int
        Number of channels that the network takes.
    fingerprint : str
        Digest of the architecture and the weights.
    row_shape : tuple of int
        Shape of the activations of one image.
    """

    def __init__(
        self,
        network: Network,
        backbone: Backbone,
        trainable: str,
        image_size: int,
        device: torch.device,
    ) -> None:
        trunk, _ = network.cut(trainable)
        self.network: Network | None = network
        self.trainable = trainable
        self.image_size = image_size
        self.stages = network.stages
        self.channels = network.in_channels
        self.fingerprint = network.fingerprint
        # Named networks are shared by all models of the process, on the CPU.
        own = trunk if device.type == "cpu" else copy.deepcopy(trunk)
        # This changes the memory layout of the weights, which the check of a user's network needs.
        self.module = place(own, device).eval()
        self.row_shape = self._shape_at_cut(network, trunk, backbone)

    def _shape_at_cut(
        self, network: Network, trunk: torch.nn.Module, backbone: Backbone
    ) -> tuple[int, ...]:
        """Return the shape of one row of activations; check and describe a user's own network."""
        if callable(backbone):
            digest, shape = probe(network, self.trainable, self.image_size)
            self.fingerprint += digest
        if self.trainable == "head":
            return (network.head_width,)
        side = self.image_size
        if self.trainable == "all":
            return (1, side, side)
        if callable(backbone):
            return shape
        with torch.inference_mode(), _explained(side):
            return tuple(trunk(torch.zeros(1, self.channels, side, side)).shape[1:])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is frozen, so that rows are images instead of activations."""
        return self.trainable == "all"

    def cache_key(self, context: RunContext) -> str:
        """Return everything but the image that the activations depend on, as a string."""
        parts = (
            self.fingerprint,
            self.trainable,
            self.image_size,
            context.dtype,
            context.device.type,
            context.engine,
        )
        return "|".join(map(str, parts))

    # -- running ----------------------------------------------------------------------------------

    def blocks(
        self, images: Images, context: RunContext, counter: PassCounter
    ) -> Iterator[tuple[np.ndarray, Images, np.ndarray]]:
        """Yield row numbers, images and activations, batch by batch.

        While a batch passes the trunk, a thread looks up and decodes the next one.

        Parameters
        ----------
        images : Images
        context : RunContext
        counter : PassCounter
            Counts these images too.
        """
        n = len(images)
        size = context.batch_size
        batches = [np.arange(start, min(start + size, n)) for start in range(0, n, size)]

        def look_up(index: np.ndarray) -> tuple[Images, _Found | None]:
            batch = images.take(index)
            if self.is_empty:
                batch.decode(np.arange(len(batch)))
                return batch, None
            return batch, self._look_up(batch, context, view=0)

        looked_up = _one_ahead(look_up, batches)
        is_shown = context.verbose == 1 and not self.is_empty
        with progress_bar(n, "running the trunk", enabled=is_shown) as progress:
            for index, (batch, found) in zip(batches, looked_up, strict=True):
                yield index, batch, self.activations(batch, context, counter, found=found)
                progress.update(len(index))

    def activations(
        self,
        images: Images,
        context: RunContext,
        counter: PassCounter,
        *,
        view: int = 0,
        found: _Found | None = None,
    ) -> np.ndarray:
        """Return the activations of one batch of images, from the cache where it has them.

        Parameters
        ----------
        images : Images
        context : RunContext
        counter : PassCounter
            Counts these images too.
        view : int, default=0
            Number of the augmented view; 0 is the image itself.
        found : _Found, default=None
            What the cache contained when it was last looked at. It may contain more by now.

        Returns
        -------
        ndarray of shape (n, *row_shape), dtype float32
            Without a trunk, the images as rows of pixels, which may be uint8.
        """
        if self.is_empty:
            return self._pixels(images, context, view)
        if found is None:
            found = self._look_up(images, context, view)
        computed, n_passes = self._compute(images, context, view, found)
        counter.n_images += len(images)
        counter.n_passes += n_passes
        if n_passes and isinstance(context.cache, ActivationCache) and in_worker():
            _warn_worker()
        rows = []
        for key, row in zip(found.keys, found.rows, strict=True):
            rows.append(computed[key] if row is None else row)
        return np.stack(rows)

    def _pixels(self, images: Images, context: RunContext, view: int) -> np.ndarray:
        """Return the images themselves, resized to what the network sees."""
        index = np.arange(len(images))
        pixels = images.pixels(index)
        if view == 0 and pixels.shape[1:] == (self.image_size, self.image_size):
            # They stay uint8, a quarter of the size, until they are on the device.
            return pixels[:, None]
        return self._prepared(images, index, context, view).cpu().numpy()

    def _look_up(self, images: Images, context: RunContext, view: int) -> _Found:
        """Find which rows the cache has, and decode the images of the others."""
        assert context.cache is not None
        suffix = view.to_bytes(2, "little")
        keys = [digest + suffix for digest in images.digests()]
        found = _Found(keys, context.cache.get(self.cache_key(context), keys, self.row_shape))
        images.decode(np.array(list(found.missing.values()), dtype=int))
        return found

    def _compute(
        self, images: Images, context: RunContext, view: int, found: _Found
    ) -> tuple[dict[bytes, np.ndarray], int]:
        """Return the rows that were not found, and how many of them passed the trunk here."""
        assert context.cache is not None
        name = self.cache_key(context)
        new: dict[bytes, np.ndarray] = {}
        n_passes = 0
        start = time.monotonic()
        while missing := [key for key in found.missing if key not in new]:
            batch_keys = missing[: context.batch_size]
            # Of several processes that miss the same rows, one computes them.
            wait = time.monotonic() - start < _WAIT_SECONDS
            with context.cache.turn(name, batch_keys, wait) as (ready, mine):
                new.update(ready)
                if mine:
                    index = np.array([found.missing[key] for key in mine])
                    batch = self._prepared(images, index, context, view)
                    rows = self._forward(batch, context).float().cpu().numpy()
                    new.update(zip(mine, rows, strict=True))
                    context.cache.put(name, mine, rows)
                    n_passes += len(mine)
            if not ready and not mine:
                time.sleep(_POLL_SECONDS)
        return new, n_passes

    def _prepared(
        self, images: Images, index: np.ndarray, context: RunContext, view: int
    ) -> torch.Tensor:
        """Return images as the network takes them, on the device."""
        pixels = to_device(images.pixels(index), context.device)
        unit = unit_images(pixels, self.image_size)
        if view:
            seeds = [int.from_bytes(d[:7], "little") for d in images.take(index).digests()]
            unit = augmented_view(unit, seeds, view)
        if self.is_empty:
            return unit
        return network_images(unit, self.channels, images.standardised)

    def _forward(self, batch: torch.Tensor, context: RunContext) -> torch.Tensor:
        return self._forward_part(self.module, self.trainable, batch, context)

    def _forward_part(
        self, part: torch.nn.Module, name: str, batch: torch.Tensor, context: RunContext
    ) -> torch.Tensor:
        place(part, context.device)
        with _explained(self.image_size):
            if context.engine == "onnxruntime":
                return run_onnx(part, (self.fingerprint, name), batch)
            with torch.inference_mode(), autocast(context.device, context.dtype):
                return part(batch.contiguous(memory_format=torch.channels_last))

    def part_blocks(
        self, part: torch.nn.Module, name: str, images: Images, context: RunContext
    ) -> Iterator[torch.Tensor]:
        """Yield the outputs of a part of the trunk, batch by batch, without the cache.

        Parameters
        ----------
        part : torch.nn.Module
            The beginning of `module`.
        name : str
            Distinguishes this part from others of the same trunk.
        images : Images
        context : RunContext
        """
        starts = range(0, len(images), context.batch_size)

        def prepare(start: int) -> torch.Tensor:
            end = min(start + context.batch_size, len(images))
            return self._prepared(images, np.arange(start, end), context, view=0)

        for batch in _one_ahead(prepare, starts):
            yield self._forward_part(part, name, batch, context)

    def __getstate__(self) -> dict[str, Any]:
        # The whole network is only needed to build tails, and a machine without this one's device
        # must be able to load the rest.
        return {**self.__dict__, "network": None, "module": on_cpu(self.module)}


def build_runner(
    backbone: Backbone,
    weights: str | os.PathLike[str] | None,
    trainable: str,
    image_size: int,
    seed: int,
    device: torch.device,
) -> Runner:
    """Build a network, load its weights, and cut it.

    Parameters
    ----------
    backbone : str or callable
    weights : "imagenet", path or None
    trainable : str
        The first trained stage.
    image_size : int
    seed : int
        Seed of the weights of a network without weights.
    device : torch.device

    Returns
    -------
    Runner
    """
    network = build_network(backbone, weights, seed)
    return Runner(network, backbone, trainable, image_size, device)


class _Found:
    """What the cache contains of some images.

    Attributes
    ----------
    keys : list of bytes
    rows : list of ndarray or None
        None for rows that are not in the cache.
    missing : dict of bytes to int
        Position of each image that is not in the cache. An image that occurs twice is there once.
    """

    def __init__(self, keys: list[bytes], rows: list[np.ndarray | None]) -> None:
        self.keys = keys
        self.rows = rows
        self.missing: dict[bytes, int] = {}
        for position, (key, row) in enumerate(zip(keys, rows, strict=True)):
            if row is None:
                self.missing[key] = position


def _one_ahead(work: Callable[[T], U], tasks: Sequence[T]) -> Iterator[U]:
    """Yield the results in order, while a thread works on the next one."""
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


@contextlib.contextmanager
def _explained(image_size: int) -> Iterator[None]:
    """Explain an error of a forward pass, unless memory ran out."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"backbone: its forward pass fails at image_size={image_size} ({reason}); expected a "
            "network that takes float32 images of this size. Increase image_size if the network "
            "needs larger images."
        ) from error


def _warn_worker() -> None:
    # Python's own filter shows it once per worker process.
    warnings.warn(
        "every joblib worker runs the trunk over its images again. Pass memory=<folder> to share "
        "the activations between the workers.",
        TrunkPassWarning,
        stacklevel=3,
    )
