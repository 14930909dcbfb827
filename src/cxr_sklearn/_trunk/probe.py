"""Run a user's network on fixed images, to check it and to describe what it computes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from .._utils.device import is_out_of_memory, seeded, threads_for
from .._utils.messages import one_line
from .network import Network

# Activations are equal if they differ by less than this share of the greatest activation. Rounding
# errors depend on the number of images in a batch.
_TOLERANCE = 1e-3


def probe_images(channels: int, image_size: int) -> torch.Tensor:
    """Return the fixed images: noise, a ramp, a dark, a framed bright, and a flat image.

    Returns
    -------
    Tensor of shape (5, channels, image_size, image_size), float32
        In the range of normalised images.
    """
    side = image_size
    noise = np.random.default_rng(0).normal(size=(channels, side, side))
    ramp = np.linspace(-2, 2, side)
    bright = np.full((side, side), -2.1)
    frame = side // 8
    bright[frame : side - frame, frame : side - frame] = 2
    images = np.empty((5, channels, side, side), np.float32)
    images[0] = noise
    images[1] = 0.9 * ramp[:, None] + 0.3 * ramp
    images[2] = 0.1 * noise - 2
    images[3] = bright
    images[4] = 0.02 * noise + 0.2
    return torch.from_numpy(images)


def probe(network: Network, trainable: str, image_size: int) -> tuple[str, tuple[int, ...]]:
    """Check a network by its activations, and describe what it computes below the cut.

    Weights and settings do not determine what ``forward`` computes. It may be decorated, call
    helper functions, or read attributes of its class. The output for fixed images shows this.

    Parameters
    ----------
    network : Network
        On the CPU.
    trainable : str
        The first trained stage, one of ``network.cuts``.
    image_size : int

    Returns
    -------
    digest : str
        Digest of the activations at the cut, or ``""`` for ``"all"``, because nothing is below
        that cut. It is computed in one thread, so all processes of a machine get the same digest.
    shape : tuple of int
        Shape of the activations of one image.

    Raises
    ------
    ValueError
        If the network cannot process the images, if it cannot be cut at its stages, or if the
        output for an image depends on other images.
    """
    images = probe_images(network.in_channels, image_size)
    last = network.stages[-1]
    cut = trainable
    if trainable in ("head", "all"):
        cut = last
    with torch.inference_mode(), seeded(0), threads_for(1):
        reached = _stage_inputs(network, {last, cut}, images)
        alone = _stage_inputs(network, {last, cut}, images[:1])
    _check_features(network, reached[last])
    for stage in (cut, last):
        _check_finite(network, stage, reached[stage])
        _check_independence(network, reached[stage][:1], alone[stage])
    if trainable == "all":
        _check_tail(network, trainable, images, reached[last])
        return "", (1, image_size, image_size)
    if trainable != "head":
        _check_tail(network, trainable, reached[cut], reached[last])
    return _digest(reached[cut]), tuple(reached[cut].shape[1:])


def _digest(activations: torch.Tensor) -> str:
    digest = hashlib.blake2b(str(tuple(activations.shape)).encode(), digest_size=16)
    digest.update(activations.float().contiguous().numpy().tobytes())
    return digest.hexdigest()


# -- calls of the user's code ---------------------------------------------------------------------


class _UnsuitableStageError(ValueError):
    """The network calls a stage in a way that does not allow a cut."""


@contextlib.contextmanager
def _explaining(explain: Callable[[Exception], ValueError]) -> Iterator[None]:
    """Replace an error of the user's code by an error that explains it.

    Running out of memory is not an error of the network, and is not replaced.
    """
    try:
        yield
    except _UnsuitableStageError:
        raise
    # The user's code can raise any error.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise explain(error) from error


def _forward_error(network: Network, images: torch.Tensor, error: Exception) -> ValueError:
    """Explain an error of the forward pass."""
    remedy = "Pass a larger image_size if the network needs larger images."
    if "view size is not compatible" in str(error):
        # Images are in the channels-last layout, in which convolutions are faster.
        remedy = "Replace view() by flatten() or reshape(), which support every memory layout."
    return ValueError(
        f"backbone is invalid: forward() of {network.name} fails at image_size={images.shape[-1]} "
        f"({_reason(error)}); expected a network that takes float32 images of {images.shape[1]} "
        f"channels and this size. {remedy}"
    )


def _tail_error(network: Network, trainable: str, error: Exception) -> ValueError:
    """Explain an error of the stages above the cut."""
    return ValueError(
        f"backbone is invalid: if it is cut at trainable={trainable!r}, the stages of "
        f"{network.name} above the cut fail on the activations ({_reason(error)}); expected stages "
        "that do not need other steps of forward(). Write every step before the cut as a child "
        "module, not as a function."
    )


def _reason(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    first_line = str(error).split("\n")[0]
    return f"{type(error).__name__}: {one_line(first_line)}"


def _stage_inputs(
    network: Network, stages: set[str], images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Run a network, and return the inputs of some stages."""
    reached: dict[str, torch.Tensor] = {}
    hooks = []
    for stage in stages:
        module = network.module.get_submodule(stage)
        hook = _recording_hook(network, stage, reached)
        hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        with _explaining(functools.partial(_forward_error, network, images)):
            output = network.module(images.clone())
    finally:
        for handle in hooks:
            handle.remove()
    missing = sorted(stages - set(reached))
    if missing:
        raise ValueError(
            f"backbone is invalid: forward() of {network.name} does not call its stage "
            f"{missing[0]!r}; expected it to call each stage as a whole. Call the stage instead of "
            "its parts."
        )
    _check_output(network, output, len(images))
    return reached


