"""The device and the precision of a network, and PyTorch's global state."""

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
# Steps on fewer values than this are not faster in several threads.
_FEW_VALUES = 2**17

# All threads of a process share PyTorch's global generators, so only one thread at a time may draw
# random numbers from them.
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
        A PyTorch device such as ``"cpu"`` or ``"cuda:1"``. ``"auto"`` is CUDA if it is available,
        otherwise Apple's MPS, otherwise the CPU.
    fitted : bool
        Whether the model is fitted. A fitted model may come from a machine with another device. If
        the device is missing here, the model runs on the CPU, after a warning.

    Raises
    ------
    ValueError
        If the device is unknown or not available.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
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
            f"device={device!r} is not available here; the fitted model runs on the CPU. Call "
            "set_params(device='auto') to choose this without a warning.",
            DeviceWarning,
            stacklevel=2,
        )
        return torch.device("cpu")
    raise ValueError(
        f"device={device!r} is not available here ({torch.cuda.device_count()} CUDA devices); "
        "expected an available device. Pass device='auto' or 'cpu'."
    )


def _is_available(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    # Other backends have no common function for this, so a value is stored there and read. The
    # device "meta" stores no values. Each backend raises errors of its own.
    try:
        torch.zeros(1, device=device).item()
    except Exception:
        return False
    return True


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type of matrix products, or None if everything is computed in float32.

    ``"auto"`` is float32 on the CPU and on MPS. On CUDA it is bfloat16, or float16 if the card does
    not support bfloat16.
    """
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[None]:
    """Return PyTorch's autocast for a device, switched off if `dtype` is None."""
    # Switching autocast off takes time, which matters in the short steps of a head. So it is not
    # done if autocast is off already.
    if dtype is None and not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device. The copy to CUDA uses pinned memory and does not wait."""
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        tensor = torch.from_numpy(array)
    else:
        # A cache or a worker may map rows as read-only. They are only read here, so the warning of
        # PyTorch does not apply.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module to a device, with convolutions in the channels-last layout."""
    first = next(iter(module.parameters()), None)
    if first is not None and first.device != torch.empty(0, device=device).device:
        module.to(device)
    # This function is called for each batch, and a check of all layers takes milliseconds. So only
    # one kernel is checked. Kernels of one pixel or one channel are in both layouts at once.
    for kernel in module.parameters():
        if kernel.ndim == 4 and kernel.shape[1] > 1 and kernel[0, 0].numel() > 1:
            if kernel.is_contiguous(memory_format=torch.channels_last):
                return module
            return module.to(memory_format=torch.channels_last)
    return module


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was too little memory. Smaller batches may then help."""
    # PyTorch raises a plain RuntimeError on the CPU and on MPS, so its text decides.
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "allocate memory", "not enough memory")
    )


def cuda_devices() -> list[int]:
    """Return the CUDA devices in use. ``torch.manual_seed`` changes their generators too."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generators in a block, and restore their state after it.

    In the block, new tensors are float32, because the package computes in float32. If the user has
    set another default type, it is restored too. Only one thread at a time can be in such a block,
    and others wait.
    """
    with _GENERATORS, torch.random.fork_rng(devices=cuda_devices()), _float32():
        torch.manual_seed(seed)
        yield


@contextmanager
def _float32() -> Iterator[None]:
    """Make float32 the default type of PyTorch, which is global, and restore it at the end."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def threads_for(n_values: int) -> Iterator[None]:
    """Use only one thread of PyTorch in a block if its steps compute few values.

    A second thread does not make such steps faster. If another program uses the core of that
    thread, every step waits for it and takes ten times as long. Use this inside of :func:`seeded`,
    because the number of threads is global.

    Parameters
    ----------
    n_values : int
        Number of values in a batch, or number of parameters, whichever is larger.
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
    """Warn if several processes would wait for one CUDA device."""
    if n_jobs not in (None, 1) and device.type == "cuda" and torch.cuda.device_count() == 1:
        warnings.warn(
            f"n_jobs={n_jobs} with one CUDA device is not faster: the processes wait for this "
            "device, each with its own copy of PyTorch. Pass n_jobs=None, which needs less memory.",
            DeviceWarning,
            stacklevel=3,
        )


def on_cpu(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the CPU, which every machine can load."""
    # A module that is on the CPU already is not copied.
    if all(t.device.type == "cpu" for t in (*module.parameters(), *module.buffers())):
        return module
    return copy.deepcopy(module).to("cpu")
