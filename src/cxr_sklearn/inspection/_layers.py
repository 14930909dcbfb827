"""Run a model up to the layer whose maps are explained, and from there to the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .._images.images import Images
from .._models.base import BaseResNet
from .._tail.module import TailModule
from .._tail.tail import Tail
from .._trunk.context import RunContext
from .._trunk.counter import PassCounter
from .._trunk.network import split_after
from .._trunk.runner import Runner
from .._utils.device import place, to_device

# The split network and the whole network may differ by this share of the greatest value.
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class TailPass:
    """Forward pass of one tail over a batch, which remembers the layer.

    Attributes
    ----------
    layer : Tensor of shape (n, channels, height, width)
        Activations of the layer, of which gradients can be computed.
    outputs : Tensor of shape (n, n_outputs)
        Outputs of the tail: the logit of the second of two classes, or the logits of all.
    """

    layer: torch.Tensor
    outputs: torch.Tensor

    def gradient(self, weights: np.ndarray) -> torch.Tensor:
        """Return the gradient of the weighted sum of the outputs with respect to the layer."""
        weight = torch.from_numpy(weights.astype(np.float32)).to(self.outputs)
        total = (self.outputs * weight).sum()
        # A graph may be shared by several tails.
        (gradient,) = torch.autograd.grad(total, self.layer, retain_graph=True)
        return gradient


@dataclass(frozen=True, eq=False)
class LayerBatch:
    """Forward passes of all tails over a batch.

    Attributes
    ----------
    passes : list of TailPass
        One per tail.
    is_shared : bool
        Whether the layer belongs to the frozen trunk, so that all tails have the same one.
    """

    passes: list[TailPass]
    is_shared: bool

    @property
    def outputs(self) -> np.ndarray:
        """Outputs of all tails as columns, float64."""
        columns = [one.outputs.detach().cpu().numpy() for one in self.passes]
        return np.concatenate(columns, axis=1).astype(np.float64)


def layer_batches(model: BaseResNet, images: Images, context: RunContext) -> Iterator[LayerBatch]:
    """Run a model over images, and yield the last layer with maps, batch by batch.

    The layer is the last stage with maps: activations that have a height and a width. If the trunk
    is cut behind it, the frozen trunk is run up to this layer, once per image.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    images : Images
    context : RunContext

    Yields
    ------
    LayerBatch

    Raises
    ------
    ValueError
        If no stage of the network has maps.
    """
    runner: Runner = model._runner
    is_in_trunk = len(runner.row_shape) == 1
    if is_in_trunk:
        yield from _batches_of_trunk(model, images, context)
        return
    counter = PassCounter()
    for _, _, block in runner.blocks(images, context, counter):
        passes = [_pass_of_tail(model, tail, block, context) for tail in model._tails]
        yield LayerBatch(passes, is_shared=False)


def _has_maps(values: torch.Tensor) -> bool:
    return values.ndim == 4 and values.shape[2] * values.shape[3] > 1


def _leaf(values: torch.Tensor) -> torch.Tensor:
    """Return a copy of values at which gradients end."""
    return values.detach().clone().float().requires_grad_()


# -- a layer of the trunk -------------------------------------------------------------------------


def _batches_of_trunk(
    model: BaseResNet, images: Images, context: RunContext
) -> Iterator[LayerBatch]:
    """Yield batches of a model whose tails take vectors, so that the layer is in the trunk."""
    runner: Runner = model._runner
    stage = _last_stage_of_trunk(model, images, context)
    below, above = split_after(runner.module, stage)
    place(above, context.device)
    start = 0
    for maps in runner.part_blocks(below, f"after {stage}", images, context):
        layer = _leaf(maps)
        rows = above(layer).flatten(1)
        if start == 0 and callable(model.backbone):
            expected = runner.activations(images.take(np.arange(1)), context, PassCounter())
            _check_split(model, stage, rows[:1], expected)
        start += len(maps)
        passes = [TailPass(layer, tail_outputs(tail, rows)) for tail in model._tails]
        yield LayerBatch(passes, is_shared=True)


def _last_stage_of_trunk(model: BaseResNet, images: Images, context: RunContext) -> str:
    """Return the last stage of the trunk with maps."""
    runner: Runner = model._runner
    stages = runner.stages[:-1]
    if runner.trainable != "head":
        stages = stages[: runner.stages.index(runner.trainable)]
    # Named backbones end with a stage of maps, and need no trial.
    if isinstance(model.backbone, str):
        return stages[-1]
    first = images.take(np.arange(1))
    on_torch = RunContext(context.device, context.dtype, 1)
    for stage in reversed(stages):
        below, _ = split_after(runner.module, stage)
        for values in runner.part_blocks(below, stage, first, on_torch):
            if _has_maps(values):
                return stage
    raise _no_maps(model)


def tail_outputs(tail: Tail, rows: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a tail from activations."""
    module = _module(tail, rows.device)
    values = module.body(module.body_input(module.unit(rows))).flatten(1)
    return _margins(module.classify(values))


