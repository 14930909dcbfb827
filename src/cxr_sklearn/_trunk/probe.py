"""Run a user's network on fixed images: what it does, and whether it can be cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .._utils.device import is_out_of_memory, seeded, threads_for
from .._utils.messages import one_line
from .network import Network

# of the greatest value: rounding differs between batches of other lengths
_TOLERANCE = 1e-3


class _UnsuitableStageError(ValueError):
    """A stage is not called in a way that a cut can use."""


def probe_images(channels: int, image_size: int) -> torch.Tensor:
    """Return the fixed images: noise, a ramp, a dark one, a framed bright one, and a flat one.

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
    images = [noise, 0.9 * ramp[:, None] + 0.3 * ramp, 0.1 * noise - 2, bright, 0.02 * noise + 0.2]
    stacked = np.stack([np.broadcast_to(image, noise.shape) for image in images])
    return torch.from_numpy(stacked.astype(np.float32))


def probe(network: Network, trainable: str, image_size: int) -> tuple[str, tuple[int, ...]]:
    """Check a network from outside, and describe what it computes below the cut.

    Weights and settings do not tell what ``forward`` does: it may be decorated, call helpers, or
    read attributes of the class. Its output on fixed images does.

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
        Of the activations at the cut; ``""`` for ``"all"``, where nothing is below it. It is
        computed in one thread, so that processes of one machine agree.
    shape : tuple of int
        Shape of the activations of one image.

    Raises
    ------
    ValueError
        If the network fails on the images, its stages are not what a cut needs, or the output for
        an image depends on the images next to it.
    """
    name = type(network.module).__name__
    images = probe_images(network.in_channels, image_size)
    last = network.stages[-1]
    cut = last if trainable in ("head", "all") else trainable
    with torch.inference_mode(), seeded(0), threads_for(1):
        reached = _run(network, {last, cut}, images)
        alone = _run(network, {last, cut}, images[:1])
    _check_features(reached[last], network, name)
    for stage in (cut, last):
        _check_finite(reached[stage], stage, name)
        _check_alone(reached[stage][:1], alone[stage], name)
    if trainable != "head":
        inputs = images if trainable == "all" else reached[cut]
        _check_tail(network, trainable, inputs, reached[last], name)
    if trainable == "all":
        return "", (1, image_size, image_size)
    activations = reached[cut]
    digest = hashlib.blake2b(str(tuple(activations.shape)).encode(), digest_size=16)
    digest.update(activations.float().contiguous().numpy().tobytes())
    return digest.hexdigest(), tuple(activations.shape[1:])


def _run(network: Network, stages: set[str], images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what enters some stages of a network."""
    name = type(network.module).__name__
    reached: dict[str, torch.Tensor] = {}

    def noting(stage: str) -> Callable:
        def hook(_: nn.Module, inputs: tuple, named: dict) -> None:
            if len(inputs) != 1 or named or not isinstance(inputs[0], torch.Tensor):
                raise _UnsuitableStageError(
                    f"backbone: forward() of {name} calls its stage {stage!r} with "
                    f"{len(inputs) + len(named)} inputs; expected one tensor: choose stages that "
                    "take one"
                )
            reached[stage] = inputs[0].clone()  # the stage may change it in place

        return hook

    hooks = [
        network.module.get_submodule(stage).register_forward_pre_hook(
            noting(stage), with_kwargs=True
        )
        for stage in stages
    ]
    try:
        output = network.module(images.clone())
    except _UnsuitableStageError:
        raise
    except Exception as error:  # it is the user's code
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"backbone: forward() of {name} fails at image_size={images.shape[-1]} "
            f"({_reason(error)}); expected a network that takes float32 images of "
            f"{images.shape[1]} channels and this size: {_remedy(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    missing = sorted(stages - set(reached))
    if missing:
        raise ValueError(
            f"backbone: forward() of {name} never calls its stage {missing[0]!r}; expected it to "
            "call each stage as a whole"
        )
    _check_output(output, len(images), name)
    return reached


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error).split(chr(10))[0])}"


def _remedy(error: Exception) -> str:
    if "view size is not compatible" in str(error):
        # images come in the channels-last layout, which convolutions are faster in
        return "replace view() by flatten() or reshape(), which work in every memory layout"
    return "it may need larger images (image_size)"


def _check_output(output: Any, n_images: int, name: str) -> None:
    """Refuse a network that returns anything but one vector of real numbers per image."""
    if isinstance(output, torch.Tensor) and output.ndim == 2 and output.is_floating_point():
        return
    found = type(output).__name__
    if isinstance(output, torch.Tensor):
        dtype = str(output.dtype).removeprefix("torch.")
        found = f"a {dtype} tensor of shape {tuple(output.shape)}"
    raise ValueError(
        f"backbone: forward() of {name} returns {found} for {n_images} images; expected one "
        "real tensor (n_images, n_outputs): switch off auxiliary outputs, or wrap the network"
    )


def _check_finite(activations: torch.Tensor, stage: str, name: str) -> None:
    """Refuse a network whose activations are NaN or infinite."""
    if not torch.isfinite(activations).all():
        raise ValueError(
            f"backbone: what enters the stage {stage!r} of {name} is NaN or infinite for ordinary "
            "images; expected finite activations: correct the weights and the running statistics"
        )


def _are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal up to rounding, relative to their greatest value."""
    if one.shape != other.shape:
        return False
    scale = float(one.abs().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=0, atol=_TOLERANCE * scale)


def _check_alone(together: torch.Tensor, alone: torch.Tensor, name: str) -> None:
    """Refuse a network that gives an image other activations next to other images."""
    if _are_close(together, alone):
        return
    raise ValueError(
        f"backbone: {name} gives an image other activations alone than next to other images, so "
        "these cannot be kept by image; expected activations that depend on the image only: use "
        "normalisation with running statistics (track_running_stats=True), and no randomness "
        "in eval mode"
    )


def _check_features(features: torch.Tensor, network: Network, name: str) -> None:
    """Refuse a last stage that does more than classify."""
    if features.ndim == 2 and features.shape[1] == network.head_width:
        return
    last = network.stages[-1]
    raise ValueError(
        f"backbone: the last stage {last!r} of {name} is given activations of shape "
        f"{tuple(features.shape[1:])} per image; expected ({network.head_width},), the inputs of "
        "its classification layer: move pooling and flattening into a child module before it, or "
        f"into forward() right before {last!r}"
    )


def _check_tail(
    network: Network, trainable: str, inputs: torch.Tensor, expected: torch.Tensor, name: str
) -> None:
    """Compare the tail to the whole network, by what enters the classification layer.

    A cut assumes that what is below it is done by child modules. Steps that ``forward`` takes
    between them are repeated by the tail, which no structural check can see. The classification
    layer itself is replaced, and one that is still zero would hide every difference.
    """
    try:
        with torch.inference_mode():
            features = network.body(trainable)(inputs.clone()).flatten(1)
    except Exception as error:  # it is the user's code
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"backbone: cut at trainable={trainable!r}, the stages of {name} from there on fail on "
            f"what reaches them ({_reason(error)}); write every step that its forward() takes "
            "before that stage as a child module, not as a function"
        ) from error
    if not _are_close(expected, features):
        raise ValueError(
            f"backbone: cut at trainable={trainable!r}, the stages from there on do not give what "
            f"{name} gives to its last stage; write every step that its forward() takes before "
            "that stage, or after the last one, as a child module, not as a function"
        )
