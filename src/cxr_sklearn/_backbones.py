"""Build a network, load its weights, and cut it by the name of a stage."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import torchvision
from torch import nn

from ._device import seeded
from ._row_file import file_version

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4", "fc")

Backbone = str | Callable[[], nn.Module]


class _StageReached(Exception):  # noqa: N818 - control flow, not an error
    """Carry the activations out of a forward pass that ends at the cut."""

    def __init__(self, activations: torch.Tensor) -> None:
        super().__init__()
        self.activations = activations


class _Exit(nn.Module):
    """Stand where the first trained stage stood, and end the forward pass there."""

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        raise _StageReached(activations)


class Trunk(nn.Module):
    """The network below the cut: its own ``forward``, left at the first trained stage."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        try:
            self.net(images)
        except _StageReached as reached:
            return reached.activations
        raise RuntimeError("backbone: forward() never reached its first trained stage")


@dataclass(frozen=True)
class Network:
    """A network with the names of its stages.

    Attributes
    ----------
    module : torch.nn.Module
        The whole network, in eval mode and without gradients. Shared, never trained: tails
        train copies.
    stages : tuple of str
        Children that a cut may stand before, in forward order; the last is the
        classification layer.
    fingerprint : str
        Digest of architecture and weights.
    """

    module: nn.Module
    stages: tuple[str, ...]
    fingerprint: str

    @property
    def cuts(self) -> tuple[str, ...]:
        """Values that ``trainable`` takes, from fewest to most trained stages."""
        return ("head", *reversed(self.stages[:-1]), "all")

    @property
    def in_channels(self) -> int:
        """Channels of the images the network takes, 1 or 3."""
        for module in self.module.modules():
            if isinstance(module, nn.Conv2d):
                if module.in_channels not in (1, 3):
                    raise ValueError(
                        f"backbone: its first convolution takes {module.in_channels} channels; "
                        "expected 1 (greyscale) or 3 (RGB)"
                    )
                return module.in_channels
        raise ValueError("backbone: it has no torch.nn.Conv2d, so it takes no images")

    @property
    def head_width(self) -> int:
        """Values per image that reach the classification layer."""
        for module in self.module.get_submodule(self.stages[-1]).modules():
            if isinstance(module, nn.Linear):
                return module.in_features
        raise ValueError(
            f"backbone: its last stage {self.stages[-1]!r} holds no torch.nn.Linear; expected the "
            "classification layer there, which the binary problems replace by heads of their own"
        )

    def cut(self, trainable: str) -> tuple[nn.Module, nn.Module]:
        """Split into trunk and tail, so that ``tail(trunk(x))`` is the network's own ``net(x)``.

        Parameters
        ----------
        trainable : str
            The first trained stage, one of `cuts`.

        Returns
        -------
        trunk : torch.nn.Module
            Images (n, channels, height, width) to activations. The identity for ``"all"``.
        tail : torch.nn.Module
            Activations to the outputs of the classification layer. Both share the network's
            parameters.

        Raises
        ------
        ValueError
            If `trainable` names no stage of this network.
        """
        if trainable not in self.cuts:
            raise ValueError(
                f"trainable={trainable!r} is no stage of this backbone; expected one of "
                f"{', '.join(map(repr, self.cuts))}"
            )
        if trainable == "all":
            return nn.Identity(), self.module
        first = self.stages[-1] if trainable == "head" else trainable
        if first == self.stages[-1]:
            tail = self.module.get_submodule(first)
            return Trunk(_replaced(self.module, {first: _Exit()})), tail
        names = [name for name, _ in self.module.named_children()]
        below = names[: names.index(first)]
        above = names[names.index(first) + 1 :]
        trunk = _replaced(self.module, {first: _Exit()} | {n: nn.Identity() for n in above})
        return Trunk(trunk), _replaced(self.module, {n: nn.Identity() for n in below})

    def check_cut(self, trainable: str, images: torch.Tensor) -> torch.Tensor:
        """Compare the tail to the whole network on some images, in one pass of the whole.

        A cut assumes that what stands below it is done by child modules. Steps that ``forward``
        takes between them are repeated by the tail, which no structural check can see.

        Parameters
        ----------
        trainable : str
            A stage between the first and the last.
        images : Tensor of shape (n, channels, height, width)

        Returns
        -------
        Tensor
            The activations at the cut, as the trunk computes them.

        Raises
        ------
        ValueError
            If the tail's output is not the network's.
        """
        reached: list[torch.Tensor] = []
        stage = self.module.get_submodule(trainable)
        hook = stage.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
        try:
            whole = self.module(images)
        finally:
            hook.remove()
        if not reached:
            raise ValueError(
                f"backbone: forward() of {type(self.module).__name__} never calls its stage "
                f"{trainable!r}; expected it to call each stage as a whole"
            )
        _, tail = self.cut(trainable)
        parts = tail(reached[0])
        if whole.shape != parts.shape or not torch.allclose(whole, parts, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"backbone: cut at trainable={trainable!r}, the stages from there on do not give "
                f"what {type(self.module).__name__} gives; write every step that its forward() "
                "takes before that stage as a child module, not as a function"
            )
        return reached[0]

    def body(self, trainable: str) -> nn.Module:
        """Return the tail without its classification layer: activations to pooled features."""
        if trainable == "head":
            return nn.Identity()
        _, tail = self.cut(trainable)
        return _replaced(tail, {self.stages[-1]: nn.Identity()})


