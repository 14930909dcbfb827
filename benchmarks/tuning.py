"""Grid search over one-versus-one ResNet50s: ours against the composition that users write today.

    python benchmarks/tuning.py [--images 48] [--image-size 112] [--epochs 4] [--repeats 4]

Both search 6 learning rates in 5 folds by GridSearchCV, over three binary problems.
*Composition*: a skorch NeuralNetClassifier of torchvision's ResNet50 whose layers below the head
are frozen by skorch's Freezer (their batch statistics still move, as is usual), inside
scikit-learn's OneVsOneClassifier. *Ours*: ResNetOvO(trainable="head"). The networks start from the
same weights, and have the same linear heads (ours behind standardised activations), optimiser,
batch size, epochs and folds. *PyTorch* is ours without onnxruntime, and *folder of before* one
whose images have all passed the trunk before. They take turns. Each repeat has other images,
weights, folds and seeds; the table gives the median seconds with their range over the repeats,
their ratio to the composition, and the mean macro F1 of the best candidate on 300 other images,
with the mean difference from the composition and its standard error.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from measuring import machine, seconds_of
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.multiclass import OneVsOneClassifier
from skorch import NeuralNetClassifier
from skorch.callbacks import Freezer

from cxr_sklearn import ResNetOvO, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning

RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
COMPOSITION, N_TEST = "composition", 300
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class RowsToResNet50(torch.nn.Module):
    """ResNet50 with a head for two classes, for rows: OneVsOneClassifier takes no images."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.net = torchvision.models.resnet50()
        self.net.load_state_dict(torch.load(weights, weights_only=True))
        self.net.fc = torch.nn.Linear(2048, 2)
        # buffers, so that they move to the device with the network
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Scale, standardise and repeat over the channels, and pass the network."""
        side = round(X.shape[1] ** 0.5)
        unit = X.reshape(-1, 1, side, side).float() / 255
        return self.net((unit - self.mean) / self.std)


def composition(weights: str, epochs: int, device: str = "cpu") -> Any:
    """Return what users write today."""
    net = NeuralNetClassifier(
        RowsToResNet50,
        module__weights=weights,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=32,
        max_epochs=epochs,
        callbacks=[Freezer(lambda name: not name.startswith("net.fc"))],
        train_split=None,
        verbose=0,
        device=device,
    )
    return OneVsOneClassifier(net), "estimator__lr"


def ours(weights: str, image_size: int, epochs: int, seed: int, **others: Any) -> Any:
    """Return the same as one estimator."""
    model = ResNetOvO(
        weights=weights,
        image_size=image_size,
        max_epochs=epochs,
        n_iter_no_change=epochs,
        class_weight=None,
        random_state=seed,
        **others,
    )
    return model, "lr"


def timed(model: Any, name: str, data: Data, seed: int) -> tuple[float, float]:
    """Return the seconds of the search, and the macro F1 of the best candidate on other images."""
    X, y, X_test, y_test = data
    clear_cache()
    torch.manual_seed(seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    search = GridSearchCV(model, {name: RATES}, scoring="f1_macro", cv=folds, error_score="raise")
    seconds = seconds_of(lambda: search.fit(X, y))
    return seconds, f1_score(y_test, search.predict(X_test), average="macro")


def one_repeat(
    folder: Path, n_images: int, image_size: int, epochs: int, seed: int, device: str
) -> dict[str, tuple[float, float]]:
    """Return seconds and macro F1 of every search, on images and weights of one seed."""
    X, y = make_chest_phantoms(n_images + N_TEST, image_size=image_size, random_state=seed)
    data = X[:n_images], y[:n_images], X[n_images:], y[n_images:]
    weights, memory = str(folder / f"resnet50-{seed}.pth"), str(folder / f"activations-{seed}")
    torch.manual_seed(seed)
    torch.save(torchvision.models.resnet50().state_dict(), weights)
    same = {"weights": weights, "image_size": image_size, "epochs": epochs, "device": device}
    models = {
        COMPOSITION: composition(weights, epochs, device),
        "ResNetOvO, PyTorch": ours(**same, seed=seed, engine="torch"),
        "ResNetOvO": ours(**same, seed=seed),
        "ResNetOvO, folder of before": ours(**same, seed=seed, memory=memory),
    }
    models["ResNetOvO, folder of before"][0].fit(*data[:2])
    names = list(models)
    turns = names[seed % len(names) :] + names[: seed % len(names)]
    found = {name: timed(*models[name], data, seed) for name in turns}
    return {name: found[name] for name in models}


def search(n_images: int, image_size: int, epochs: int, repeats: int, device: str = "cpu") -> None:
    """Print a table of what the searches took."""
    measured: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(repeats):
            arguments = (Path(folder), n_images, image_size, epochs, seed, device)
            measured.append(one_repeat(*arguments))
            figures = (f"{name} {s:.1f} s, F1 {f1:.3f}" for name, (s, f1) in measured[-1].items())
            print(f"repeat {seed}: {'; '.join(figures)}", flush=True)
    print(
        f"\n{n_images} images of {image_size} pixels, {len(RATES)} candidates, 5 folds, {epochs} "
        f"epochs, {repeats} repeats\n"
    )
    print(f"{'':28}  {'seconds':>8}  {'range':>14}  {'ratio':>6}  macro F1  difference")
    slowest, base = np.array([repeat[COMPOSITION] for repeat in measured]).T
    for name in measured[0]:
        seconds, f1 = np.array([repeat[name] for repeat in measured]).T
        extent = f"{seconds.min():.1f} ... {seconds.max():.1f}"
        more, n = f1 - base, len(f1)
        difference = f"{more.mean():+.3f} ± {more.std(ddof=1) / n**0.5 if n > 1 else np.nan:.3f}"
        print(
            f"{name:28}  {np.median(seconds):8.1f}  {extent:>14}  "
            f"{np.median(slowest / seconds):6.0f}  {f1.mean():8.3f}  {difference}"
        )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NeverPredictedWarning)  # the lowest rates learn little
    search(options.images, options.image_size, options.epochs, options.repeats)
    print(machine("torch", "torchvision", "scikit-learn", "skorch"))


if __name__ == "__main__":
    main()
