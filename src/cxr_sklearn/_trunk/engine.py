"""Engines that run the trunk: PyTorch, or onnxruntime."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from .._utils.forks import after_fork_in_child
from ..exceptions import DeviceWarning

ENGINES = ("auto", "torch", "onnxruntime")

# Activations of the two engines may differ by this share of the greatest activation.
_TOLERANCE = 1e-4

# Each session contains another copy of the weights, so a process keeps only a few sessions.
MAX_SESSIONS = 4


# -- choice of the engine -------------------------------------------------------------------------


def resolve_engine(
    engine: str,
    backbone: Any,
    device: torch.device,
    dtype: torch.dtype | None,
    *,
    fitted: bool = False,
) -> str:
    """Return the engine that a value of the parameter ``engine`` stands for.

    Parameters
    ----------
    engine : {"auto", "torch", "onnxruntime"}
        ``"auto"`` is onnxruntime if it is installed, the backbone is given by name, and the trunk
        runs in float32 on the CPU; otherwise it is PyTorch. A user's own network is exported only
        on request, because an export records what the network does with one batch.
    backbone : str or callable
    device : torch.device
    dtype : torch.dtype or None
        Type of the matrix products in mixed precision, None for float32.
    fitted : bool
        Whether the model is fitted. If it comes from a machine with onnxruntime and cannot use it
        here, it runs on PyTorch, with a warning.

    Returns
    -------
    {"torch", "onnxruntime"}

    Raises
    ------
    ImportError
        If `engine` is ``"onnxruntime"``, which is not installed.
    ValueError
        If `engine` is ``"onnxruntime"`` for another device than the CPU, or another precision than
        float32.
    """
    is_supported = device.type == "cpu" and dtype is None
    is_available = is_supported and has_onnxruntime()
    if engine == "auto":
        if is_available and isinstance(backbone, str):
            return "onnxruntime"
        return "torch"
    if engine == "torch" or is_available:
        return engine
    found = str(dtype).removeprefix("torch.")
    if device.type != "cpu":
        found = device.type
    if fitted:
        _warn_without_onnxruntime(is_supported, found)
        return "torch"
    if not is_supported:
        raise ValueError(
            f"engine='onnxruntime' is invalid with {found}: it runs the trunk in float32 on the "
            "CPU only; expected device='cpu' and precision='fp32'. Pass these, or engine='auto'."
        )
    raise ImportError(
        "engine='onnxruntime' needs the packages onnxruntime and onnx, which are not installed. "
        "Run pip install 'cxr-sklearn[cpu]', or pass engine='torch'."
    )


def _warn_without_onnxruntime(is_supported: bool, found: str) -> None:
    """Warn that a fitted model cannot use onnxruntime here."""
    reason = f"does not support {found}"
    if is_supported:
        reason = "is not installed here"
    warnings.warn(
        f"engine='onnxruntime' {reason}; the fitted model runs on PyTorch. Call "
        "set_params(engine='auto') to choose this without a warning.",
        DeviceWarning,
        stacklevel=3,
    )


def has_onnxruntime() -> bool:
    """Return whether onnxruntime is installed, and onnx, which PyTorch needs for the export."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnxruntime", "onnx"))


# -- sessions of onnxruntime ----------------------------------------------------------------------


class _Sessions:
    """The sessions of this process that were used last.

    A session runs an exported trunk. Its key contains the weights, the cut, the size of the images
    and the number of threads.
    """

    def __init__(self) -> None:
        self._by_key: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: tuple[Any, ...], module: nn.Module, batch: torch.Tensor) -> Any:
        """Return the session for a key, after exporting the module if there is none."""
        # PyTorch's exporter must not run in two threads at once.
        with self._lock:
            if key not in self._by_key:
                self._by_key[key] = _new_session(module, batch)
            self._by_key.move_to_end(key)
            while len(self._by_key) > MAX_SESSIONS:
                self._by_key.popitem(last=False)
            return self._by_key[key]

    def all(self) -> list[Any]:
        """Return the sessions, the one that was used last at the end."""
        return list(self._by_key.values())

    def clear(self) -> None:
        """Drop every session."""
        self._by_key.clear()


_SESSIONS = _Sessions()
_OF_PARENTS: list[_Sessions] = []


