"""Estimate time, memory and disk space of a command before it starts."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from .._images.reading import read_image
from .._utils.quiet import quiet

_TIMED = 8  # files or images that are timed

# bytes per image of what is measured (thumbnails, statistics, hashes, a row of a table) and
# resampled, and those of forests and resamples at work: benchmarks/audit.py speed
_BYTES_PER_IMAGE, _BYTES_AT_WORK = 2**14, 2**28

# resident memory of a worker process that fits baselines: Python, scikit-learn and its rows
_BYTES_PER_PROCESS = 200 * 2**20


def reading(bunch: Any, n_jobs: int | None, out: Any = None, n_processes: int = 0) -> str:
    """Return a line of what auditing or curating a Bunch will take.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
    n_jobs : int or None
        Threads.
    out : str or path, default=None
        Folder to which files are copied; None if nothing is.
    n_processes : int, default=0
        Number of worker processes.

    Returns
    -------
    line : str
        Images, classes, patients, trunk passes (none), estimated minutes of reading, memory, disk.
    """
    from ..quality._measure import measure_files

    paths = [str(path) for path in bunch.data[:, 0]]
    seconds = _per_file(measure_files, paths) / effective_n_jobs(n_jobs)
    memory = _in_use() + len(paths) * _BYTES_PER_IMAGE + _BYTES_AT_WORK
    memory += n_processes * _BYTES_PER_PROCESS
    return "; ".join(
        [
            _what(bunch, np.arange(len(paths))),
            "no trunk passes",
            f"{_minutes(len(paths) * seconds)} of reading",
            f"{size(memory)} of memory" + (f" ({n_processes} processes)" if n_processes else ""),
            "nothing copied"
            if out is None
            else f"copies of up to {size(_bytes_of(paths))}{_room(out, _bytes_of(paths))}",
        ]
    )


def training(bunch: Any, rows: np.ndarray, model: Any, loader: Any, out: Any) -> str:
    """Return a line of what training will take.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
    rows : ndarray of int
        Of the training images.
    model : classifier of cxr_sklearn
    loader : XRayLoader
    out : str or path
        File of the model.

    Returns
    -------
    line : str
        Images, classes, patients, trunk passes, estimated minutes, memory and disk.
    """
    # PyTorch is imported when it is needed: help and audits do not wait for it.
    from .._models.cost import training_cost

    n = len(rows)
    cost = training_cost(model, n, len(bunch.target_names))
    is_frozen = model.trainable != "all"
    below, values, _ = _timed(model, model.trainable) if is_frozen else (0.0, 0, 0)
    whole, _, n_bytes = _timed(model, "head")
    # A training step costs about three forward passes of the layers above the cut.
    above = max(0.0, whole - below)
    paths = [str(path) for path in bunch.data[:, 0]]

    def read(some: list[str]) -> None:
        for path in some:
            with contextlib.suppress(OSError), quiet():
                read_image(path, loader.image_size, loader.resize)

    seconds = (
        len(paths) * _per_file(read, paths) / effective_n_jobs(loader.n_jobs)
        + cost.n_passes * below
        + 3 * above * cost.n_uses
    )
    # Below the head each network has a copy of the trained stages. At most it is a whole network.
    n_copies = 1 if model.trainable == "head" else 1 + cost.n_tails
    # rows, activations, weights, and of one copy the gradients and AdamW's two moments
    n_moments = 0 if model.trainable == "head" else 3
    held = len(paths) * model.image_size**2 + n * (1 + cost.n_views) * values * 4
    held += (n_copies + n_moments) * n_bytes
    return "; ".join(
        [
            _what(bunch, rows),
            f"{cost.n_passes} trunk passes",
            _minutes(seconds),
            f"{size(_in_use() + held)} of memory",
            f"a model of up to {size(n_copies * n_bytes)}{_room(out, n_copies * n_bytes)}",
        ]
    )


def predicting(
    paths: Sequence[str], classifier: Any, predict: Callable[[list[str]], Any], batch: int, out: Any
) -> str:
    """Return a line of what predicting will take.

    Parameters
    ----------
    paths : sequence of str
    classifier : classifier of cxr_sklearn
    predict : callable
        What is done with some of the paths.
    batch : int
        Files read at a time.
    out : str or path
        File of the predictions.

    Returns
    -------
    line : str
        Images, classes, trunk passes, estimated minutes, memory and disk.
    """
    k = len(classifier.classes_)
    written = sum(map(len, paths)) + len(paths) * 12 * (k + 2)
    return "; ".join(
        [
            f"{len(paths)} images, {k} classes",
            f"{len(paths) if classifier.trainable != 'all' else 'no'} trunk passes",
            _minutes(len(paths) * _per_file(predict, paths)),
            f"{size(_in_use() + batch * classifier.image_size**2)} of memory",
            f"a table of about {size(written)}{_room(out, written)}",
        ]
    )


def size(n_bytes: float) -> str:
    """Return a number of bytes as text."""
    for unit in ("KiB", "MiB"):
        n_bytes /= 1024
        if n_bytes < 1024:
            return f"{max(1, round(n_bytes))} {unit}"
    return f"{n_bytes / 1024:.1f} GiB"


def _in_use() -> int:
    """Return the bytes of the process at its largest so far, Python and PyTorch among them."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _what(bunch: Any, rows: np.ndarray) -> str:
    patients = len(set(bunch.groups[rows]))
    n_classes = len(set(bunch.target[rows]))
    return f"{len(rows)} images of {n_classes} classes and {patients} patients"


def _minutes(seconds: float) -> str:
    return "less than a minute" if seconds < 60 else f"about {round(seconds / 60)} min"


def _room(out: Any, n_bytes: int) -> str:
    """Return how much is free where something is to be written, and whether that may be enough."""
    folder = Path(out).absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return f" ({size(free)} free)" if free > n_bytes else f" (ONLY {size(free)} free)"


def _bytes_of(paths: Sequence[str]) -> int:
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))


def _per_file(work: Callable[[list[str]], Any], paths: Sequence[str]) -> float:
    """Return the seconds that some of the files take each, one thread, after another to warm up."""
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(_TIMED, len(paths)), dtype=int)]
    work(chosen[:1])
    chosen = chosen[1:] or chosen
    start = time.perf_counter()
    work(chosen)
    return (time.perf_counter() - start) / len(chosen)


def _timed(model: Any, cut: str) -> tuple[float, int, int]:
    """Return seconds and values per image below a cut, and the network's bytes."""
    from .._trunk.features import ResNetFeatures

    trunk = ResNetFeatures(
        backbone=model.backbone,
        weights=model.weights,
        image_size=model.image_size,
        device=model.device,
        trainable=cut,
    )
    n_pixels = model.image_size**2
    # other images each time, which no cache knows
    shape = (2, _TIMED, n_pixels)
    blank, images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    trunk.fit(blank).transform(blank)
    start = time.perf_counter()
    values = trunk.transform(images).shape[1]
    seconds = (time.perf_counter() - start) / len(images)
    return seconds, values, sum(p.nbytes for p in trunk.module_.parameters())
