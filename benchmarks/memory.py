"""Peak memory of fit and predict against the number of images, and the size of a saved model.

    python benchmarks/memory.py [--images 1000 10000 50000] [--deep 300 1300 1500 3000]
        [--deeper 300 600 900 1800] [--real 64 192] [--epochs 2] [--jobs 2] [--folder FOLDER]
        [--parts head layer4 layer3 resnet50 saved]

ResNetOvO is given paths of PNG files of 224 pixels: phantoms, each shifted by another distance, so
that no two files are equal. Every number comes from a process of its own, which imports, lists the
files, fits 32 images, notes what it holds by then (*base*), and fits or predicts all images.
*Above* is its peak above that base, and *bytes/image* the slope since the row before.

*head*, *layer4* and *layer3* stand for cuts of a network of hardly any work whose rows of
activations have the size of ResNet50's (2,048, 200,704 and 401,408 values), since ResNet50 itself
would take hours for as many images. The deep cuts run with a store on disk (`memory=folder`), and
layer4 without one too. *resnet50* is the real network, cut at its head.

What memory should be: some batches, and up to 1 GiB each for the activations that the process keeps
between fits (not where `memory` names a folder) and for those of the fit under way. Up to these
bounds every image counts, with 8,192 bytes twice at the head. What glibc's allocator keeps of
freed batches comes on top: some hundred MiB where a row is about a megabyte.

*saved* is the size of a fitted ResNetOvO of three classes in a joblib file, next to that of whole
ResNet50s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import torch
import torchvision
from measuring import machine, peak_mib, seconds_of
from PIL import Image
from torch import nn

from cxr_sklearn import ResNetOvO, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning, TrunkPassWarning

SIDE, N_DRAWN, N_FIRST = 224, 100, 32
FILE_BYTES = 60_000  # more than a file takes
# values per image at the cuts of ResNet50, and of `light`
VALUES = {"head": 2048, "layer4": 200_704, "layer3": 401_408}
PARTS = ("head", "layer4", "layer3", "resnet50", "saved")


def light() -> nn.Module:
    """Return a network of hardly any work, with torchvision's stages and ResNet50's shapes."""
    stages = OrderedDict(
        conv1=nn.Conv2d(3, 8, 4, stride=4),
        layer1=nn.ReLU(),
        layer2=nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 512, 1)),
        layer3=nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(512, 1024, 1, groups=512)),
        layer4=nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1024, 2048, 1, groups=1024)),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(2048, 10),
    )
    return nn.Sequential(stages)


# -- the files ------------------------------------------------------------------------------------


def write_phantoms(folder: Path, n: int, n_jobs: int) -> None:
    """Write distinct phantoms, ``<number>-<class>.png``."""
    X, y = make_chest_phantoms(N_DRAWN, image_size=SIDE, random_state=0)

    def write(i: int) -> None:
        shift = divmod(i // N_DRAWN, SIDE)
        pixels = np.roll(X[i % N_DRAWN].reshape(SIDE, SIDE), shift, axis=(0, 1))
        pixels[0, 0] = i % 256  # a shift alone makes them differ
        file = folder / f"{i:06d}-{y[i % N_DRAWN]}.png"
        Image.fromarray(pixels).save(file, compress_level=1)

    joblib.Parallel(n_jobs, prefer="threads")(joblib.delayed(write)(i) for i in range(n))


def listed(folder: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first files as a column of paths, and their classes."""
    names = sorted(os.listdir(folder))[:n]
    X = np.array([[os.path.join(folder, name)] for name in names], dtype=object)
    return X, np.array([name.removesuffix(".png").split("-", 1)[1] for name in names])


def check_disk(folder: Path, n_files: int, store_bytes: int) -> None:
    """Refuse to begin what the disk has no room for."""
    needed = n_files * FILE_BYTES + store_bytes + 2 * 2**30
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{folder} has {free / 2**30:.1f} GiB free; expected {needed / 2**30:.1f}: name "
            "another folder with --folder, or pass fewer images"
        )


# -- one measurement, in a process of its own -------------------------------------------------


