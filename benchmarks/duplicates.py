"""Measure which copies of an image are found, how many pairs are false, and how long it takes.

python benchmarks/duplicates.py copies --data FOLDER      recall by kind of planted copy
python benchmarks/duplicates.py real --data FOLDER      pairs found among real images, and the time
python benchmarks/duplicates.py framing --data FOLDER --other FOLDER
                                                        recall between two collections, by file name
python benchmarks/duplicates.py phantoms [--images 10000] [--size 64]
                                                        pairs found among phantoms: all are false
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from cxr_sklearn._images.decode import decode_image
from cxr_sklearn._images.formats import IMAGE_SUFFIXES
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files
from cxr_sklearn.quality import ImageMeasurements
from cxr_sklearn.quality._duplicates import find_duplicates
from cxr_sklearn.quality._measure import measure_files


def copies(image: Image.Image, rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Yield copies of an image, each with the kind of change."""
    w, h = image.size

    def crop(share: float) -> Image.Image:
        x, y = round(share * w), round(share * h)
        return image.crop((x, y, w - x, h - y))

    yield "JPEG, quality 50", _jpeg(image, 50)
    yield "brightness and contrast", image.point(lambda v: 0.8 * v + 30)
    yield "half the size", image.resize((w // 2, h // 2), Image.Resampling.BILINEAR)
    yield "mirrored", ImageOps.mirror(image)
    yield "cropped by 3 % per side", crop(0.03)
    yield "cropped by 10 % per side", crop(0.10)
    yield "framed, 8 % black", ImageOps.expand(image, round(0.08 * max(w, h)), fill=0)
    yield "gamma 0.5", image.point([round(255 * (v / 255) ** 0.5) for v in range(256)])
    yield "histogram equalised", ImageOps.equalize(image)
    yield "rotated by 2 degrees", image.rotate(2, Image.Resampling.BILINEAR)
    yield "rotated by 5 degrees", image.rotate(-5, Image.Resampling.BILINEAR)
    yield "inverted", ImageOps.invert(image)
    box = [0, 0, w, h]
    side = int(rng.integers(4))
    box[side] = round((0.2 if side < 2 else 0.8) * box[2 + side % 2])
    yield "one side cut by 20 %", image.crop(tuple(box))
    small = crop(0.10).resize((round(0.6 * w), round(0.6 * h)), Image.Resampling.BILINEAR)
    yield "cropped by 10 %, smaller, JPEG", _jpeg(small, 75)
    yield "cropped by 5 %, mirrored, inverted", ImageOps.invert(ImageOps.mirror(crop(0.05)))
    yield "cropped by 10 %, stretched square", crop(0.10).resize((299, 299))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("L")


def report_rows(n: int) -> np.ndarray:
    """Return the images on which no limit of the search was chosen."""
    used = [np.random.default_rng(0).permutation(n)[:40]]
    used.append(np.random.default_rng(1).permutation(n)[40:70])
    return np.setdiff1d(np.arange(n), np.concatenate(used))


def planted(options: argparse.Namespace) -> None:
    """Print recall by kind of copy, and the false pairs."""
    paths = list(load_xray_folder(options.data).data[:, 0])
    rng = np.random.default_rng(options.seed)
    rows = rng.choice(report_rows(len(paths)), options.images or 100, replace=False)
    images = measure_files(paths, options.jobs)
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for row in rows:
            for kind, image in copies(decode_image(paths[row]).grey, rng):
                path = Path(folder) / f"{len(made):05d}.png"
                image.save(path)
                made.append((str(path), row, kind))
        copied = measure_files([path for path, _, _ in made], options.jobs)
    pairs = find_duplicates(images, copied, options.jobs)
    table = pd.DataFrame(made, columns=["path", "row", "kind"])
    source = table["row"].to_numpy()[pairs["second"]]
    twins = _twins(find_duplicates(images, n_jobs=options.jobs))
    true = np.array(
        [(a, b) in twins or a == b for a, b in zip(pairs["first"], source, strict=True)]
    )
    table["found"] = table["in equal framing"] = False
    hits = pairs[pairs["first"] == source]
    table.loc[hits["second"], "found"] = True
    table.loc[hits.loc[hits["kind"] != "reframed", "second"], "in equal framing"] = True
    recall = table.groupby("kind", sort=False)[["in equal framing", "found"]].mean()
    print(f"recall of copies of {len(rows)} images, searched among {len(paths)}")
    print(recall.round(2).to_string())
    print(f"false pairs: {int((~true).sum())}")
    for first, second in pairs.loc[~true, ["first", "second"]].to_numpy(dtype=int):
        print(paths[first], "and", table["kind"][second], "of", paths[table["row"][second]])


def _twins(pairs: pd.DataFrame) -> set[tuple[int, int]]:
    both = pairs[["first", "second"]].to_numpy(dtype=int)
    return {tuple(pair) for pair in np.vstack([both, both[:, ::-1]]).tolist()}


def real(options: argparse.Namespace) -> None:
    """Print the pairs among real images, to be looked at, and the time per step."""
    paths = list(load_xray_folder(options.data).data[:, 0])[: options.images]
    images, measuring = timed(lambda: measure_files(paths, options.jobs))
    pairs, comparing = timed(lambda: find_duplicates(images, n_jobs=options.jobs))
    _print_pairs(pairs, images, images)
    print(f"{len(paths)} images, {options.jobs} threads, {os.cpu_count()} cores")
    print(f"measuring {measuring:.0f} s, comparing {comparing:.0f} s")
    print(f"processor time of all threads: {time.process_time():.0f} s")
    _print_memory()


def _print_pairs(pairs: pd.DataFrame, images: ImageMeasurements, others: ImageMeasurements) -> None:
    for first, second, kind, distance, correlation in pairs.itertuples(index=False):
        names = (Path(f.frame["path"][row]).name for f, row in ((images, first), (others, second)))
        print(f"{kind} ({distance} bits, correlation {correlation:.2f}):", *names)


def _print_memory() -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MiB")


def timed(function) -> tuple:
    """Return the result of a call, and its seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def framing(options: argparse.Namespace) -> None:
    """Print how many images of equal name in two folders are found, and pairs of other names."""
    images, others = (
        measure_files([str(p) for p in sorted(Path(folder).rglob("*")) if _is_image(p)])
        for folder in (options.data, options.other)
    )
    mine, theirs = ([Path(path).stem for path in some.frame["path"]] for some in (images, others))
    shared = set(mine) & set(theirs)
    pairs = find_duplicates(images, others, options.jobs)
    names = [(mine[a], theirs[b]) for a, b in pairs[["first", "second"]].to_numpy(dtype=int)]
    found = {a for a, b in names if a == b}
    equal = {
        a
        for (a, b), kind in zip(names, pairs["kind"], strict=True)
        if a == b and kind != "reframed"
    }
    print(
        f"{len(shared)} names in both folders; in equal framing {len(equal)}, in all {len(found)}"
    )
    print("missing:", *sorted(shared - found))
    print("pairs of other names:")
    other_names = np.array([a != b for a, b in names], dtype=bool)
    _print_pairs(pairs[other_names], images, others)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def phantoms(options: argparse.Namespace) -> None:
    """Print the pairs found among phantoms, none of which are copies."""
    n = options.images or 10_000
    with tempfile.TemporaryDirectory() as folder:
        bunch = make_chest_phantom_files(
            folder, n, image_size=options.size, random_state=options.seed
        )
        images, measuring = timed(lambda: measure_files(list(bunch.data[:, 0]), options.jobs))
    pairs, comparing = timed(lambda: find_duplicates(images, n_jobs=options.jobs))
    _print_pairs(pairs, images, images)
    y = np.asarray(bunch.target)
    crossing = int((y[pairs["first"].to_numpy(int)] != y[pairs["second"].to_numpy(int)]).sum())
    print(f"{n} phantoms of {options.size} pixels: {len(pairs)} false pairs, {crossing} serious")
    print(f"measuring {measuring:.0f} s, comparing {comparing:.0f} s")
    _print_memory()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"copies": planted, "real": real, "framing": framing, "phantoms": phantoms}
    parser.add_argument("what", choices=list(commands))
    parser.add_argument("--data", default=os.environ.get("CXR_DATA"))
    parser.add_argument("--other")
    parser.add_argument("--images", type=int)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    commands[options.what](options)


if __name__ == "__main__":
    main()
