"""Train the network of ``preprocessing.LungFields``, and cross-validate it by patient.

    python benchmarks/train_lung_fields.py --data FOLDER [--steps 2500] [--folds 5] [--fold K]
    python benchmarks/train_lung_fields.py --data FOLDER --final

A training of 2,500 steps takes half an hour on one core.

FOLDER has the folders ``images`` and ``masks`` with files of the same names, and ``metadata.csv``
with the columns filename, patient and view. Masks are 255 in the lungs; those of images that are
not frontal radiographs are empty. A fold trains on the other patients and writes its predictions
into ``--out``; ``benchmarks/lung_fields.py`` reads these files and prints the figures. ``--final``
trains on all patients, and writes the weights of the package.

The network learns from these images, from phantoms with the masks with which they were drawn, and
from negative examples: turned and inverted radiographs, small parts of them, noise and shapes. All
images are augmented: geometry, contrast, shading, noise, opacities, letters and borders.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import functional

from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.preprocessing import _lung_network
from cxr_sklearn.preprocessing._lung_network import (
    NETWORK_SIDE,
    LungNetwork,
    standardised_images,
    without_batch_norm,
)

SOURCE_SIDE = 192  # images are stored in this size, and augmented to the size of the network
N_PHANTOMS = 400
BATCH_SIZE = 32
LR = 3e-3
# Share of each kind of example in a batch.
SHARES = {"frontal": 0.62, "phantom": 0.1, "other view": 0.1, "turned": 0.1, "noise": 0.08}
# The augmentation becomes weaker after this share of the steps, down to this strength.
FULL_STRENGTH_UNTIL, LAST_STRENGTH = 0.6, 0.4
WEIGHTS = Path(_lung_network.__file__).parent / "lung_fields.safetensors"


@dataclass(frozen=True)
class Examples:
    """Images with their masks.

    Attributes
    ----------
    images, masks : Tensor of shape (n, 1, SOURCE_SIDE, SOURCE_SIDE), float32, in [0, 1]
    """

    images: torch.Tensor
    masks: torch.Tensor

    def take(self, index: np.ndarray) -> Examples:
        """Return some of the examples."""
        return Examples(self.images[index], self.masks[index])

    def draw(self, n: int, rng: np.random.Generator) -> Examples:
        """Return some examples at random."""
        return self.take(rng.integers(len(self.images), size=n))


def load(folder: Path) -> tuple[pd.DataFrame, Examples]:
    """Read the images and the masks of a folder."""
    table = pd.read_csv(folder / "metadata.csv").sort_values("filename", ignore_index=True)
    images, masks = [], []
    for name in table["filename"]:
        images.append(_read(folder / "images" / name))
        masks.append(_read(folder / "masks" / Path(name).with_suffix(".png")) > 0.5)
    table["is_frontal"] = [bool(mask.any()) for mask in masks]
    return table, Examples(_as_tensor(images), _as_tensor(masks))


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        square = image.convert("L").resize((SOURCE_SIDE, SOURCE_SIDE), Image.Resampling.BOX)
    return np.asarray(square, dtype=np.float32) / 255


def _as_tensor(images: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    values = np.asarray(images, dtype=np.float32).reshape(-1, 1, SOURCE_SIDE, SOURCE_SIDE)
    return torch.from_numpy(values)


def make_phantoms(seed: int, n_phantoms: int) -> Examples:
    """Draw phantoms with their masks."""
    X, _, masks = make_chest_phantoms(
        n_phantoms, image_size=SOURCE_SIDE, return_masks=True, random_state=seed
    )
    return Examples(_as_tensor(X / np.float32(255)), _as_tensor(masks / np.float32(255)))


# -- augmentation ----------------------------------------------------------------------------------


class Augmenter:
    """Random changes of geometry, contrast, letters and borders.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.letters = [_letters(self.rng) for _ in range(100)]
        self.strength = 1.0

    def uniform(self, low: float, high: float, n: int) -> torch.Tensor:
        """Return random numbers, one per image, that broadcast over pixels."""
        return torch.from_numpy(self.rng.uniform(low, high, (n, 1, 1, 1)).astype(np.float32))

    def normal(self, *shape: int) -> torch.Tensor:
        """Return normally distributed numbers."""
        return torch.from_numpy(self.rng.standard_normal(shape).astype(np.float32))

    def happens(self, share: float, n: int) -> torch.Tensor:
        """Return whether a change happens to each image."""
        return torch.from_numpy(self.rng.random((n, 1, 1, 1)) < share)

    def smooth(self, n: int, cells: int, side: int) -> torch.Tensor:
        """Return smooth random fields of shape (n, 1, side, side)."""
        coarse = self.normal(n, 1, cells, cells)
        return functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)

    def __call__(self, examples: Examples, zoom: float = 1.0) -> Examples:
        """Return augmented examples in the size of the network.

        Parameters
        ----------
        examples : Examples
        zoom : float, default=1.0
            Factor by which the images are enlarged, in addition to the random factor.
        """
        images, masks = self._opacities(examples)
        images = self._contrast(images)
        images, masks = self._geometry(images, masks, zoom)
        images, masks = self._overlays(images, masks)
        images = images + self.uniform(0, 0.05, len(images)) * self.normal(*images.shape)
        return Examples(images.clamp(0, 1), (masks > 0.5).float())

    def _opacities(self, examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
        """Make parts of some lungs opaque."""
        n = len(examples.images)
        field = self.smooth(n, 6, SOURCE_SIDE).clamp(0, 2) * examples.masks
        strength = self.uniform(0.05, 0.35, n) * self.happens(0.4, n)
        return (examples.images + strength * field).clamp(0, 1), examples.masks

    def _contrast(self, images: torch.Tensor) -> torch.Tensor:
        n, side = len(images), images.shape[-1]
        images = images.clamp(1e-4, 1) ** torch.exp(0.4 * self.strength * self.normal(n, 1, 1, 1))
        coarse = functional.interpolate(images, (side // 12, side // 12), mode="area")
        blurred = functional.interpolate(coarse, (side, side), mode="bilinear")
        # Positive values sharpen, as local contrast filters do; negative ones blur.
        local = self.uniform(-0.4, 1.5, n) * self.happens(0.4 * self.strength, n)
        images = images + local * (images - blurred)
        images = images + 0.12 * self.happens(0.5 * self.strength, n) * self.smooth(n, 3, side)
        level = self.uniform(-0.2, 0.2, n)
        images = (images - 0.5) * self.uniform(0.5, 1.5, n) + 0.5 + level
        images = images.clamp(0, 1)
        half = functional.interpolate(images, scale_factor=0.35, mode="area")
        soft = functional.interpolate(half, (side, side), mode="bilinear")
        return torch.where(self.happens(0.15, n), soft, images)

    def _geometry(
        self, images: torch.Tensor, masks: torch.Tensor, zoom: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn, scale, stretch, shift, mirror and bend images."""
        n = len(images)
        angle = np.deg2rad(self.rng.normal(0, 7 * self.strength, n))
        scale = np.exp(self.rng.normal(0.02, 0.16 * self.strength, n)) / zoom
        aspect = np.exp(self.rng.normal(0, 0.11 * self.strength, n))
        mirror = np.where(self.rng.random(n) < 0.5, -1.0, 1.0)
        theta = np.zeros((n, 2, 3), np.float32)
        theta[:, 0, 0] = np.cos(angle) * scale * aspect * mirror
        theta[:, 0, 1] = -np.sin(angle) * scale * aspect
        theta[:, 1, 0] = np.sin(angle) * scale / aspect * mirror
        theta[:, 1, 1] = np.cos(angle) * scale / aspect
        theta[:, :, 2] = self.rng.normal(0, 0.09 * self.strength if zoom == 1 else 0.4, (n, 2))
        size = (n, 1, NETWORK_SIDE, NETWORK_SIDE)
        grid = functional.affine_grid(torch.from_numpy(theta), list(size), align_corners=False)
        bend = [self.smooth(n, 5, NETWORK_SIDE)[:, 0], self.smooth(n, 5, NETWORK_SIDE)[:, 0]]
        grid = grid + 0.025 * self.strength * torch.stack(bend, dim=3)
        inside = functional.grid_sample(torch.ones_like(images), grid, align_corners=False)
        fill = torch.where(self.happens(0.7, n), torch.zeros(n, 1, 1, 1), self.uniform(0, 1, n))
        moved = functional.grid_sample(images, grid, align_corners=False) + (1 - inside) * fill
        return moved, functional.grid_sample(masks, grid, align_corners=False)

    def _overlays(
        self, images: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put frames, boxes and letters over some images."""
        images, masks = images.clone(), masks.clone()
        for image, mask in zip(images[:, 0], masks[:, 0], strict=True):
            if self.rng.random() < 0.3:
                self._frame(image, mask)
            for _ in range(self.rng.integers(0, 3)):
                self._letter(image)
            if self.rng.random() < 0.15:
                self._box(image)
        return images, masks

    def _frame(self, image: torch.Tensor, mask: torch.Tensor) -> None:
        """Cover some edges, as a collimator or padding does."""
        level = float(self.rng.choice([0.0, 0.0, 1.0, self.rng.random()]))
        widths = self.rng.integers(0, NETWORK_SIDE // 6, 4) * (self.rng.random(4) < 0.6)
        top, bottom, left, right = (int(width) for width in widths)
        end = NETWORK_SIDE
        for part in (np.s_[:top], np.s_[end - bottom :], np.s_[:, :left], np.s_[:, end - right :]):
            image[part] = level
            mask[part] = 0

    def _letter(self, image: torch.Tensor) -> None:
        """Write letters, most of them near the edge."""
        letters = self.letters[self.rng.integers(len(self.letters))]
        height, width = letters.shape
        top = int(self.rng.beta(0.5, 0.5) * (NETWORK_SIDE - height))
        left = int(self.rng.beta(0.5, 0.5) * (NETWORK_SIDE - width))
        place = image[top : top + height, left : left + width]
        level = float(self.rng.choice([1.0, 1.0, 0.0, self.rng.random()]))
        place.copy_(place * (1 - letters) + level * letters)

    def _box(self, image: torch.Tensor) -> None:
        height, width = self.rng.integers(5, 30, 2)
        top = int(self.rng.integers(0, NETWORK_SIDE - height))
        left = int(self.rng.integers(0, NETWORK_SIDE - width))
        image[top : top + height, left : left + width] = float(self.rng.random())


def _letters(rng: np.random.Generator) -> torch.Tensor:
    """Return the picture of a few random letters."""
    text = "".join(rng.choice(list("ABCDEFLPRSU0123456789 "), rng.integers(1, 9)))
    font = ImageFont.load_default(size=int(rng.integers(6, 18)))
    left, top, right, bottom = font.getbbox(text)
    size = max(1, min(int(right - left), NETWORK_SIDE)), max(1, int(bottom - top))
    image = Image.new("L", size)
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    picture = np.array(image, dtype=np.float32) / 255
    if rng.random() < 0.3:  # a label: letters on a plate
        picture = 1 - picture
    return torch.from_numpy(picture)


# -- batches ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Images as the network takes them, and what it should answer.

    Attributes
    ----------
    images, masks : Tensor of shape (n, 1, NETWORK_SIDE, NETWORK_SIDE), float32
    has_mask : Tensor of shape (n,), bool
        Whether the mask is known. Those of turned images are not used.
    is_frontal : Tensor of shape (n,), float32
    """

    images: torch.Tensor
    masks: torch.Tensor
    has_mask: torch.Tensor
    is_frontal: torch.Tensor


class Sampler:
    """Draw batches of all kinds of examples.

    Parameters
    ----------
    frontal, other_views, phantoms : Examples
    seed : int
    """

    def __init__(
        self, frontal: Examples, other_views: Examples, phantoms: Examples, seed: int
    ) -> None:
        self.frontal, self.other_views, self.phantoms = frontal, other_views, phantoms
        self.rng = np.random.default_rng(seed)
        self.augment = Augmenter(seed + 1)

    def batch(self) -> Batch:
        """Return the next batch."""
        counts = self.rng.multinomial(BATCH_SIZE, list(SHARES.values()))
        makers = [self._frontal, self._phantoms, self._other_views, self._turned, self._noise]
        parts = [make(int(n)) for make, n in zip(makers, counts, strict=True) if n]
        images = standardised_images(torch.cat([part.images for part in parts]))
        masks = torch.cat([part.masks for part in parts])
        has_mask = torch.cat([part.has_mask for part in parts])
        return Batch(images, masks, has_mask, torch.cat([part.is_frontal for part in parts]))

    def _frontal(self, n: int) -> Batch:
        return _batch(self.augment(self.frontal.draw(n, self.rng)), True, True)

    def _phantoms(self, n: int) -> Batch:
        return _batch(self.augment(self.phantoms.draw(n, self.rng)), True, True)

    def _other_views(self, n: int) -> Batch:
        return _batch(self.augment(self.other_views.draw(n, self.rng)), True, False)

    def _turned(self, n: int) -> Batch:
        """Return frontal radiographs that are turned, inverted, or only a small part."""
        source = self.frontal if self.rng.random() < 0.8 else self.phantoms
        zoom = 3.0 if self.rng.random() < 0.25 else 1.0
        augmented = self.augment(source.draw(n, self.rng), zoom)
        images = []
        for image in augmented.images:
            kind = self.rng.integers(5) if zoom == 1 else 5
            if kind < 3:
                image = torch.rot90(image, int(kind) + 1, (1, 2))
            elif kind < 5:
                image = 1 - image
            images.append(image)
        return _batch(Examples(torch.stack(images), augmented.masks), False, False)

    def _noise(self, n: int) -> Batch:
        """Return noise of several scales, with shapes."""
        fields = []
        for _ in range(n):
            cells = int(self.rng.choice([2, 4, 8, 16, 32, 64]))
            fields.append(0.5 + 0.3 * self.augment.smooth(1, cells, SOURCE_SIDE))
        images = torch.cat(fields).clamp(0, 1)
        for image in images[:, 0]:
            for _ in range(self.rng.integers(0, 8)):
                _draw_shape(image, self.rng)
        empty = Examples(images, torch.zeros_like(images))
        return _batch(self.augment(empty), True, False)


def _draw_shape(image: torch.Tensor, rng: np.random.Generator) -> None:
    """Draw an ellipse or a box, dark or light."""
    axis = torch.arange(SOURCE_SIDE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at_y, at_x = rng.integers(0, SOURCE_SIDE, 2).tolist()
    height, width = rng.integers(6, SOURCE_SIDE // 2, 2).tolist()
    dy, dx = (y - at_y).abs() / height, (x - at_x).abs() / width
    level = dy**2 + dx**2 if rng.random() < 0.6 else torch.maximum(dy, dx)
    share = float(rng.uniform(0.4, 1))
    image[level < 1] = image[level < 1] * (1 - share) + share * float(rng.random())


def _batch(examples: Examples, has_mask: bool, is_frontal: bool) -> Batch:
    n = len(examples.images)
    return Batch(
        examples.images,
        examples.masks,
        torch.full((n,), has_mask),
        torch.full((n,), float(is_frontal)),
    )


# -- training --------------------------------------------------------------------------------------


def loss(mask: torch.Tensor, view: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the cross-entropies of pixels and of views, and one minus the Dice coefficient."""
    known = batch.has_mask
    logits, truth = mask[known], batch.masks[known][:, 0]
    pixels = functional.binary_cross_entropy_with_logits(logits, truth)
    share = torch.sigmoid(logits)
    both = (share * truth).sum((1, 2))
    dice = (2 * both + 10) / (share.sum((1, 2)) + truth.sum((1, 2)) + 10)
    views = functional.binary_cross_entropy_with_logits(view, batch.is_frontal)
    return pixels + (1 - dice).mean() + 0.3 * views


def train(sampler: Sampler, n_steps: int, seed: int) -> LungNetwork:
    """Train a network, and return the mean of its weights over the last steps."""
    torch.manual_seed(seed)
    net = LungNetwork(is_trained=True).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=1e-3)
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    begun = time.monotonic()
    for step in range(n_steps):
        done = step / n_steps
        rate = min(1, 50 * done) * 0.5 * (1 + np.cos(np.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = max(LR * rate, 1e-6)
        weaker = max(0.0, done - FULL_STRENGTH_UNTIL) / (1 - FULL_STRENGTH_UNTIL)
        sampler.augment.strength = 1 - (1 - LAST_STRENGTH) * weaker
        batch = sampler.batch()
        optimizer.zero_grad()
        value = loss(*net(batch.images), batch)
        value.backward()
        optimizer.step()
        average.update_parameters(net)
        if step % 100 == 99:
            seconds = time.monotonic() - begun
            print(f"step {step + 1}, {seconds:.0f} s, loss {value:.3f}", flush=True)
    return without_batch_norm(average.module)


def probabilities(net: LungNetwork, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of lung of each pixel, and the logit of the view."""
    size = (NETWORK_SIDE, NETWORK_SIDE)
    small = functional.interpolate(examples.images, size, mode="bilinear", antialias=True)
    with torch.inference_mode():
        masks, views = net(standardised_images(small))
    return torch.sigmoid(masks).numpy(), views.numpy()


def dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient of each image."""
    both = (predicted & truth).sum((1, 2))
    return 2 * both / np.maximum(predicted.sum((1, 2)) + truth.sum((1, 2)), 1)


def folds(table: pd.DataFrame, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to train on, and those to test on, without a patient in both."""
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    return list(splitter.split(table, table["is_frontal"], table["patient"]))


def report(table: pd.DataFrame, test: np.ndarray, net: LungNetwork, examples: Examples) -> None:
    """Print how good the network is on held-out images."""
    of_test = examples.take(test)
    masks, views = probabilities(net, of_test)
    size = (NETWORK_SIDE, NETWORK_SIDE)
    truth = functional.interpolate(of_test.masks, size, mode="area")[:, 0].numpy() > 0.5
    is_frontal = table["is_frontal"].to_numpy()[test]
    scores = dice(masks[is_frontal] > 0.5, truth[is_frontal])
    print(f"Dice {scores.mean():.4f}, worst {np.sort(scores)[:3].round(3)}")
    areas = (masks[~is_frontal] > 0.5).mean((1, 2))
    print("other views: area", areas.round(3), "view", views[~is_frontal].round(1))
    print("frontal: view", np.sort(views[is_frontal])[:5].round(1))


def main() -> None:
    """Train one fold, or the network of the package."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("lung_folds"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, action="append")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table, examples = load(options.data)
    phantoms = make_phantoms(1, N_PHANTOMS)
    is_frontal = table["is_frontal"].to_numpy()

    def trained_on(rows: np.ndarray) -> LungNetwork:
        frontal, others = rows[is_frontal[rows]], rows[~is_frontal[rows]]
        sampler = Sampler(
            examples.take(frontal), examples.take(others), phantoms, 10 * options.seed
        )
        return train(sampler, options.steps, options.seed)

    if options.final:
        save(trained_on(np.arange(len(table))), WEIGHTS)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for number, (rows, test) in enumerate(folds(table, options.folds)):
        if options.fold is None or number in options.fold:
            net = trained_on(rows)
            report(table, test, net, examples)
            save(net, options.out / f"fold{number}.safetensors")


def save(net: LungNetwork, path: Path) -> None:
    """Write the weights in half precision."""
    state = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(state, path)
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