@after_fork_in_child
def _new_sessions() -> None:
    """Begin anew in a forked process, which has none of a session's threads.

    The parent's are kept: ending them would wait for these threads.
    """
    global _SESSIONS
    _OF_PARENTS.append(_SESSIONS)
    _SESSIONS = _Sessions()


def sessions() -> list[Any]:
    """Return the sessions of this process, the one that was used last at the end."""
    return _SESSIONS.all()


def clear_sessions() -> None:
    """Drop the sessions of this process."""
    _SESSIONS.clear()


def run_onnx(module: nn.Module, key: tuple[Any, ...], batch: torch.Tensor) -> torch.Tensor:
    """Run a frozen module with onnxruntime.

    The first batch exports the module, once per process for a key. The export is compared to
    PyTorch on some images of this batch.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode, on the CPU.
    key : tuple
        Identifies the module.
    batch : Tensor of shape (n, channels, height, width), float32

    Returns
    -------
    Tensor, float32

    Raises
    ------
    ValueError
        If the module cannot be exported, or the export computes other activations.
    """
    # joblib, Dask and users set this number for all of PyTorch, and onnxruntime follows it.
    n_threads = torch.get_num_threads()
    session = _SESSIONS.get((*key, tuple(batch.shape[1:]), n_threads), module, batch)
    return torch.from_numpy(_run(session, batch))


def _run(session: Any, batch: torch.Tensor) -> np.ndarray:
    return session.run(None, {"images": batch.contiguous().numpy()})[0]


def _new_session(module: nn.Module, batch: torch.Tensor) -> Any:
    """Export a module, and compare the export to PyTorch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Report errors only.
    options.log_severity_level = 3
    # Threads that wait for work must not use the processor cores, on which the tails are trained.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with torch.inference_mode():
        images = batch[:3].contiguous()
        expected = module(images)
    # Export with two images, because an export with one image may treat the number of images as a
    # constant.
    model = _export(module, batch[:1].contiguous().clone().expand(2, -1, -1, -1))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(_run(session, images))
        difference = _relative_difference(found, expected)
    # onnxruntime has error classes of its own, and shapes may differ.
    except Exception as error:
        raise _export_error(str(error)) from error
    # This is written so that a difference of NaN raises an error too.
    if not difference <= _TOLERANCE:
        raise _export_error(
            f"its activations differ by {difference:.1e} of the greatest activation, more than "
            f"{_TOLERANCE}"
        )
    return session


def _relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the greatest difference, as a share of the greatest expected value."""
    scale = expected.abs().max().clamp(min=1e-6)
    return float((found - expected).abs().max() / scale)


def _export(module: nn.Module, images: torch.Tensor) -> bytes:
    """Return a module in ONNX format, for batches of any length."""
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught, torch.no_grad(), _exporter_log_disabled():
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                module,
                (images,),
                file,  # type: ignore[arg-type] # this exporter takes files in memory
                input_names=["images"],
                output_names=["activations"],
                dynamic_axes={"images": {0: "n"}, "activations": {0: "n"}},
                # The exporter that is based on torch.export takes ten times as long, and makes the
                # same graph for such networks.
                dynamo=False,
                # onnxruntime folds constants itself.
                do_constant_folding=False,
            )
        except Exception as error:
            raise _export_error(str(error)) from error
    # The tracer warns if the computation depends on the values or the number of the images.
    for warning in caught:
        # torch.jit does not list the class in __all__, which mypy takes for private.
        if issubclass(warning.category, torch.jit.TracerWarning):  # type: ignore[attr-defined]
            raise _export_error(str(warning.message))
    return file.getvalue()


@contextlib.contextmanager
def _exporter_log_disabled() -> Iterator[None]:
    """Prevent PyTorch's exporter from switching its log on.

    The exporter does so even with ``verbose=False``. It then prints the whole graph if an export
    fails, and leaves the log on.
    """
    name = "_jit_set_onnx_log_enabled"
    original = getattr(torch._C, name, None)
    if original is None:
        yield
        return
    setattr(torch._C, name, lambda enabled: None)
    try:
        yield
    finally:
        setattr(torch._C, name, original)


def _export_error(reason: str) -> ValueError:
    """Return the error for a module that cannot be exported."""
    first_line = (reason.strip() or "no reason given").split("\n")[0].rstrip(".")
    return ValueError(
        f"engine='onnxruntime' cannot run this backbone ({first_line}); expected a network that "
        "can be exported to ONNX. Pass engine='torch'."
    )
