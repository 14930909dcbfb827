"""Cut a network in two at the name of a stage."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn


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
