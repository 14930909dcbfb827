"""Measure the network of ``preprocessing.LungFields``: its masks, its quality score, its speed.

    python benchmarks/lung_fields.py --folds FOLDER --data FOLDER [--out FOLDER]
    python benchmarks/lung_fields.py --folds FOLDER --data FOLDER --truth FOLDER --xrays FOLDER

FOLDER of --folds has the networks that ``benchmarks/train_lung_fields.py`` has written, and FOLDER
of --data the images and masks from which they have learned. Each image is judged by the network
that has not seen its patient. With --truth, a folder with more masks in lungs/, and --xrays, the
class folders with their images, the network of the package is measured on these too. Many of the 56
masks that the documentation quotes show patients of the training images, so this figure is
optimistic.

Files are read as the package reads them, and its post-processing is applied. The photographs are
those of scikit-learn, and of scikit-image if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from guard import KINDS
from measuring import in_turns, machine
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score
from train_lung_fields import dice, folds, load

from cxr_sklearn._images.reading import read_image
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.metrics import patient_interval
from cxr_sklearn.preprocessing import LungFields
from cxr_sklearn.preprocessing._lung_network import LungNetwork
from cxr_sklearn.preprocessing._lung_segmentation import (
    lung_masks,
    network_with_weights,
    segment_lungs,
)

SIDE = 224
N_PHANTOMS = 300
PHANTOM_SEED = 1000  # the network has learned from phantoms with the seed 1
GOOD_DICE = 0.9
# Photographs in the package scikit-image. Its other images are not bundled, or no photographs.
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket")


@dataclass(frozen=True)
class HeldOut:
    """Images that a network has not seen, with what it finds in them.

    Attributes
    ----------
    net : LungNetwork
    table : DataFrame
        One row per image.
    images : ndarray of shape (n, SIDE, SIDE), dtype uint8
    masks : ndarray of shape (n, SIDE, SIDE), dtype bool
        True lungs.
    """

    net: LungNetwork
    table: pd.DataFrame
    images: np.ndarray
    masks: np.ndarray

    def measure(self) -> pd.DataFrame:
        """Return one row per image: its kind, its Dice coefficient, its quality, and its area."""
        found = segment_lungs(self.images, self.net)
        masks = lung_masks(found, SIDE, SIDE)
        return pd.DataFrame(
            {
                "filename": self.table["filename"].to_numpy(),
                "patient": self.table["patient"].to_numpy(),
                "kind": self.table["kind"].to_numpy(),
                "dice": dice(masks, self.masks),
                "quality": found.quality,
                "is_found": masks.any((1, 2)),
            }
        )

    def qualities(self) -> dict[str, np.ndarray]:
        """Return the quality of images of several kinds."""
        frontal = self.images[(self.table["kind"] == "frontal").to_numpy()]
        kinds = {"frontal": frontal}
        for turns in (1, 2, 3):
            kinds[f"turned by {90 * turns} degrees"] = np.rot90(frontal, turns, axes=(1, 2))
        kinds["inverted"] = 255 - frontal
        for kind in ("lateral", "CT"):
            kinds[kind] = self.images[(self.table["kind"] == kind).to_numpy()]
        kinds["photograph"] = photographs()
        return {kind: segment_lungs(images, self.net).quality for kind, images in kinds.items()}


def photographs() -> np.ndarray:
    """Return squares of photographs, as grey images."""
    found = [Image.fromarray(image) for image in load_sample_images().images]
    package = importlib.util.find_spec("skimage")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent / "data"
        files = [file for name in PHOTOGRAPHS for file in sorted(folder.glob(f"{name}.*"))]
        found += [Image.open(file) for file in files]
    squares = []
    for image in found:
        grey = image.convert("L")
        half = min(grey.size) // 2
        # The central square of full height, and the squares of half of the height.
        x, y = (grey.width - 2 * half) // 2, (grey.height - 2 * half) // 2
        boxes = [(x, y, x + 2 * half, y + 2 * half)]
        for left in range(0, grey.width - half + 1, half):
            tops = range(0, grey.height - half + 1, half)
            boxes += [(left, top, left + half, top + half) for top in tops]
        squares += [grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box) for box in boxes]
    return np.stack([np.asarray(square) for square in squares])


def held_out_parts(data: Path, networks: Path, n_folds: int, resize: str) -> list[HeldOut]:
    """Return the images of each fold with the network that has not seen their patients."""
    table, _ = load(data)
    table["kind"] = [KINDS[view.split()[0]] for view in table["view"]]
    images, masks = [], []
    for name in table["filename"]:
        images.append(read_image(data / "images" / name, SIDE, resize))
        mask = data / "masks" / Path(name).with_suffix(".png")
        masks.append(read_image(mask, SIDE, resize) > 127)
    parts = []
    for number, (_, test) in enumerate(folds(table, n_folds)):
        file = networks / f"fold{number}.safetensors"
        if file.is_file():
            net = network_with_weights(file.read_bytes())
            images_of_fold, masks_of_fold = np.stack(images)[test], np.stack(masks)[test]
            parts.append(HeldOut(net, table.iloc[test], images_of_fold, masks_of_fold))
    return parts


def dice_text(scores: np.ndarray, patients: np.ndarray | None = None) -> str:
    """Return the mean Dice coefficient, its interval by patient, and the lowest values."""
    text = f"{scores.mean():.3f}"
    if patients is not None:
        interval = patient_interval(
            lambda values, _, sample_weight: np.average(values, weights=sample_weight),
            scores,
            scores,
            groups=patients,
            strata=None,
            random_state=0,
        )
        text += f" ({interval.low:.3f} to {interval.high:.3f})"
    return f"{text} | {scores.min():.3f} | {(scores < GOOD_DICE).sum()} of {len(scores)}"


def dice_table(options: argparse.Namespace) -> list[str]:
    """Return a table of Dice coefficients."""
    lines = ["| images | mean Dice (95 % interval) | lowest | below .9 |", "|---|---|---|---|"]
    names = {"pad": "read as the package does", "stretch": "stretched to a square"}
    for resize, name in names.items():
        parts = held_out_parts(options.data, options.folds, options.n_folds, resize)
        found = pd.concat([part.measure() for part in parts])
        frontal = found[found["kind"] == "frontal"]
        text = dice_text(frontal["dice"].to_numpy(), frontal["patient"].to_numpy())
        n_patients = frontal["patient"].nunique()
        title = f"{len(frontal)} held-out frontal radiographs of {n_patients} patients, {name}"
        lines.append(f"| {title} | {text} |")
    X, _, masks = make_chest_phantoms(
        N_PHANTOMS, image_size=SIDE, return_masks=True, random_state=PHANTOM_SEED
    )
    found_masks = LungFields(image_size=SIDE).fit_transform(X)
    scores = dice(as_masks(found_masks), as_masks(masks))
    lines.append(f"| {N_PHANTOMS} new phantoms, network of the package | {dice_text(scores)} |")
    if options.truth is not None:
        lines.append(truth_line(options.truth, options.xrays))
    return lines


def as_masks(rows: np.ndarray) -> np.ndarray:
    """Return rows of pixels as masks."""
    return rows.reshape(-1, SIDE, SIDE) > 0


def truth_line(truth: Path, xrays: Path) -> str:
    """Return the line of a table about the network of the package and other masks."""
    patients = pd.read_csv(xrays / "metadata.csv").set_index("filename")["patient"]
    images, masks, names = [], [], []
    files = {file.stem: file for file in xrays.glob("*/*")}
    for mask in sorted((truth / "lungs").glob("*.png")):
        images.append([str(files[mask.stem])])
        masks.append(read_image(mask, SIDE) > 127)
        names.append(str(patients[files[mask.stem].name]))
    found = LungFields(image_size=SIDE).fit_transform(images)
    text = dice_text(dice(as_masks(found), np.stack(masks)), np.array(names))
    title = f"{len(masks)} more radiographs, many of patients of the training images (optimistic)"
    return f"| {title}, network of the package | {text} |"


def quality_table(parts: list[HeldOut]) -> list[str]:
    """Return a table of the quality scores of several kinds of images."""
    found: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for kind, qualities in part.qualities().items():
            found.setdefault(kind, []).append(qualities)
    scores = {kind: np.concatenate(qualities) for kind, qualities in found.items()}
    frontal = scores.pop("frontal")
    header = "| kind of image | scores | median | 5 % to 95 % | AUC of frontal against this kind |"
    lines = [header, "|---|---|---|---|---|", _quality_line("frontal", frontal, "")]
    for kind, values in scores.items():
        labels = np.repeat([1, 0], [len(frontal), len(values)])
        auc = roc_auc_score(labels, np.concatenate([frontal, values]))
        lines.append(_quality_line(kind, values, f"{auc:.3f}"))
    return lines


def _quality_line(kind: str, values: np.ndarray, auc: str) -> str:
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"| {kind} | {len(values)} | {median:.3f} | {low:.3f} to {high:.3f} | {auc} |"


def empty_lines(parts: list[HeldOut]) -> list[str]:
    """Return a table of the images in which no lungs are found."""
    found = pd.concat([part.measure() for part in parts])
    lines = ["| kind of image | without lungs |", "|---|---|"]
    for kind in ("CT", "lateral", "frontal"):
        rows = found[found["kind"] == kind]
        lines.append(f"| {kind} | {(~rows['is_found']).sum()} of {len(rows)} |")
    return lines


def speed_line() -> str:
    """Return how many images per second are segmented, from rows of pixels."""
    X, _ = make_chest_phantoms(256, image_size=SIDE, random_state=0)
    fields = LungFields(image_size=SIDE).fit(X)
    work = {
        "transform": lambda: fields.transform(X),
        "score_samples": lambda: fields.score_samples(X),
    }
    seconds = in_turns(work, repeats=5)
    rates = ", ".join(f"{name} {len(X) / value:.0f}" for name, value in seconds.items())
    return f"Images/s of {SIDE} pixels, {torch.get_num_threads()} threads: {rates}"


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=Path, required=True, help="networks of the folds")
    parser.add_argument("--data", type=Path, required=True, help="images and masks")
    parser.add_argument("--n-folds", type=int, default=5)
    parser.add_argument("--truth", type=Path, help="folder with more masks")
    parser.add_argument("--xrays", type=Path, help="class folders with the images of these masks")
    parser.add_argument("--out", type=Path, help="folder for table.md")
    options = parser.parse_args()
    if (options.truth is None) != (options.xrays is None):
        parser.error("--truth and --xrays are used together")
    parts = held_out_parts(options.data, options.folds, options.n_folds, "pad")
    if not parts:
        parser.error(f"{options.folds} contains no file fold0.safetensors, ...")
    lines = [f"Networks of {len(parts)} of {options.n_folds} folds.", ""]
    lines += [*dice_table(options), "", *empty_lines(parts), "", *quality_table(parts), ""]
    lines += [speed_line(), "", machine("torch", "numpy")]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
