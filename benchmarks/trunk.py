"""Measure images/s of ResNetFeatures, of other programs for the trunk, and of the hardware.

    python benchmarks/trunk.py [--images 32] [--image-size 224] [--repeats 5]

Everything runs ResNet50 below the head, in float32, in batches of 32, on the same images and with
the same threads, and takes turns. The candidates are given images that are normalised already;
*ResNetFeatures* (both engines) is given uint8 rows, and scales, repeats and normalises them, names
them by their content and keeps what comes out, all of which counts. The bound is the rate of a
2048 x 2048 matrix product (sgemm), measured in the same turns, over 8.2 GFLOP per image of 224
pixels.
onnxruntime runs as in the package, with threads that do not spin.
A candidate whose package is not installed is left out, with a line.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from measuring import in_turns, machine
from torch.fx.experimental.optimization import fuse

from cxr_sklearn import ResNetFeatures, clear_cache
from cxr_sklearn._trunk.build import build_network
from cxr_sklearn._trunk.engine import has_onnxruntime, run_onnx
from cxr_sklearn._trunk.pixels import network_images, unit_images

BATCH, SIDE, FLOP = 32, 2048, 8.2e9

Run = Callable[[torch.Tensor], object]


def trunk_module() -> torch.nn.Module:
    """Return ResNet50 up to its head, written so that every tool can follow it."""
    net = copy.deepcopy(build_network("resnet50", None, 0).module)  # the process's own is shared
    body = [child for name, child in net.named_children() if name != "fc"]
    return torch.nn.Sequential(*body, torch.nn.Flatten()).eval()


def openvino_runner(module: torch.nn.Module, example: torch.Tensor) -> Run:
    """Return the module compiled by OpenVINO."""
    import openvino

    model = openvino.convert_model(module, example_input=example[:2])
    compiled = openvino.Core().compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda batch: compiled(batch.numpy())[0]


def runners(example: torch.Tensor) -> dict[str, Run]:
    """Return what runs a batch of normalised images, by name."""
    module = trunk_module()
    last = trunk_module().to(memory_format=torch.channels_last)
    folded = fuse(trunk_module()).to(memory_format=torch.channels_last)
    found: dict[str, Run] = {
        "PyTorch eager": lambda x: module(x),
        "PyTorch eager, channels last": lambda x: last(x.to(memory_format=torch.channels_last)),
        "the same, BatchNorm folded": lambda x: folded(x.to(memory_format=torch.channels_last)),
    }
    torch._inductor.config.freezing = True
    compiled = torch.compile(trunk_module())
    found["PyTorch inductor, frozen"] = lambda x: compiled(x)
    if has_onnxruntime():
        found["onnxruntime"] = lambda x: run_onnx(module, ("benchmark",), x)
    else:
        print("onnxruntime is not installed: left out")
    try:
        found["OpenVINO"] = openvino_runner(module, example)
    except ImportError:
        print("OpenVINO is not installed: left out")
    return found


def whole(engine: str, rows: np.ndarray, image_size: int) -> Callable[[], object]:
    """Return a pass of ResNetFeatures over rows that nothing is known of."""
    features = ResNetFeatures(weights=None, image_size=image_size, engine=engine).fit(rows)

    def work() -> np.ndarray:
        clear_cache()
        return features.transform(rows)

    return work


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, side = options.images, options.image_size
    rows = np.random.default_rng(0).integers(0, 256, (n, side * side), np.uint8)
    images = network_images(
        unit_images(torch.from_numpy(rows.reshape(n, side, side)), side), 3, False
    ).contiguous()
    square = torch.rand(SIDE, SIDE)
    candidates: dict[str, Callable[[], object]] = {"sgemm": lambda: square @ square}

    def over_all(run: Run) -> Callable[[], object]:
        def work() -> list:
            with torch.inference_mode():
                return [run(images[start : start + BATCH]) for start in range(0, n, BATCH)]

        return work

    expected = None
    for name, run in runners(images).items():
        candidates[name] = over_all(run)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = np.concatenate([np.asarray(part) for part in candidates[name]()])
        print(f"{name}: first call {time.perf_counter() - start:.1f} s", end="")
        expected = first if expected is None else expected
        print(f", differs by {np.abs(first - expected).max() / np.abs(expected).max():.0e}")
    for engine in ("torch", *(("onnxruntime",) if has_onnxruntime() else ())):
        candidates[f"ResNetFeatures, {engine}"] = whole(engine, rows, side)
    seconds = in_turns(candidates, options.repeats)
    gflops = 2 * SIDE**3 / seconds.pop("sgemm") / 1e9
    bound = gflops * 1e9 / (FLOP * (side / 224) ** 2)
    print(
        f"\n{n} images of {side} pixels, {torch.get_num_threads()} threads, medians of "
        f"{options.repeats}; sgemm {gflops:.0f} GFLOP/s, so at most {bound:.1f} images/s by it\n"
    )
    print(f"{'':32}  images/s  of eager  of sgemm's bound")
    eager = seconds["PyTorch eager"]
    for name, value in seconds.items():
        print(f"{name:32}  {n / value:8.1f}  {eager / value:8.2f}  {n / value / bound:16.2f}")
    if has_onnxruntime():
        share = seconds["onnxruntime"] / seconds["ResNetFeatures, onnxruntime"]
        print(f"\nResNetFeatures is {share:.3f} of onnxruntime alone, normalisation included")
    print(machine("torch", "torchvision", "numpy", *(["onnxruntime"] if has_onnxruntime() else [])))


if __name__ == "__main__":
    main()
