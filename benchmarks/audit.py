"""Measure how often the audit reports something in data without a flaw, and how fast it is.

python benchmarks/audit.py rates [--seeds 30]     rates of findings on phantoms without a flaw
python benchmarks/audit.py speed [--images 10000] images/s of 384 pixels, and the decoding share
python benchmarks/audit.py turned --data FOLDER   share of inverted and turned images that are found
"""

from __future__ import annotations

import argparse
import collections
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from cxr_sklearn._images.decode import decode_image
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files
from cxr_sklearn.preprocessing._thumbnails import (
    MIN_TYPICAL_CORRELATION,
    MIN_UPRIGHT_CORRELATION,
    equalise,
    mean_radiograph,
)
from cxr_sklearn.quality import CurationRules, audit, curate
from cxr_sklearn.quality._measure import measure_files


def checks(seed: int, n_images: int) -> list[tuple[str, str]]:
    """Return what the audit finds in phantoms without a flaw."""
    with tempfile.TemporaryDirectory() as folder:
        result = audit(make_chest_phantom_files(folder, n_images, random_state=seed))
    return [(finding.severity, finding.check) for finding in result.findings]


def rates(options: argparse.Namespace) -> None:
    """Print how many of the seeds each check speaks on."""
    jobs = (delayed(checks)(seed, options.images or 300) for seed in range(options.seeds))
    found = Parallel(n_jobs=options.jobs)(jobs)
    counts = collections.Counter(item for seed in found for item in seed)
    for (severity, check), count in sorted(counts.items()):
        print(f"{severity:8} {check}: {count} of {options.seeds}")
    alarms = sum(any(severity != "note" for severity, _ in seed) for seed in found)
    print(f"a warning or worse: {alarms} of {options.seeds}")


def speed(options: argparse.Namespace) -> None:
    """Print images/s of decoding alone, of measuring, of the audit and of a dry curation."""
    n = options.images or 10_000
    with tempfile.TemporaryDirectory() as folder:
        bunch = make_chest_phantom_files(folder, min(n, 200), image_size=384, random_state=0)
        for path in list(bunch.data[:, 0]):  # copies of other content, drawn once
            with Image.open(path) as image:
                pixels = np.asarray(image).astype(int)
            for k in range(1, -(-n // len(bunch.data))):
                changed = np.clip(np.roll(pixels, 7 * k, axis=1) + k % 9, 0, 255).astype(np.uint8)
                Image.fromarray(changed).save(Path(path).with_name(f"{k:04d}-{Path(path).name}"))
        (Path(folder) / "metadata.csv").unlink()
        bunch = load_xray_folder(folder)
        paths = list(bunch.data[:, 0])
        print(
            f"{len(paths)} PNG files of 384 pixels, {options.jobs} threads, {os.cpu_count()} cores"
        )
        decode = timed(
            lambda: Parallel(n_jobs=options.jobs, prefer="threads")(
                delayed(lambda p: decode_image(p).grey.size)(p) for p in paths
            )
        )
        steps = {
            "decode": decode,
            "measure (decoding included)": timed(lambda: measure_files(paths, options.jobs)),
            "curate, dry": timed(lambda: curate(bunch, rules=CurationRules(), n_jobs=options.jobs)),
            "audit": timed(lambda: audit(bunch, n_jobs=options.jobs)),
        }
        for name, seconds in steps.items():
            share = f"{decode / seconds:.0%} of it decoding"
            print(f"{name}: {seconds:.0f} s, {len(paths) / seconds:.0f} images/s, {share}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MiB")


def timed(function) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def turned(options: argparse.Namespace) -> None:
    """Print how many real images are found when they are inverted or turned."""
    images = measure_files(list(load_xray_folder(options.data).data[:, 0]), options.jobs)
    thumbnails = images.thumbnails[images.is_readable]
    mean = mean_radiograph(thumbnails)
    versions = {
        "as they are": thumbnails,
        "inverted": 255 - thumbnails,
        "upside down": thumbnails[:, ::-1],
        "turned by 180 degrees": thumbnails[:, ::-1, ::-1],
        "mirrored": thumbnails[:, :, ::-1],
    }
    for name, images in versions.items():
        likeness = equalise(images) @ mean
        rejected = (likeness < MIN_UPRIGHT_CORRELATION).mean()
        reviewed = (likeness < MIN_TYPICAL_CORRELATION).mean()
        print(f"{name}: {rejected:.1%} rejected, {reviewed:.1%} rejected or to review")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["rates", "speed", "turned"])
    parser.add_argument("--data", default=os.environ.get("CXR_DATA"))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--images", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    {"rates": rates, "speed": speed, "turned": turned}[options.what](options)


if __name__ == "__main__":
    main()
