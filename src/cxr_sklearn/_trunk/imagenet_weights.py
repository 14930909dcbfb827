"""ImageNet weights of named backbones, which PyTorch downloads and keeps in its cache folder."""

from __future__ import annotations

import time
from typing import Any

import torch
import torchvision

from ..backbones._registry import NamedBackbone
from .weight_file import first_sentence

# A failed download is not repeated for this many seconds. The fits of a search follow each other at
# once, and without a network connection each of them would wait for a timeout.
RETRY_SECONDS = 10

# By URL, the time at which a download failed, and the reason.
FAILED_DOWNLOADS: dict[str, tuple[float, str]] = {}


def imagenet_state(backbone: NamedBackbone) -> dict[str, torch.Tensor]:
    """Return the state dict that ``weights="imagenet"`` stands for.

    Raises
    ------
    OSError
        If the file is not in PyTorch's cache folder and cannot be downloaded.
    ValueError
        If the file in this folder is damaged.
    """
    weights = torchvision.models.get_weight(backbone.imagenet_weights)
    reason = _recent_failure(weights.url)
    if reason is None:
        try:
            return _load(weights)
        # URLError is an OSError, and so is the error for a full or read-only cache folder.
        except OSError as error:
            reason = str(error)
            FAILED_DOWNLOADS[weights.url] = time.monotonic(), reason
    # This is raised outside of the `except` block, so that urllib's long traceback is not printed.
    # In a search it would be all that a user sees on the screen.
    raise OSError(
        f"weights='imagenet': {weights.url} could not be downloaded ({reason}); expected a network "
        "connection or a downloaded file. Pass weights=<path of the .pth file>, or weights=None to "
        "train from scratch."
    )


def _recent_failure(url: str) -> str | None:
    """Return why a download failed a few seconds ago, or None if it did not."""
    if url not in FAILED_DOWNLOADS:
        return None
    failed_at, reason = FAILED_DOWNLOADS[url]
    if time.monotonic() - failed_at > RETRY_SECONDS:
        return None
    return reason


def _load(weights: Any) -> dict[str, torch.Tensor]:
    """Load weights from PyTorch's cache folder, after downloading them if they are missing."""
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError:
        raise
    # The unpickler can raise any error if the file is damaged.
    except Exception as error:
        raise ValueError(
            f"weights='imagenet': PyTorch's copy of {weights.url} is not readable "
            f"({first_sentence(error)}); expected a state dict. Delete the file from the folder "
            f"{torch.hub.get_dir()!r}, and it is downloaded again."
        ) from error
