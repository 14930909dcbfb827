"""RunContext: where and how networks run, during one fit or one prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .._cache import ActivationCache, DiskCache, activation_cache
from .._utils.device import autocast_dtype, resolve_device
from .engine import resolve_engine


@dataclass(frozen=True)
class RunContext:
    """Where and how networks run, during one fit or one prediction.

    It is made from the parameters of an estimator at the beginning of a method, and handed to
    everything that runs a network. So a prediction with other parameters than those of ``fit``
    (``set_params(device="cpu")``) changes no fitted part of a model.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype or None
        Type of the matrix products; None is float32.
    batch_size : int
        Number of images in a forward pass.
    engine : {"torch", "onnxruntime"}
        What runs the trunk.
    cache : ActivationCache, DiskCache or None
        Where activations are stored; None where no trunk is run.
    verbose : int
    """

    device: torch.device
    dtype: torch.dtype | None
    batch_size: int
    engine: str = "torch"
    cache: ActivationCache | DiskCache | None = None
    verbose: int = 0


def run_context(estimator: Any, *, fitted: bool) -> RunContext:
    """Return the context that the parameters of an estimator describe.

    Parameters
    ----------
    estimator : ResNetFeatures or classifier
    fitted : bool
        Whether the estimator is fitted. A fitted model may come from another machine: what is not
        available here is then replaced, with a warning, instead of raising an error.

    Returns
    -------
    RunContext

    Raises
    ------
    ValueError, ImportError, OSError
        If the device, the engine or the folder of the cache cannot be used, unless `fitted`.
    """
    device = resolve_device(estimator.device, fitted=fitted)
    dtype = autocast_dtype(estimator.precision, device)
    engine = "torch"
    if not fitted or estimator.trainable != "all":
        engine = resolve_engine(estimator.engine, estimator.backbone, device, dtype, fitted=fitted)
    return RunContext(
        device=device,
        dtype=dtype,
        batch_size=estimator.batch_size,
        engine=engine,
        cache=activation_cache(estimator.memory, create=not fitted),
        verbose=int(estimator.verbose),
    )
