"""What runs the trunk: PyTorch, or onnxruntime where it is installed and can."""

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

# how far an exported trunk may be from PyTorch, as a share of the greatest activation
_TOLERANCE = 1e-4
_N_SESSIONS = 4


def resolve_engine(
    engine: str,
    backbone: Any,
    device: torch.device,
    dtype: torch.dtype | None,
    *,
    fitted: bool = False,
) -> str:
    """Return the engine that an ``engine`` parameter names.

    Parameters
    ----------
    engine : {"auto", "torch", "onnxruntime"}
        ``"auto"`` is onnxruntime in float32 on the CPU, for backbones given by name, where it is
        installed. A user's own network is exported only where that is asked for: an export records
        what the network does with one batch.
    backbone : str or callable
    device : torch.device
    dtype : torch.dtype or None
        Of the mixed precision.
    fitted : bool
        A fitted model may have come from a machine with onnxruntime: it then runs on PyTorch, with
        a warning.

    Raises
    ------
    ImportError
        If onnxruntime is named and not installed.
    ValueError
        If onnxruntime is named for another device than the CPU, or another precision.
    """
    here = device.type == "cpu" and dtype is None
    if engine == "auto":
        named = isinstance(backbone, str)
        return "onnxruntime" if named and here and has_onnxruntime() else "torch"
    if engine == "torch" or (here and has_onnxruntime()):
        return engine
    what = device.type if device.type != "cpu" else str(dtype).removeprefix("torch.")
    if fitted:
        reason = "is not installed here" if here else f"does not run with {what}"
        warnings.warn(
            f"engine='onnxruntime' {reason}; the fitted model runs on PyTorch: "
            "set_params(engine='auto') says so without this warning",
            DeviceWarning,
            stacklevel=2,
        )
        return "torch"
    if not here:
        raise ValueError(
            f"engine='onnxruntime' runs the trunk in float32 on the CPU, not with {what}; pass "
            "engine='auto', device='cpu' or precision='fp32'"
        )
    raise ImportError(
        "engine='onnxruntime' needs the packages onnxruntime and onnx, which are not installed: "
        "pip install 'cxr-sklearn[cpu]', or pass engine='torch'"
    )


def has_onnxruntime() -> bool:
    """Whether onnxruntime is installed, and onnx, which PyTorch exports with."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnxruntime", "onnx"))


class _Sessions:
    """The last few exported trunks of this process, by weights, cut, image size and threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple, Any] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: tuple, module: nn.Module, batch: torch.Tensor) -> Any:
        with self._lock:  # PyTorch's exporter is for one thread at a time
            if key not in self._held:
                self._held[key] = _session(module, batch)
            self._held.move_to_end(key)
            while len(self._held) > _N_SESSIONS:
                self._held.popitem(last=False)
            return self._held[key]


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


def run_onnx(module: nn.Module, key: tuple, batch: torch.Tensor) -> torch.Tensor:
    """Run a frozen module with onnxruntime.

    It is exported at its first batch, once per process for the same key, and compared with PyTorch
    on images of that batch.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode, on the CPU.
    key : tuple
        Names the module and the size of its images.
    batch : Tensor of shape (n, channels, height, width), float32

    Returns
    -------
    Tensor, float32

    Raises
    ------
    ValueError
        If the module cannot be exported, or what was exported gives other activations.
    """
    threads = torch.get_num_threads()  # joblib, Dask and the user set it for all of PyTorch
    session = _SESSIONS.get((*key, tuple(batch.shape[1:]), threads), module, batch)
    return torch.from_numpy(_run(session, batch))


def _run(session: Any, batch: torch.Tensor) -> np.ndarray:
    return session.run(None, {"images": batch.contiguous().numpy()})[0]


def _session(module: nn.Module, batch: torch.Tensor) -> Any:
    """Export a module, and compare it with itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that wait for work must not take the cores that train the tails
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with torch.inference_mode():
        images = batch[:3].contiguous()
        expected = module(images)
    # two images: a graph recorded from one may take 1 for a constant
    model = _exported(module, batch[:1].contiguous().clone().expand(2, -1, -1, -1))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(_run(session, images))
        difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    except Exception as error:  # onnxruntime's own classes, and shapes that differ
        raise _unusable(str(error)) from error
    if not difference <= _TOLERANCE:
        raise _unusable(
            f"its activations differ by {difference:.1e} of the greatest; {_TOLERANCE} at most"
        )
    return session


def _exported(module: nn.Module, images: torch.Tensor) -> bytes:
    """Return a module in ONNX format, for batches of any length."""
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught, torch.no_grad(), _log_left_alone():
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                module,
                (images,),
                file,  # type: ignore[arg-type] # this exporter takes files in memory
                input_names=["images"],
                output_names=["activations"],
                dynamic_axes={"images": {0: "n"}, "activations": {0: "n"}},
                # a tenth of the time of torch.export's, and the same graph for a network like this
                dynamo=False,
                do_constant_folding=False,  # onnxruntime folds
            )
        except Exception as error:
            raise _unusable(str(error)) from error
    for warning in caught:
        if issubclass(warning.category, torch.jit.TracerWarning):
            raise _unusable(str(warning.message))
    return file.getvalue()


@contextlib.contextmanager
def _log_left_alone() -> Iterator[None]:
    """Keep PyTorch's exporter from turning its log on, in which it prints the graph of a failure.

    It does so whatever `verbose` is, and leaves the log on.
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


def _unusable(reason: str) -> ValueError:
    first = (reason.strip() or "no reason given").split("\n")[0].rstrip(".")
    return ValueError(
        f"engine='onnxruntime' cannot run this backbone ({first}); pass engine='torch'"
    )
