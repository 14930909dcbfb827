"""Attributions of pixels by captum, for the whole composed network."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from .._images.images import Images
from .._models.base import BaseResNet
from .._trunk.context import RunContext
from .._trunk.pixels import network_images, unit_images
from .._utils.device import place, to_device
from ._explained_score import Question, Score, explained_score
from ._layers import tail_outputs

PIXEL_METHODS = ("integrated-gradients", "occlusion")

_N_STEPS = 100  # of integrated gradients

# Side of the squares of occlusion, as a share of the side of the image; they move by half a side.
_SQUARE = 1 / 8


class _Combine(torch.autograd.Function):
    """The score that is explained, from the outputs of the tails.

    The models compute it in NumPy, so its derivatives are passed on here.
    """

    @staticmethod
    def forward(ctx: Any, outputs: torch.Tensor, model: BaseResNet, question: Question) -> Any:
        values = outputs.detach().cpu().numpy().astype(np.float64)
        score = explained_score(model, values, question)
        ctx.weights = torch.from_numpy(score.weights).to(outputs)
        return torch.from_numpy(score.values).to(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0][:, None] * ctx.weights, None, None


class ComposedNetwork(nn.Module):
    """The whole model as one network: from images to the score that is explained.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    versus : int or None
        Class with which the target is compared.
    standardised : bool
        Whether the images are standardised.
    device : torch.device
    """

    def __init__(
        self, model: BaseResNet, versus: int | None, standardised: bool, device: torch.device
    ) -> None:
        super().__init__()
        self.trunk = place(model._runner.module, device)
        self.model = model
        self.versus = versus
        self.standardised = standardised

    def outputs(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the tails.

        Parameters
        ----------
        images : Tensor of shape (n, 1, side, side), float32
        """
        rows = images
        runner = self.model._runner
        if not runner.is_empty:
            rows = self.trunk(network_images(images, runner.channels, self.standardised))
        return torch.cat([tail_outputs(tail, rows) for tail in self.model._tails], dim=1)

    def forward(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the score of the target of each image, shape (n,)."""
        question = Question(target.cpu().numpy(), self.versus)
        return _Combine.apply(self.outputs(images), self.model, question)


def pixel_attributions(
    model: BaseResNet, images: Images, question: Question, method: str, context: RunContext
) -> Iterator[tuple[Score, torch.Tensor]]:
    """Yield scores and attributions, image by image.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    images : Images
    question : Question
    method : {"integrated-gradients", "occlusion"}
    context : RunContext

    Yields
    ------
    score : Score
    attributions : Tensor of shape (1, side, side)

    Raises
    ------
    ImportError
        If captum is not installed.
    """
    if importlib.util.find_spec("captum") is None:
        raise ImportError(
            f"method={method!r} needs the package captum, which is not installed. Run pip install "
            "'cxr-sklearn[explain]', or pass method='grad-cam'."
        )
    net = ComposedNetwork(model, question.versus, images.standardised, context.device).eval()
    attribute = {"integrated-gradients": _integrated_gradients, "occlusion": _occlusion}[method]
    for index in range(len(images)):
        pixels = to_device(images.pixels(np.array([index])), context.device)
        unit = unit_images(pixels, model._runner.image_size)
        with torch.no_grad():
            outputs = net.outputs(unit).cpu().numpy().astype(np.float64)
        score = explained_score(model, outputs, question.take(slice(index, index + 1)))
        target = torch.from_numpy(score.target)
        yield score, attribute(net, unit, target, context.batch_size)[:, 0].detach()


def _integrated_gradients(
    net: ComposedNetwork, image: torch.Tensor, target: torch.Tensor, batch_size: int
) -> torch.Tensor:
    from captum.attr import IntegratedGradients

    return IntegratedGradients(net).attribute(
        image,
        torch.zeros_like(image),
        additional_forward_args=target,
        n_steps=_N_STEPS,
        internal_batch_size=batch_size,
    )


def _occlusion(
    net: ComposedNetwork, image: torch.Tensor, target: torch.Tensor, batch_size: int
) -> torch.Tensor:
    from captum.attr import Occlusion

    side = max(1, round(_SQUARE * image.shape[-1]))
    step = max(1, side // 2)
    with torch.no_grad():
        return Occlusion(net).attribute(
            image,
            (1, side, side),
            (1, step, step),
            baselines=image.mean().expand_as(image),
            additional_forward_args=target,
            perturbations_per_eval=batch_size,
        )
