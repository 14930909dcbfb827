"""Compare the loader with other decoders, and the extraction of features with its slower half.

    python benchmarks/decoding.py [--files 100] [--sizes 384 1024] [--repeats 3] [--images 320]

*Decoding*: phantoms as PNG, JPEG (quality 95) and DICOM files (12 bits in 16, uncompressed), of
which eight of each size are drawn and the others are these, shifted sideways. Every candidate opens
a file, makes it grey with 8 bits, and resizes it to 224 pixels, bilinear and antialiased.
XRayLoader does so in one thread and in two; Pillow, torchvision's decoder (which has no DICOM) and
pydicom in one, in a loop that does nothing else: no check of the format, the size or the
orientation, no window, no message for a damaged file. The files are in the memory of the system.
The table gives files/s, how many times as many as XRayLoader in one thread, and the greatest
difference of a pixel from it. The line of *hashing* tells what a second thread was worth on this
machine in the same turns: how many times as fast as one are two threads that share nothing.

*Extraction*: ResNetFeatures of ResNet50 from the files of each size, of which nothing is known,
with the parameter `n_jobs` as it is by default. It decodes the next batch while the trunk runs; the
first is decoded before. The table gives its rate as a share of that of the slower of decoding
alone and the trunk alone on rows of pixels, and of what all cores can do of both, beyond which
nothing can be: the trunk alone uses all. PyTorch has the threads of its default, or of
OMP_NUM_THREADS.

All candidates of a table take turns; the seconds are medians.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import torch
import torchvision
from measuring import in_turns, machine, peak_mib
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from torchvision.io import ImageReadMode
from torchvision.transforms.v2 import functional

from cxr_sklearn import ResNetFeatures, XRayLoader, clear_cache
from cxr_sklearn._images.file_digests import FILE_DIGESTS
from cxr_sklearn.datasets import make_chest_phantoms

SIDE, N_DRAWN = 224, 8
OURS = "XRayLoader, 1 thread"

# -- files ----------------------------------------------------------------------------------------


def save_dicom(pixels: np.ndarray, path: Path) -> None:
    """Write grey levels of 8 bits as a radiograph of 12 bits."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.rint(pixels * (4095 / 255)).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)