def _replaced(net: nn.Module, children: dict[str, nn.Module]) -> nn.Module:
    """Return `net` with some children replaced; every other part is shared, not copied."""
    twin = copy.copy(net)
    twin._modules = {**net._modules, **children}
    return twin


def build_network(backbone: Backbone, weights: str | os.PathLike | None, seed: int) -> Network:
    """Build a network in eval mode with its weights.

    Parameters
    ----------
    backbone : str or callable
        The name of a torchvision ResNet, or a callable that returns a network.
    weights : "imagenet", path or None
        Where the weights come from. ``None`` keeps what the constructor made, seeded by `seed`.
    seed : int
        Seed of newly made weights. PyTorch's global generator is left as it was.

    Returns
    -------
    Network
        Named backbones are built once per process for the same weights.
    """
    if isinstance(backbone, str):
        # the seed matters to weights that are made, not to weights that are read
        return _named_network(backbone, _weights_version(weights), seed if weights is None else 0)
    if weights == "imagenet":
        raise ValueError(
            "weights='imagenet' are torchvision's, for backbones given by name; with a callable "
            "backbone pass weights=None to keep the weights that it sets, or a path to a file"
        )
    with seeded(seed):
        net = backbone()
    if not isinstance(net, nn.Module):
        raise TypeError(
            f"backbone() returned {type(net).__name__}; expected a torch.nn.Module with the "
            f"children {', '.join(RESNET_STAGES)}, or with an attribute `stages` naming its own"
        )
    stages = _stage_names(net)
    if weights is not None:
        load_state(net, weights, head=stages[-1])
    return _frozen(net, stages)


@functools.lru_cache(maxsize=4)
def _named_network(backbone: str, weights: tuple[str, ...] | None, seed: int) -> Network:
    with seeded(seed):
        net = getattr(torchvision.models, backbone)()
    if weights is not None:
        if weights == ("imagenet",):
            net.load_state_dict(_imagenet_state(backbone))
        else:
            load_state(net, weights[0], head="fc")
    return _frozen(net, RESNET_STAGES)


def _weights_version(weights: str | os.PathLike | None) -> tuple[str, ...] | None:
    """Name weights so that a file which changed is read again."""
    if weights is None or weights == "imagenet":
        return None if weights is None else ("imagenet",)
    path = _existing_weights(weights)
    return (str(path), *map(str, file_version(path) or ()))


def _frozen(net: nn.Module, stages: tuple[str, ...]) -> Network:
    net = net.eval().requires_grad_(False)
    network = Network(net, stages, _fingerprint(net))
    _ = network.in_channels, network.head_width  # a bad backbone fails here, not after an epoch
    return network


