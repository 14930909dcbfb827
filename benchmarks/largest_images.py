"""Time and memory to read one image of the largest size that is accepted, by format.

    python benchmarks/largest_images.py [--megapixels 40]

Every image is noise, which no compression makes small: radiographs of the same size take less. A
process of its own reads each file to 224 pixels in one thread, as `XRayLoader` does. The table
gives the processor's seconds, and how far the memory of that process rises above what it takes to
read a small image (Linux and macOS). Writing the files takes longer than reading them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from decoding import save_dicom
from measuring import machine
from PIL import Image, ImageFile
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

# reads two files, and prints the seconds and the further memory (MiB) of the second
READ = """
import resource, sys, time
from cxr_sklearn import _decode
from cxr_sklearn._images import read_image
_decode.MAX_PIXELS = 10**9
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # ru_maxrss of Linux includes the peak of the process that started this one
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10
read_image(sys.argv[1], 224)
before, start = peak(), time.process_time()
read_image(sys.argv[2], 224)
print(time.process_time() - start, peak() - before)
"""


def save_jpeg2000(noise: np.ndarray, path: Path) -> None:
    """Write a lossless JPEG 2000 as DICOM: grey of 12 bits in 16, or colours of 8 bits."""
    save_dicom(noise if noise.ndim == 2 else noise[..., 0], path)
    ds = dcmread(path)
    if noise.ndim == 3:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = noise.tobytes()
    ds.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    ds.save_as(path)


def writers(side: int) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """Return the suffix of each format, and a function that writes an image of it."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)
    rgba, rgb, grey = (
        Image.fromarray(noise[..., channels]) for channels in (slice(4), slice(3), 0)
    )
    deep = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
    cmyk = Image.merge("CMYK", rgba.split())
    progressive = {"quality": 95, "subsampling": 0, "progressive": True}
    fast = {"compress_level": 1}
    return {
        "PNG, grey": (".png", lambda path: grey.save(path, **fast)),
        "PNG, 16 bits": (".png", lambda path: deep.save(path, **fast)),
        "PNG, RGB": (".png", lambda path: rgb.save(path, **fast)),
        "PNG, RGBA": (".png", lambda path: rgba.save(path, **fast)),
        "TIFF, RGBA, LZW": (".tif", lambda path: rgba.save(path, compression="tiff_lzw")),
        "JPEG, progressive": (".jpg", lambda path: rgb.save(path, **progressive)),
        "JPEG, CMYK, progressive": (".jpg", lambda path: cmyk.save(path, **progressive)),
        "WebP, RGBA": (".webp", lambda path: rgba.save(path, lossless=True, quality=0, method=0)),
        "DICOM": (".dcm", lambda path: save_dicom(noise[..., 0], path)),
        "DICOM, JPEG 2000": (".dcm", lambda path: save_jpeg2000(noise[..., 0], path)),
        "DICOM, JPEG 2000, RGB": (".dcm", lambda path: save_jpeg2000(noise[..., :3].copy(), path)),
    }


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=40)
    options = parser.parse_args()
    side = int((options.megapixels * 10**6) ** 0.5)
    ImageFile.MAXBLOCK = 2**30  # the encoder of progressive JPEG needs room for the whole file
    print(f"{side} x {side} pixels of noise\n")
    print("format                   seconds  memory, MiB  file, MiB")
    with tempfile.TemporaryDirectory() as folder:
        small = writers(64)
        for name, (suffix, save) in writers(side).items():
            warm, path = (Path(folder) / f"{kind}{suffix}" for kind in ("small", "large"))
            small[name][1](warm)
            save(path)
            done = subprocess.run(
                [sys.executable, "-c", READ, str(warm), str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            seconds, memory = map(float, done.stdout.split())
            n_bytes = path.stat().st_size
            print(f"{name:23}  {seconds:7.1f}  {memory:11.0f}  {n_bytes / 2**20:9.0f}", flush=True)
            path.unlink()
    print(f"\n{machine('pillow', 'pydicom', 'pylibjpeg-openjpeg')}")


if __name__ == "__main__":
    main()