# -- a layer of the tails -------------------------------------------------------------------------


def _pass_of_tail(
    model: BaseResNet, tail: Tail, block: np.ndarray, context: RunContext
) -> TailPass:
    """Run a tail that contains the layer, or whose input is the layer."""
    module = _module(tail, context.device)
    rows = module.unit(to_device(block, context.device))
    with torch.no_grad():
        inputs = module.body_input(rows)
    stage, below, above = _split_body(model, module, inputs)
    with torch.no_grad():
        layer = _leaf(below(inputs))
    outputs = _margins(module.classify(above(layer).flatten(1)))
    if callable(model.backbone):
        expected = tail.decision_function(block[:1], context).reshape(1, -1)
        _check_split(model, stage, outputs[:1], expected)
    return TailPass(layer, outputs)


def _split_body(
    model: BaseResNet, module: TailModule, inputs: torch.Tensor
) -> tuple[str, nn.Module, nn.Module]:
    """Split the body of a tail behind its last stage with maps."""
    runner: Runner = model._runner
    first = 0 if runner.is_empty else runner.stages.index(runner.trainable)
    stages = runner.stages[first:-1]
    for stage in reversed(stages):
        below, above = split_after(module.body, stage)
        with torch.no_grad():
            found = below(inputs[:1])
        if _has_maps(found):
            return stage, below, above
    # No trained stage has maps. The activations that the trunk returns may have.
    if not runner.is_empty and _has_maps(inputs):
        return runner.stages[first - 1], nn.Identity(), module.body
    raise _no_maps(model)


def _module(tail: Tail, device: torch.device) -> TailModule:
    module: TailModule = tail.net_.module_
    place(module, device).eval()
    return module


def _margins(logits: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a tail, as ``Tail.decision_function`` does."""
    if logits.shape[1] == 2:
        return logits[:, 1:] - logits[:, :1]
    return logits


def _check_split(model: BaseResNet, stage: str, found: torch.Tensor, expected: np.ndarray) -> None:
    """Raise if a user's own network computes something else when it is split behind a stage."""
    values = found.detach().cpu().numpy()
    scale = max(float(np.abs(expected).max()), 1e-6)
    if not np.abs(values - expected.reshape(values.shape)).max() <= _TOLERANCE * scale:
        raise ValueError(
            f"backbone is invalid: split behind its stage {stage!r}, the network computes other "
            "outputs than in one piece; expected stages of which each takes the output of the one "
            "before alone. Move what connects stages into a stage."
        )


def _no_maps(model: BaseResNet) -> ValueError:
    return ValueError(
        f"model is invalid: no stage of its backbone ({', '.join(model._runner.stages[:-1])}) "
        "returns maps with a height and a width; expected a convolutional network. Pass a model "
        "with a convolutional backbone, or increase image_size."
    )