def _stage_names(net: nn.Module) -> tuple[str, ...]:
    """Return the stages of a user's network, or say what is wrong with it."""
    stages = getattr(net, "stages", RESNET_STAGES)
    if isinstance(stages, str) or not all(isinstance(name, str) for name in stages):
        raise TypeError(f"backbone: its `stages` is {stages!r}; expected a tuple of child names")
    children = [name for name, _ in net.named_children()]
    missing = [name for name in stages if name not in children]
    if missing or len(stages) < 1:
        raise ValueError(
            f"backbone: {type(net).__name__} lacks the stages {', '.join(missing) or '(none)'} "
            f"(it has {', '.join(children) or 'no children'}); expected torchvision's names "
            f"{', '.join(RESNET_STAGES)}, or an attribute `stages` with its own in forward order"
        )
    if sorted(stages, key=children.index) != list(stages):
        raise ValueError(
            f"backbone: stages {tuple(stages)} are not in the order in which the children are "
            f"defined ({', '.join(children)}); define them in forward order"
        )
    return tuple(stages)


def _fingerprint(net: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{type(net).__module__}.{type(net).__qualname__}\n{net}".encode())
    for module in net.modules():  # nets of equal weights may compute differently
        digest.update(_behaviour(module).encode())
    for name, tensor in net.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _behaviour(module: nn.Module) -> str:
    """Describe what a module's code and settings do; counters, being integers, are left out."""
    code = getattr(type(module).forward, "__code__", None)
    settings = sorted(
        (name, value)
        for name, value in vars(module).items()
        if isinstance(value, (bool, float, str))
    )
    if code is None:
        return repr(settings)
    constants = [c for c in code.co_consts if isinstance(c, (bool, int, float, str))]
    return f"{settings}{code.co_code.hex()}{code.co_names}{constants}"


def _imagenet_state(backbone: str) -> dict[str, torch.Tensor]:
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:  # URLError is one; so is a full or read-only cache folder
        raise OSError(
            f"weights='imagenet': {weights.url} could not be had ({error}); download it elsewhere "
            "and pass weights=<path to the .pth file>, or weights=None to train from scratch"
        ) from error


def _existing_weights(weights: str | os.PathLike) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights={str(weights)!r}: no such file; expected 'imagenet', None, or the path of a "
            "state dict (.pth, .pt or .safetensors)"
        )
    return path.absolute()


def read_state(weights: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from the file.

    Parameters
    ----------
    weights : str or path
        A ``.safetensors`` file, or one that ``torch.load(weights_only=True)`` reads. A state dict
        inside a checkpoint's ``"state_dict"`` is found, and the ``module.`` before the keys that
        ``DataParallel`` leaves is removed.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU.
    """
    path = _existing_weights(weights)
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a file of anything else can make the unpickler raise anything
        # PyTorch goes on to advise weights_only=False, which would run code from the file
        reason = (str(error).strip() or type(error).__name__).split("\n")[0].split(". ")[0]
        raise ValueError(
            f"weights={str(weights)!r} is no readable state dict ({reason}); expected what "
            "torch.save(net.state_dict(), path) or safetensors' save_file writes"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(
            f"weights={str(weights)!r} holds {type(state).__name__}, not a state dict; expected "
            "what torch.save(net.state_dict(), path) writes"
        )
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_state(net: nn.Module, weights: str | os.PathLike, head: str) -> None:
    """Load weights into `net` after checking keys and shapes.

    The classification layer `head` may be missing or have another shape: every model replaces it.

    Raises
    ------
    ValueError
        Naming the missing and unexpected keys and the shapes that differ.
    """
    state, own = read_state(weights), net.state_dict()

    def in_head(key: str) -> bool:
        return key.startswith(f"{head}.")

    wrong = [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape and not in_head(key)
    ]
    # checkpoints older than PyTorch 0.4.1 lack this counter, which nothing here reads
    missing = [
        k for k in own if k not in state and not in_head(k) and "num_batches_tracked" not in k
    ]
    unexpected = [key for key in state if key not in own and not in_head(key)]
    problems = [
        *([f"missing {_some(missing)}"] if missing else []),
        *([f"unexpected {_some(unexpected)}"] if unexpected else []),
        *([_some(wrong, "; ")] if wrong else []),
    ]
    if problems:
        raise ValueError(
            f"weights={str(weights)!r} do not fit backbone {type(net).__name__}: "
            f"{'; '.join(problems)}; pass the file that belongs to this backbone"
        )
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    net.load_state_dict({**own, **fitting})


def _some(names: list[str], separator: str = ", ", most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + rest
