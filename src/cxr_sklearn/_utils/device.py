"""Where a network runs, and with what precision."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from ..exceptions import DeviceWarning
from .forks import after_fork_in_child
from .processes import in_worker as in_worker

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_FEW_VALUES = 2**17

# PyTorch's global generators are the process's: what draws from them runs in one thread at a time
_GENERATORS = threading.RLock()


@after_fork_in_child
def _new_lock() -> None:
    global _GENERATORS
    _GENERATORS = threading.RLock()


def resolve_device(device: str, *, fitted: bool = False) -> torch.device:
    """Return the device that a ``device`` parameter names.

    Parameters
    ----------
    device : str
        ``"auto"`` is CUDA where there is one, else Apple's MPS, else the CPU; else a PyTorch
        device such as ``"cpu"`` or ``"cuda:1"``.
    fitted : bool
        A fitted model may have come from a machine with another device: it then runs on the CPU,
        with a warning.

    Raises
    ------
    ValueError
        If the device is unknown or not available.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device={device!r} is not a PyTorch device; expected 'auto', 'cpu', 'cuda', 'cuda:0', "
            "... or 'mps'"
        ) from None
    if _is_available(resolved):
        return resolved
    if fitted:
        warnings.warn(
            f"device={device!r} is not available here; the fitted model runs on the CPU: "
            "set_params(device='auto') says so without this warning",
            DeviceWarning,
            stacklevel=2,
        )
        return torch.device("cpu")
    raise ValueError(
        f"device={device!r} is not available here ({torch.cuda.device_count()} CUDA devices); "
        "pass device='auto' or 'cpu'"
    )


def _is_available(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    try:
        torch.zeros(1, device=device).item()
    except Exception:  # each backend raises errors of its own; "meta" has no values to read
        return False
    return True


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type that matrix products run in, None for float32 throughout.

    ``"auto"`` is float32 on the CPU and on MPS; on CUDA bfloat16, or float16 where the card has no
    bfloat16.
    """
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[None]:
    """Return PyTorch's autocast for a device; off for None."""
    if dtype is None and not torch.is_autocast_enabled(device.type):
        return nullcontext()  # turning off what is off is felt in the short steps of a head
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Send an array to a device, to CUDA through pinned memory and without waiting."""
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        tensor = torch.from_numpy(array)
    else:  # rows that a cache or a worker maps read-only are read, never written to
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module, convolutions in the channels-last layout, if it is not there already."""
    first = next(iter(module.parameters()), None)
    if first is not None and first.device != torch.empty(0, device=device).device:
        module.to(device)
    # looking at every layer takes milliseconds, and this is checked for each batch; kernels of one
    # pixel or one channel have both layouts
    kernels = (p for p in module.parameters() if p.ndim == 4)
    kernel = next((p for p in kernels if p.shape[1] > 1 and p[0, 0].numel() > 1), None)
    if kernel is None or kernel.is_contiguous(memory_format=torch.channels_last):
        return module
    return module.to(memory_format=torch.channels_last)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, which callers may answer with smaller batches."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "allocate memory", "not enough memory")
    )


def cuda_devices() -> list[int]:
    """Return the CUDA devices in use, whose generators torch.manual_seed changes too."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generators, and leave them as they were found.

    New tensors are float32 meanwhile, whatever type the user has made the default: the package
    computes in float32. One thread at a time: others wait.
    """
    with _GENERATORS, torch.random.fork_rng(devices=cuda_devices()), _float32():
        torch.manual_seed(seed)
        yield


@contextmanager
def _float32() -> Iterator[None]:
    """Make float32 PyTorch's default type, which is global too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def threads_for(n_values: int) -> Iterator[None]:
    """Run steps on so many values in one thread of PyTorch, if they are few.

    A second thread gains nothing there, and where another program has its core, every step waits
    for it: ten times as long. To be entered in :func:`seeded`, one thread at a time.

    Parameters
    ----------
    n_values : int
        Values of a batch, or parameters, whichever are more.
    """
    before = torch.get_num_threads()
    if n_values > _FEW_VALUES or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def warn_shared_gpu(n_jobs: int | None, device: torch.device) -> None:
    """Warn that processes would queue for one CUDA device."""
    if n_jobs not in (None, 1) and device.type == "cuda" and torch.cuda.device_count() == 1:
        warnings.warn(
            f"n_jobs={n_jobs} with one CUDA device: the binary problems would queue for it, with "
            "a copy of PyTorch each; n_jobs=None is as fast and takes less memory",
            DeviceWarning,
            stacklevel=3,
        )


def on_cpu(module: nn.Module) -> nn.Module:
    """Return a module that a machine without this one's device can load."""
    if all(t.device.type == "cpu" for t in (*module.parameters(), *module.buffers())):
        return module
    return copy.deepcopy(module).to("cpu")