def _recording_hook(
    network: Network, stage: str, reached: dict[str, torch.Tensor]
) -> Callable[..., Any]:
    """Return a hook that records the input of a stage before the stage runs."""

    def record(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if len(inputs) != 1 or named or not isinstance(inputs[0], torch.Tensor):
            raise _UnsuitableStageError(
                f"backbone is invalid: forward() of {network.name} calls its stage {stage!r} with "
                f"{len(inputs) + len(named)} inputs; expected one tensor. Choose stages that take "
                "one tensor."
            )
        # The stage may change its input in place.
        reached[stage] = inputs[0].clone()

    return record


# -- checks ---------------------------------------------------------------------------------------


def _check_output(network: Network, output: Any, n_images: int) -> None:
    """Raise unless the network returns one vector of real numbers per image."""
    found = type(output).__name__
    if isinstance(output, torch.Tensor):
        if output.ndim == 2 and output.is_floating_point():
            return
        dtype = str(output.dtype).removeprefix("torch.")
        found = f"a {dtype} tensor of shape {tuple(output.shape)}"
    raise ValueError(
        f"backbone is invalid: forward() of {network.name} returns {found} for {n_images} images; "
        "expected one real tensor of shape (n_images, n_outputs). Switch off auxiliary outputs, or "
        "wrap the network."
    )


def _check_features(network: Network, features: torch.Tensor) -> None:
    """Raise unless the last stage does nothing but classify vectors."""
    if features.ndim == 2 and features.shape[1] == network.head_width:
        return
    last = network.stages[-1]
    raise ValueError(
        f"backbone is invalid: the last stage {last!r} of {network.name} takes activations of "
        f"shape {tuple(features.shape[1:])} per image; expected ({network.head_width},), the "
        "inputs of its classification layer. Move pooling and flattening into a child module "
        f"before it, or into forward() directly before {last!r}."
    )


def _check_finite(network: Network, stage: str, activations: torch.Tensor) -> None:
    """Raise if activations are NaN or infinite."""
    if not torch.isfinite(activations).all():
        raise ValueError(
            f"backbone is invalid: the inputs of the stage {stage!r} of {network.name} are NaN or "
            "infinite for ordinary images; expected finite activations. Correct the weights and "
            "the running statistics."
        )


def _check_independence(network: Network, together: torch.Tensor, alone: torch.Tensor) -> None:
    """Raise if the activations of an image depend on the other images of the batch.

    Parameters
    ----------
    network : Network
    together, alone : Tensor
        Activations of the first image, in a batch with the other images and in a batch of one.
    """
    if not _are_close(together, alone):
        raise ValueError(
            f"backbone is invalid: {network.name} computes other activations for an image alone "
            "than for the same image next to other images, so they cannot be cached by image; "
            "expected activations that depend only on the image. Use normalisation with running "
            "statistics (track_running_stats=True), and no randomness in eval mode."
        )


def _check_tail(
    network: Network, trainable: str, inputs: torch.Tensor, expected: torch.Tensor
) -> None:
    """Raise unless the stages above the cut do the same as in the whole network.

    A cut assumes that everything below it is done by child modules. The tail repeats steps that
    ``forward`` takes between them, which can only be seen in the activations. These are compared
    before the classification layer, because models replace this layer, and a layer whose weights
    are zero would hide every difference.

    Parameters
    ----------
    network : Network
    trainable : str
    inputs : Tensor
        Activations at the cut.
    expected : Tensor
        Inputs of the classification layer in the whole network.
    """
    with _explaining(functools.partial(_tail_error, network, trainable)), torch.inference_mode():
        features = network.body(trainable)(inputs.clone()).flatten(1)
    if not _are_close(expected, features):
        raise ValueError(
            f"backbone is invalid: if it is cut at trainable={trainable!r}, the stages above the "
            f"cut compute other features than the whole {network.name}; expected the same "
            "features. Write every step of forward() before the cut, or after the last stage, as a "
            "child module, not as a function."
        )


def _are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors are equal up to rounding, relative to their greatest value."""
    if one.shape != other.shape:
        return False
    if one.numel() == 0:
        return True
    scale = float(one.abs().max())
    return torch.allclose(one, other, rtol=0, atol=_TOLERANCE * scale)
