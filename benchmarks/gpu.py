"""The benchmarks of search, trunk and tails on a CUDA device; without one, a line that says so.

    python benchmarks/gpu.py [--repeats 3] [--images 512] [--batch-sizes 8 32 128 512]

*Trunk*: images/s of ResNet50 at 224 pixels from uint8 rows in memory, by ResNetFeatures and by a
loop that normalises on the device and calls the network, eager and compiled, in float32 and in
bfloat16 (or float16), over batch sizes. *Tails* and *search* are benchmarks/tails.py and
benchmarks/tuning.py on the device. ``--device cpu`` runs the same code where there is no GPU, to
try it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import tails
import torch
import tuning
from measuring import in_turns, machine
from trunk import trunk_module

from cxr_sklearn import ResNetFeatures, clear_cache
from cxr_sklearn._trunk.pixels import network_images, unit_images
from cxr_sklearn._utils.device import autocast, autocast_dtype, to_device


def loop(
    module: Callable, rows: np.ndarray, side: int, batch: int, device: torch.device, precision: str
) -> Callable[[], object]:
    """Return a pass by hand over rows."""
    dtype = autocast_dtype(precision, device)

    def work() -> np.ndarray:
        parts = []
        with torch.inference_mode(), autocast(device, dtype):
            for start in range(0, len(rows), batch):
                pixels = rows[start : start + batch].reshape(-1, side, side)
                unit = unit_images(to_device(pixels, device), side)
                images = network_images(unit, 3, False)
                parts.append(module(images.contiguous(memory_format=torch.channels_last)).float())
            return torch.cat(parts).cpu().numpy()

    return work


def whole(
    rows: np.ndarray, side: int, batch: int, device: torch.device, precision: str
) -> Callable[[], object]:
    """Return a pass of ResNetFeatures over rows that nothing is known of."""
    features = ResNetFeatures(
        weights=None,
        image_size=side,
        batch_size=batch,
        device=str(device),
        precision=precision,
        engine="torch",
    ).fit(rows)

    def work() -> np.ndarray:
        clear_cache()
        return features.transform(rows)

    return work


def trunk(options: argparse.Namespace, device: torch.device) -> None:
    """Print images/s of the trunk by batch size and precision."""
    n, side = options.images, options.image_size
    rows = np.random.default_rng(0).integers(0, 256, (n, side * side), np.uint8)
    eager = trunk_module().to(device, memory_format=torch.channels_last)
    compiled = torch.compile(eager, dynamic=False)
    print(f"{'trunk, images/s':24}  {'eager':>8}  {'compiled':>8}  {'Features':>8}  of the better")
    for precision in ("fp32", "auto" if device.type == "cuda" else "bf16"):
        for batch in options.batch_sizes:
            seconds = in_turns(
                {
                    "eager": loop(eager, rows, side, batch, device, precision),
                    "compiled": loop(compiled, rows, side, batch, device, precision),
                    "ours": whole(rows, side, batch, device, precision),
                },
                options.repeats,
            )
            rates = [n / seconds[name] for name in ("eager", "compiled", "ours")]
            figures = "  ".join(f"{rate:8.1f}" for rate in rates)
            name = f"{autocast_dtype(precision, device) or torch.float32}, {batch}"
            share = rates[2] / max(rates[:2])
            print(f"{name.removeprefix('torch.'):24}  {figures}  {share:13.2f}", flush=True)
    print()


def main() -> None:
    """Measure, and print three tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 128, 512])
    parser.add_argument("--search-images", type=int, default=36)
    parser.add_argument("--search-size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--parts", nargs="+", default=["trunk", "tails", "search"])
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured")
        return
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"device: {name}\n")
    if "trunk" in options.parts:
        trunk(options, device)
    if "tails" in options.parts:
        for precision in ("fp32", "auto"):
            tails.training(device, options.repeats, min(options.image_size, 64), precision)
        tails.predicting(device, options.repeats)
        print()
    if "search" in options.parts:
        tuning.search(
            options.search_images,
            options.search_size,
            options.epochs,
            options.repeats,
            device=str(device),
        )
    print(machine("torch", "torchvision", "scikit-learn", "skorch"))


if __name__ == "__main__":
    main()
