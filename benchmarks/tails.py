"""Compare the training of tails with a loop by hand, and predictions with the forward pass.

    python benchmarks/tails.py [--repeats 5] [--image-size 32]

*Heads*: a linear head on 2,048 activations, 2,000 rows in batches of 32 (here Python rules), and a
dense chain of 256, for 20 epochs, the default of the models. *Layer4*: ResNet50's last stage and a
head. *All*: the whole ResNet50. The loop by hand indexes the tensors, calls the same module, loss
and optimiser, and does nothing else: no history, callbacks, weights or seeds. It runs with all
threads and with one, and the faster counts: a tail trains small heads in one thread. All take turns
on the same rows, for as many epochs.

*predict*: one image, and many, by a fitted ResNetOvO whose cache is empty, compared with the trunk
alone on tensors that are ready, run by the same engine.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from measuring import in_turns, machine
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetOvO, clear_cache
from cxr_sklearn._tail.activations import ArrayActivations
from cxr_sklearn._tail.module import TailModule
from cxr_sklearn._tail.rows import Blueprint, TrainingRows
from cxr_sklearn._tail.settings import TailSettings
from cxr_sklearn._tail.tail import Tail
from cxr_sklearn._trunk.build import build_network
from cxr_sklearn._trunk.context import run_context
from cxr_sklearn._trunk.engine import run_onnx
from cxr_sklearn._utils.device import autocast, autocast_dtype, resolve_device
from cxr_sklearn.datasets import make_chest_phantoms

BATCH = 32


def tail_and_rows(
    trainable: str, n: int, image_size: int, hidden: tuple[int, ...], epochs: int
) -> tuple[Tail, np.ndarray]:
    """Return an unfitted tail with drawn activations, and drawn labels."""
    network = build_network("resnet50", None, 0)
    rng = np.random.default_rng(0)
    frozen = trainable != "all"
    side = -(-image_size // 16)
    shapes = {"head": (2048,), "layer4": (1024, side, side), "all": (1, image_size, image_size)}
    values = rng.random((n, *shapes[trainable]), dtype=np.float32)
    codes = rng.integers(0, 2, n)
    rows = TrainingRows(
        ArrayActivations(values),
        sample_weight=np.ones(n),
        is_validation=np.zeros(n, bool),
        blueprint=Blueprint(network.body(trainable), network.head_width, 0 if frozen else 3),
        codes=codes,
        names=("Normal", "Pneumonia"),
    )
    model = ResNetClassifier(
        hidden_layer_sizes=hidden, max_epochs=epochs, n_iter_no_change=epochs + 1
    )
    return Tail(rows, TailSettings.of(model)), codes


def by_hand(
    tail: Tail, y: np.ndarray, device: torch.device, threads: int, dtype: torch.dtype | None
) -> Callable[[], object]:
    """Return the same training as a loop over tensors, with so many threads."""
    rows = tail.rows
    x, labels = torch.from_numpy(rows.whole).to(device), torch.from_numpy(y).to(device)
    plan = rows.blueprint

    def work() -> float:
        module = TailModule(
            Blueprint(copy.deepcopy(plan.body).requires_grad_(True), plan.width, plan.channels),
            rows.shape,
            np.full(2, 0.5),
            hidden_layer_sizes=tail.settings.hidden_layer_sizes,
            dropout=0.0,
            augment=None,
            mixup=0.0,
            device=device,
            dtype=dtype,
        )
        module = module.to(device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)
        criterion = nn.CrossEntropyLoss()
        total = 0.0
        for _ in range(tail.settings.max_epochs):
            losses = []
            for part in torch.randperm(len(x), device=device).split(BATCH):
                optimizer.zero_grad()
                loss = criterion(module(x[part]), labels[part])
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            total = float(torch.stack(losses).mean())
        return total

    def with_threads() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            work()
        finally:
            torch.set_num_threads(before)

    return with_threads


def training(device: torch.device, repeats: int, image_size: int, precision: str = "fp32") -> None:
    """Print rows/s of training by a tail and by hand."""
    dtype = autocast_dtype(precision, device)
    settings = [
        ("linear head", "head", 2000, (), 20),
        ("dense chain of 256", "head", 2000, (256,), 20),
        (f"layer4 at {image_size} px", "layer4", 128, (), 5),
        (f"all at {image_size} px", "all", 64, (), 10),
    ]
    title = f"rows/s, {dtype or torch.float32}"
    print(f"{title:24}    1 thread  all threads       tail  ratio")
    for name, trainable, n, hidden, epochs in settings:
        tail, y = tail_and_rows(trainable, n, image_size, hidden, epochs)
        tail.settings = replace(
            tail.settings, device=str(device), precision=precision, class_weight=None
        )
        ids = np.arange(n)[:, None]
        candidates = {
            "one": by_hand(tail, y, device, 1, dtype),
            "all": by_hand(tail, y, device, torch.get_num_threads(), dtype),
            "tail": lambda tail=tail, ids=ids, y=y: tail.fit(ids, y),
        }
        seconds = in_turns(candidates, repeats)
        one, more, ours = (n * epochs / seconds[key] for key in ("one", "all", "tail"))
        figures = f"{one:10.0f}  {more:11.0f}  {ours:9.0f}  {ours / max(one, more):5.2f}"
        print(f"{name:24}  {figures}", flush=True)


def predicting(device: torch.device, repeats: int) -> None:
    """Print how long predictions and the trunk alone take, at 224 pixels."""
    X, y = make_chest_phantoms(64, image_size=224, random_state=0)
    model = ResNetOvO(weights=None, max_epochs=2, device=str(device), random_state=0)
    model.fit(X[:30], y[:30])
    trunk = model.trunk_
    context = run_context(model, fitted=True)
    key = (model._runner.fingerprint, model.trainable)
    images = torch.rand(BATCH, 3, 224, 224, device=device)

    def bare(n: int) -> object:
        if context.engine == "onnxruntime":
            return run_onnx(trunk.module_, key, images[:n])
        with torch.inference_mode(), autocast(device, context.dtype):
            out = trunk.module_(images[:n].contiguous(memory_format=torch.channels_last))
            return out.cpu()

    def ours(n: int) -> object:
        clear_cache()
        return model.predict(X[:n])

    print(f"\n{'predict, ms, ' + context.engine:24}  {'trunk':>9}  {'predict':>9}  ratio")
    for n in (1, BATCH):
        more = 10 if n == 1 else 1
        seconds = in_turns(
            {"bare": lambda n=n: bare(n), "ours": lambda n=n: ours(n)}, more * repeats
        )
        one, other = 1e3 * seconds["bare"], 1e3 * seconds["ours"]
        print(f"{f'{n} images':24}  {one:9.1f}  {other:9.1f}  {other / one:5.2f}")


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = resolve_device(options.device)
    training(device, options.repeats, options.image_size)
    predicting(device, options.repeats)
    print(machine("torch", "skorch", "numpy"))


if __name__ == "__main__":
    main()