def resident_mib() -> float:
    """Return what this process holds now, MiB; its peak where the system does not say."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return peak_mib()


def measure(job: dict) -> dict[str, float]:
    """Fit or predict as `job` says, and return base and peak of this process, MiB."""
    warnings.simplefilter("ignore", NeverPredictedWarning)
    warnings.simplefilter("ignore", TrunkPassWarning)
    X, y = listed(job["folder"], job["n"])
    model = ResNetOvO(
        backbone=light if job["backbone"] == "light" else job["backbone"],
        weights=None,
        trainable=job["trainable"],
        max_epochs=job["epochs"],
        n_iter_no_change=job["epochs"] + 1,
        memory=job["memory"],
        random_state=0,
    )
    model.fit(X[:N_FIRST], y[:N_FIRST])
    base = resident_mib()
    step = model.predict if job["step"] == "predict" else lambda X: model.fit(X, y)
    seconds = seconds_of(lambda: step(X))
    return {"base": base, "peak": peak_mib(), "seconds": seconds}


def measured(job: dict) -> dict[str, float]:
    """Return what `measure` says of a job, in a new process."""
    command = [sys.executable, __file__, "--measure", json.dumps(job)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


# -- the tables -----------------------------------------------------------------------------------


@contextlib.contextmanager
def store_in(folder: Path, is_stored: bool) -> Iterator[Path | None]:
    """Make a folder for activations, and delete it; or none."""
    if not is_stored:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=folder) as store:
        yield Path(store)


def bytes_below(folder: Path) -> int:
    """Return the size of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def table(title: str, job: dict, sizes: list[int], folder: Path, *, store: bool = False) -> None:
    """Print peaks of fit and of predict for some numbers of images."""
    print(f"\n{title}")
    print(
        f"{'':8}{'images':>8}{'base, MiB':>11}{'peak, MiB':>11}{'above, MiB':>12}"
        f"{'bytes/image':>13}{'disk bytes/image':>18}{'seconds':>9}"
    )
    for step in ("fit", "predict"):
        before: tuple[int, float] | None = None
        for n in sizes:
            with store_in(folder, store) as place:
                memory = None if place is None else str(place)
                found = measured({**job, "step": step, "n": n, "memory": memory})
                on_disk = "" if place is None else f"{bytes_below(place) / n:.0f}"
            above = found["peak"] - found["base"]
            slope = "" if before is None else f"{2**20 * (above - before[1]) / (n - before[0]):.0f}"
            print(
                f"{step:8}{n:8d}{found['base']:11.0f}{found['peak']:11.0f}{above:12.0f}"
                f"{slope:>13}{on_disk:>18}{found['seconds']:9.1f}",
                flush=True,
            )
            before = n, above


def saved(folder: Path, epochs: int) -> None:
    """Print the size of fitted models and of whole networks in joblib files."""
    X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    file = folder / "saved"
    torch.save(torchvision.models.resnet50().state_dict(), file)
    one = file.stat().st_size / 1e6
    print(f"\n{'saved, MB':42}{'size':>8}{'of three':>10}")
    rows = {"one ResNet50, state dict": one, "three ResNet50s, state dicts": 3 * one}
    for trainable in ("head", "layer4"):
        model = ResNetOvO(
            weights=None, trainable=trainable, image_size=32, max_epochs=epochs, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NeverPredictedWarning)
            joblib.dump(model.fit(X, y), file)
        rows[f"ResNetOvO of 3 classes, trainable={trainable!r}"] = file.stat().st_size / 1e6
    file.unlink()
    for name, size in rows.items():
        print(f"{name:42}{size:8.1f}{size / (3 * one):10.2f}")
    clear_cache()


def measure_all(options: argparse.Namespace, folder: Path) -> None:
    """Write the files, and print the requested parts."""
    sizes = {
        "head": options.images,
        "layer4": options.deep,
        "layer3": options.deeper,
        "resnet50": options.real,
    }
    sizes = {part: sorted(sizes[part]) for part in sizes if part in options.parts}
    n_files = max((values[-1] for values in sizes.values()), default=0)
    stores = [4 * VALUES[p] * sizes[p][-1] for p in ("layer4", "layer3") if p in sizes]
    check_disk(folder, n_files, 2 * max(stores, default=0))
    phantoms = folder / "phantoms"
    phantoms.mkdir()
    if n_files:
        seconds = seconds_of(lambda: write_phantoms(phantoms, n_files, options.jobs))
        each = bytes_below(phantoms) / n_files
        print(f"{n_files} PNG files of {each / 1024:.0f} KiB, written in {seconds:.0f} s")
    job = {"folder": str(phantoms), "backbone": "light", "epochs": options.epochs}
    for part, values in sizes.items():
        if part == "resnet50":
            named = {**job, "backbone": "resnet50", "trainable": "head"}
            table("resnet50, cut at the head", named, values, folder)
            continue
        title = f"{part}, {4 * VALUES[part]} bytes of activations per image"
        job["trainable"] = part
        if part != "layer3":
            table(f"{title}, in memory", job, values, folder)
        if part != "head":
            table(f"{title}, memory=folder", job, values, folder, store=True)
    if "saved" in options.parts:
        saved(folder, options.epochs)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--deep", type=int, nargs="+", default=[300, 1300, 1500, 3000])
    parser.add_argument("--deeper", type=int, nargs="+", default=[300, 600, 900, 1800])
    parser.add_argument("--real", type=int, nargs="+", default=[64, 192])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2, help="threads that write the files")
    parser.add_argument(
        "--folder", help="where files go, and are deleted; default: a temporary one"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # this script passes it to itself
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(json.loads(options.measure))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure_all(options, Path(folder))
    print(machine("torch", "scikit-learn", "numpy"))


if __name__ == "__main__":
    main()
