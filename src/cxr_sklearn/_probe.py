"""Run a user's network on fixed images: what it does, and whether it can be cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ._backbones import Network
from ._decode import one_line
from ._device import seeded, threads_for

N_IMAGES = 2
_TOLERANCE = 1e-3


class _UnsuitableStageError(ValueError):
    """A stage is not called in a way that a cut can use."""


def probe_images(channels: int, image_size: int) -> torch.Tensor:
    """Return the fixed images: noise, and a ramp from dark to bright.

    Returns
    -------
    Tensor of shape (2, channels, image_size, image_size), float32
        In the range of normalised images.
    """
    noise = np.random.default_rng(0).normal(size=(channels, image_size, image_size))
    ramp = np.linspace(-2, 2, image_size)
    images = np.stack([noise, np.broadcast_to(ramp[:, None] * 0.9 + ramp * 0.3, noise.shape)])
    return torch.from_numpy(images.astype(np.float32))


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
    stages = {last} if trainable in ("head", "all") else {last, trainable}
    with torch.inference_mode(), seeded(0), threads_for(1):
        whole, reached = _run(network, stages, images)
        alone, _ = _run(network, stages, images[:1])
    _check_alone(whole[:1], alone, name)
    _check_features(reached[last], network, name)
    if trainable == "all":
        return "", (1, image_size, image_size)
    activations = reached[last if trainable == "head" else trainable]
    if trainable not in ("head", last):
        _check_tail(network, trainable, activations, whole, name)
    digest = hashlib.blake2b(str(tuple(activations.shape)).encode(), digest_size=16)
    digest.update(activations.float().contiguous().numpy().tobytes())
    return digest.hexdigest(), tuple(activations.shape[1:])


def _run(
    network: Network, stages: set[str], images: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the network's output, and what enters some of its stages."""
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
    except (MemoryError, _UnsuitableStageError):
        raise
    except Exception as error:  # it is the user's code
        if "memory" in str(error):  # PyTorch's own error, which callers may catch
            raise
        reason = one_line(str(error).split("\n")[0])
        raise ValueError(
            f"backbone: forward() of {name} fails at image_size={images.shape[-1]} "
            f"({type(error).__name__}: {reason}); expected a network that takes float32 images of "
            f"{images.shape[1]} channels and this size: it may need larger images (image_size)"
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
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        found = type(output).__name__
        if isinstance(output, torch.Tensor):
            found = f"a tensor of shape {tuple(output.shape)}"
        raise ValueError(
            f"backbone: forward() of {name} returns {found} for {len(images)} images; expected one "
            "tensor (n_images, n_outputs): switch off auxiliary outputs, or wrap the network"
        )
    return output, reached


def _check_alone(together: torch.Tensor, alone: torch.Tensor, name: str) -> None:
    """Refuse a network that gives an image another output next to other images."""
    if torch.allclose(together, alone, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        return
    raise ValueError(
        f"backbone: {name} gives an image another output alone than next to another image, so its "
        "activations cannot be kept by image; expected an output that depends on the image only: "
        "use normalisation with running statistics (track_running_stats=True), and no randomness "
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
    network: Network, trainable: str, activations: torch.Tensor, whole: torch.Tensor, name: str
) -> None:
    """Compare the tail to the whole network.

    A cut assumes that what is below it is done by child modules. Steps that ``forward`` takes
    between them are repeated by the tail, which no structural check can see.
    """
    _, tail = network.cut(trainable)
    try:
        with torch.inference_mode():
            parts = tail(activations.clone())
    except Exception as error:  # it is the user's code
        if "memory" in str(error):
            raise
        reason = one_line(str(error).split("\n")[0])
        raise ValueError(
            f"backbone: cut at trainable={trainable!r}, the stages of {name} from there on fail on "
            f"what reaches them ({type(error).__name__}: {reason}); write every step that its "
            "forward() takes before that stage as a child module, not as a function"
        ) from error
    same_shape = whole.shape == parts.shape
    if same_shape and torch.allclose(
        whole, parts, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    ):
        return
    raise ValueError(
        f"backbone: cut at trainable={trainable!r}, the stages from there on do not give what "
        f"{name} gives; write every step that its forward() takes before that stage as a child "
        "module, not as a function"
    )
