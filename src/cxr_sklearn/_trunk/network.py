"""A network with named stages, which can be cut in two where a stage begins."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from ..backbones._registry import Normalisation


class _CutReached(Exception):  # noqa: N818 - it controls the flow, and is not an error
    """Carries the activations out of a forward pass that ends at the cut."""

    def __init__(self, activations: torch.Tensor) -> None:
        super().__init__()
        self.activations = activations


class _CutPoint(nn.Module):
    """Takes the place of the first trained stage, and ends the forward pass there."""

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        raise _CutReached(activations)


class Trunk(nn.Module):
    """The part of a network below the cut.

    It calls the ``forward`` of the whole network, which ends where the first trained stage would
    begin. So steps that ``forward`` takes between the stages are part of the trunk as well.

    Parameters
    ----------
    net : torch.nn.Module
        The network with a :class:`_CutPoint` in place of its first trained stage.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        try:
            self.net(images)
        except _CutReached as reached:
            return reached.activations
        raise RuntimeError(
            "backbone is invalid: its forward() did not call the first trained stage; expected it "
            "to call every stage for every batch."
        )


@dataclass(frozen=True)
class Network:
    """A network with the names of its stages.

    Attributes
    ----------
    module : torch.nn.Module
        The whole network, in eval mode and without gradients. It is shared and never trained: the
        tails train copies of its stages.
    stages : tuple of str
        Names of the children at which the network can be cut, in the order of the forward pass.
        The last stage is the classification layer.
    normalisation : Normalisation
        Normalisation of the images that the network expects.
    fingerprint : str
        Digest of the architecture, the weights and the code.
    in_channels : int
        Number of channels of the images that the network takes, 1 or 3.
    head_width : int
        Number of values per image that the classification layer takes.
    """

    module: nn.Module
    stages: tuple[str, ...]
    normalisation: Normalisation
    fingerprint: str
    in_channels: int
    head_width: int

    @property
    def name(self) -> str:
        """Name of the class of the network, for messages."""
        return type(self.module).__name__

    @property
    def cuts(self) -> tuple[str, ...]:
        """Values that ``trainable`` takes, from fewest to most trained stages."""
        return ("head", *reversed(self.stages[:-1]), "all")

    def cut(self, trainable: str) -> tuple[nn.Module, nn.Module]:
        """Split the network so that ``tail(trunk(x))`` equals ``net(x)``.

        Parameters
        ----------
        trainable : str
            The first trained stage, one of `cuts`.

        Returns
        -------
        trunk : torch.nn.Module
            From images (n, channels, height, width) to activations. The identity for ``"all"``.
        tail : torch.nn.Module
            From activations to the outputs of the classification layer. Trunk and tail share the
            parameters of the network.

        Raises
        ------
        ValueError
            If the network has no stage of this name.
        """
        if trainable not in self.cuts:
            raise ValueError(
                f"trainable={trainable!r} is invalid: this backbone has no such stage; expected "
                f"one of {', '.join(map(repr, self.cuts))}."
            )
        if trainable == "all":
            return nn.Identity(), self.module
        if trainable == "head":
            first = self.stages[-1]
            trunk = _with_children(self.module, {first: _CutPoint()})
            return Trunk(trunk), self.module.get_submodule(first)
        # The forward pass of the trunk ends at the cut, so the children above it are not called.
        # They are replaced, or the trunk would contain their parameters. In the tail, children
        # below the cut are replaced by identities, which return the activations unchanged.
        names = [name for name, _ in self.module.named_children()]
        place = names.index(trainable)
        below = _identities(names[:place])
        above = _identities(names[place + 1 :])
        trunk = _with_children(self.module, {trainable: _CutPoint(), **above})
        return Trunk(trunk), _with_children(self.module, below)

    def body(self, trainable: str) -> nn.Module:
        """Return the tail without its classification layer: from activations to pooled features."""
        if trainable == "head":
            return nn.Identity()
        _, tail = self.cut(trainable)
        return _with_children(tail, {self.stages[-1]: nn.Identity()})


def split_after(net: nn.Module, stage: str) -> tuple[nn.Module, nn.Module]:
    """Split a network, or a part of one, behind a stage: ``above(below(x))`` equals ``net(x)``.

    Parameters
    ----------
    net : torch.nn.Module
        A network, a :class:`Trunk`, or a tail.
    stage : str
        Name of one of its children.

    Returns
    -------
    below, above : torch.nn.Module
        Both share the parameters of the network, and are in its mode: training or eval.
    """
    whole = net.net if isinstance(net, Trunk) else net
    names = [name for name, _ in whole.named_children()]
    place = names.index(stage)
    end = nn.Sequential(whole.get_submodule(stage), _CutPoint())
    later = _identities(names[place + 1 :])
    below = Trunk(_with_children(whole, {stage: end, **later}))
    above = _with_children(whole, _identities(names[: place + 1]))
    if isinstance(net, Trunk):
        above = Trunk(above)
    # New modules are in training mode. PyTorch's ONNX exporter reads the mode of the outermost
    # module, and would set the layers that are shared with the network to it.
    return below.train(net.training), above.train(net.training)


def _identities(names: list[str]) -> dict[str, nn.Module]:
    return {name: nn.Identity() for name in names}


def _with_children(net: nn.Module, children: dict[str, nn.Module]) -> nn.Module:
    """Return `net` with some children replaced. All other parts are shared, not copied."""
    twin = copy.copy(net)
    twin._modules = {**net._modules, **children}
    return twin