def save_png(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG file as Pillow does by default."""
    Image.fromarray(pixels).save(path)


def save_jpeg(pixels: np.ndarray, path: Path) -> None:
    """Write a JPEG file."""
    Image.fromarray(pixels).save(path, quality=95)


WRITERS = {"PNG": (save_png, ".png"), "JPEG": (save_jpeg, ".jpg"), "DICOM": (save_dicom, ".dcm")}


def make_files(folder: Path, n: int, size: int) -> dict[str, list[str]]:
    """Write phantoms in every format, and return their paths; some are others shifted sideways."""
    drawn, _ = make_chest_phantoms(min(n, N_DRAWN), image_size=size, random_state=0)
    paths = {
        kind: [f"{folder}/{size}-{i:05d}{end}" for i in range(n)]
        for kind, (_, end) in WRITERS.items()
    }

    def write(i: int) -> None:
        turn, k = divmod(i, len(drawn))
        pixels = np.roll(drawn[k].reshape(size, size), 7 * turn, axis=1)
        for kind, (save, _) in WRITERS.items():
            save(pixels, Path(paths[kind][i]))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, range(n)))
    return paths


# -- others that decode ---------------------------------------------------------------------------


def padded(image: Image.Image) -> np.ndarray:
    """Resize an image and pad it to a square."""
    scale = SIDE / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    square = Image.new("L", (SIDE, SIDE))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    square.paste(resized, ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(square)


def by_pillow(path: str) -> np.ndarray:
    """Read a PNG or JPEG file."""
    with Image.open(path) as image:
        return padded(image.convert("L"))


def by_torchvision(path: str) -> np.ndarray:
    """Read a PNG or JPEG file; phantoms are squares, so there is nothing to pad."""
    image = torchvision.io.decode_image(path, mode=ImageReadMode.GRAY)
    return functional.resize(image, [SIDE, SIDE], antialias=True).numpy()[0]


def by_pydicom(path: str) -> np.ndarray:
    """Read a DICOM file that needs no more than a rescale of its 12 bits."""
    values = pydicom.dcmread(path).pixel_array
    return padded(Image.fromarray(np.rint(values * np.float32(255 / 4095)).astype(np.uint8)))


OTHERS = {
    "PNG": {"Pillow": by_pillow, "torchvision": by_torchvision},
    "JPEG": {"Pillow": by_pillow, "torchvision": by_torchvision},
    "DICOM": {"pydicom": by_pydicom},
}

# -- measurements ---------------------------------------------------------------------------------


def one_by_one(read: Callable[[str], np.ndarray], paths: Sequence[str]) -> np.ndarray:
    """Read files in one thread."""
    rows = np.empty((len(paths), SIDE * SIDE), np.uint8)
    for row, path in zip(rows, paths, strict=True):
        row[:] = read(path).reshape(-1)
    return rows


def hash_much(n_threads: int) -> None:
    """Hash 128 MiB in some threads."""
    block = bytes(2**22)
    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(lambda _: hashlib.sha256(block).digest(), range(32)))


def decode(paths: Sequence[str], n_jobs: int | None) -> np.ndarray:
    """Read files by the loader."""
    return XRayLoader(image_size=SIDE, n_jobs=n_jobs).fit_transform(list(paths))


def decoding(kind: str, size: int, paths: Sequence[str], repeats: int) -> None:
    """Print files/s of every way to read files of one format."""
    candidates: dict[str, Callable[[], np.ndarray]] = {
        OURS: functools.partial(decode, paths, 1),
        "XRayLoader, 2 threads": functools.partial(decode, paths, 2),
    }
    for name, read in OTHERS[kind].items():
        candidates[f"{name}, 1 thread"] = functools.partial(one_by_one, read, paths)
    ours = candidates[OURS]().astype(int)
    apart = {name: int(np.abs(work() - ours).max()) for name, work in candidates.items()}
    control = {f"hashing, {n}": functools.partial(hash_much, n) for n in (1, 2)}
    seconds = in_turns({**candidates, **control}, repeats, warm_up=0)  # they have been called
    speed_up = seconds.pop("hashing, 1") / seconds.pop("hashing, 2")
    for name, value in seconds.items():
        ratio = seconds[OURS] / value
        print(
            f"{kind:6}  {size:6d}  {name:21}  {len(paths) / value:8.1f}  {ratio:5.2f}  "
            f"{apart[name]:10d}"
        )
    print(f"{kind:6}  {size:6d}  {'(hashing, 2 threads)':21}  {'':8}  {speed_up:5.2f}")


def extract(features: ResNetFeatures, X: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return features of images that have not been read before."""
    clear_cache()
    FILE_DIGESTS.clear()
    return features.transform(X)


def extraction(paths: dict[str, list[str]], size: int, repeats: int) -> None:
    """Print the seconds of extraction from files, and of its two halves alone."""
    rows = decode(paths["PNG"], None)
    n = len(rows)
    trunk = ResNetFeatures(weights=None, image_size=SIDE).fit(rows)
    candidates: dict[str, Callable[[], object]] = {"trunk": lambda: extract(trunk, rows)}
    for kind, files in paths.items():
        column = np.array(files, dtype=object)[:, None]
        features = ResNetFeatures(weights=None, image_size=SIDE).fit(column)
        extract(features, column[:1])  # exports the network where onnxruntime runs it
        candidates[f"{kind}, decoding"] = functools.partial(decode, files, None)
        candidates[f"{kind}, extraction"] = functools.partial(extract, features, column)
    seconds = in_turns(candidates, repeats, warm_up=0)
    print(
        f"\n{n} files of {size} pixels to features by {trunk._running()[2]}, batches of "
        f"{trunk.batch_size}, {torch.get_num_threads()} threads, medians of {repeats}\n"
    )
    n_cores = torch.get_num_threads()
    print("format  decoding, s  trunk, s  extraction, s  images/s  of the slower  of all cores")
    for kind in paths:
        one, whole = seconds[f"{kind}, decoding"], seconds[f"{kind}, extraction"]
        slower, both = max(one, seconds["trunk"]), one / n_cores + seconds["trunk"]
        print(
            f"{kind:6}  {one:11.2f}  {seconds['trunk']:8.2f}  {whole:13.2f}  {n / whole:8.1f}  "
            f"{slower / whole:13.2f}  {both / whole:12.2f}"
        )


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100, help="of each format and size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[384, 1024], help="pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=320, help="files to extract; 0 for none")
    options = parser.parse_args()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # torchvision resizes with them
    print(f"{options.files} files of each kind, medians of {options.repeats}\n")
    print(f"format  pixels  {'':21}   files/s  ratio  difference")
    with tempfile.TemporaryDirectory() as folder:
        for size in sorted(options.sizes):
            paths = make_files(Path(folder), max(options.files, options.images), size)
            for kind, files in paths.items():
                decoding(kind, size, files[: options.files], options.repeats)
            if options.images:
                torch.set_num_threads(n_threads)
                some = {kind: files[: options.images] for kind, files in paths.items()}
                extraction(some, size, options.repeats)
                torch.set_num_threads(1)
    print(f"\npeak memory {peak_mib():.0f} MiB")
    print(machine("pillow", "torch", "torchvision", "pydicom", "numpy"))


if __name__ == "__main__":
    main()
