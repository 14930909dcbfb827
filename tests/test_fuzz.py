"""Damaged files of every format: a picture or an OSError, and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from cxr_sklearn._images.decode import decode_image
from cxr_sklearn._images.formats import looks_like_image
from cxr_sklearn._images.headers import read_header
from cxr_sklearn._images.reading import read_image

from .dicom_files import dicom, save_bare, save_dicom, table, with_jpeg, with_lossless_jpeg

SIDE = 48
_RANDOM = np.random.RandomState(0)
NOISE = np.add.outer(np.arange(SIDE), np.arange(SIDE)) + _RANDOM.randint(9, size=(SIDE, SIDE))
FLAT = NOISE.astype(np.uint8)
DEEP = (NOISE * 30).astype(np.uint16)
COLOURS = np.stack([FLAT, FLAT.T, 255 - FLAT], axis=-1)


def _images():
    exif = Image.Exif()
    exif[0x0112] = 6
    flat, deep, colours = map(Image.fromarray, (FLAT, DEEP, COLOURS))
    yield "flat.png", flat, {"exif": exif}
    yield "deep.png", deep, {"transparency": 7}
    yield "palette.png", colours.convert("P"), {"transparency": 3}
    yield "alpha.png", colours.convert("RGBA"), {}
    yield "frames.png", flat, {"save_all": True, "append_images": [flat.rotate(90)]}
    yield "flat.jpg", flat, {"exif": exif}
    yield "colours.jpg", colours, {"progressive": True}
    yield "cmyk.jpg", colours.convert("CMYK"), {}
    yield "flat.tif", flat, {"exif": exif}
    yield "deep.tif", deep, {"compression": "tiff_lzw"}
    yield "float.tif", Image.fromarray(FLAT.astype(np.float32) / 255), {}
    yield "deflate.tif", colours, {"compression": "tiff_adobe_deflate"}
    yield "jpeg.tif", colours, {"compression": "jpeg"}
    yield "fax.tif", flat.convert("1"), {"compression": "group4"}
    yield "pages.tif", flat, {"save_all": True, "append_images": [flat]}
    yield "flat.bmp", flat, {}
    yield "colours.bmp", colours, {}
    yield "lossy.webp", colours, {"exif": exif}
    yield "lossless.webp", colours.convert("RGBA"), {"lossless": True}


def _datasets():
    window = {"WindowCenter": 1000, "WindowWidth": 900, "PixelPaddingValue": 0}
    yield "plain.dcm", dicom(DEEP, bits=12, PhotometricInterpretation="MONOCHROME1", **window)
    yield "table.dcm", dicom(FLAT, VOILUTSequence=table(list(range(255, -1, -1)), 0, 8))
    yield "colours.dcm", dicom(COLOURS, RescaleSlope=1, RescaleIntercept=0)
    yield "baseline.dcm", with_jpeg(dicom(FLAT), Image.fromarray(FLAT))
    yield "lossless.dcm", with_lossless_jpeg(dicom(DEEP, bits=12), DEEP, 12)
    for name, syntax in (("j2k", JPEG2000Lossless), ("rle", RLELossless)):
        ds = dicom(DEEP, bits=12)
        ds.compress(syntax, generate_instance_uid=False)
        yield f"{name}.dcm", ds
    ds = dicom(FLAT)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    yield "deflated.dcm", ds


@cache
def whole_files() -> dict[str, bytes]:
    """Return a valid file of each kind, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, image, options in _images():
            image.save(Path(folder) / name, **options)
        for name, ds in _datasets():
            save_dicom(ds, Path(folder) / name)
        save_bare(dicom(FLAT), Path(folder) / "bare.dcm", implicit=True)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def damage(data: bytes, draw: random.Random) -> bytes:
    """Return a file with some of the damage that disks, networks and software do."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        # headers stand at the beginning, and TIFF's and DICOM's further in
        reach = draw.choice((32, 256, 1024, len(changed)))
        at = draw.randrange(max(1, min(reach, len(changed))))
        kind = draw.randrange(6)
        if kind == 0:
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            changed[at : at + 1] = bytes([changed[at] ^ 1 << draw.randrange(8)] if changed else [])
        elif kind == 2:  # a field of a header
            width = draw.choice((2, 4))
            value = draw.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)) % 256**width
            changed[at : at + width] = value.to_bytes(width, draw.choice(("little", "big")))
        elif kind == 3:
            del changed[at : at + draw.choice((1, 4, 100))]
        elif kind == 4:
            changed[at:at] = draw.randbytes(draw.choice((1, 4, 100)))
        else:
            del changed[at + draw.randrange(len(changed) + 1) :]
    return bytes(changed)


def read_all_ways(path: Path) -> None:
    """Read a file; an OSError in one line, without the path, is all that it may raise."""
    looks_like_image(path)
    for read in (read_header, decode_image, lambda path: read_image(path, 16, "crop")):
        try:
            read(path)
        except OSError as error:
            reason = str(error)
            bad = not reason or not reason.isprintable() or str(path) in reason
            if bad:
                raise AssertionError(f"reason {reason!r}") from error


@pytest.mark.parametrize("name", whole_files())
def test_the_files_to_be_damaged_are_whole(tmp_path, name):
    """What the other tests damage can be read before."""
    (tmp_path / name).write_bytes(whole_files()[name])
    if name.startswith(("frames", "pages")):
        with pytest.raises(OSError, match="holds 2 images"):
            decode_image(tmp_path / name)
    else:
        decoded = decode_image(tmp_path / name)
        assert decoded.header.width == SIDE
        assert np.ptp(np.asarray(decoded.grey)) > 40


@settings(
    max_examples=300,
    deadline=10_000,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=st.sampled_from(sorted(whole_files())), seed=st.integers(0, 2**32 - 1))
def test_a_damaged_file_is_read_or_an_oserror(tmp_path, name, seed):
    """Whatever is done to a file, reading it gives a picture or a reason, soon."""
    path = tmp_path / name
    path.write_bytes(damage(whole_files()[name], random.Random(seed)))
    read_all_ways(path)


# reads damaged files where memory is bounded, in a process that may die of it
_BATCH = """\
import random, resource, sys
from pathlib import Path
from tests.test_fuzz import damage, read_all_ways, whole_files

files, folder = whole_files(), Path(sys.argv[1])
for name, data in files.items():  # loads the decoders
    (folder / name).write_bytes(data)
    read_all_ways(folder / name)
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for seed in range(int(sys.argv[2]), int(sys.argv[3])):
    draw = random.Random(seed)
    name = draw.choice(sorted(files))
    (folder / name).write_bytes(damage(files[name], draw))
    print(seed, name, flush=True)
    read_all_ways(folder / name)
"""


def run_batch(folder: Path, start: int, stop: int, timeout: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _BATCH, str(folder), str(start), str(stop)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"after {done.stdout[-40:]!r}: {done.stderr[-2000:]}"


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="bounds memory by Linux's means")


@on_linux
def test_damaged_files_take_bounded_memory_and_time(tmp_path):
    """No damaged header makes a reader take gigabytes, hang or crash."""
    run_batch(tmp_path, 0, 200, timeout=120)


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 9000, 2000))
def test_thousands_of_damaged_files(tmp_path, start):
    """The same for thousands of files."""
    run_batch(tmp_path, start, start + 2000, timeout=900)
