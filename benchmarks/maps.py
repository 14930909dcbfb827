"""Compare the time of activation maps to that of probabilities, at the cut "head".

    python benchmarks/maps.py [--repeats 7] [--backbone resnet50]

Both get 32 images of 224 pixels that are not in the cache, with a fitted ResNetOvO of three
classes, and take turns. The first call of each, which exports the network for onnxruntime, is not
measured.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from measuring import in_turns, machine

from cxr_sklearn import ResNetOvO, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.inspection import class_activation_map

N_IMAGES, SIDE = 32, 224


def main() -> None:
    """Print the seconds, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backbone", default="resnet50")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine("torch", "onnxruntime"))
    X, y = make_chest_phantoms(N_IMAGES, image_size=SIDE, random_state=0)
    for engine in ("onnxruntime", "torch"):
        model = ResNetOvO(
            backbone=options.backbone, weights=None, engine=engine, max_epochs=1, random_state=0
        ).fit(X, y)
        seconds = in_turns(candidates(model, X), options.repeats)
        for name, value in seconds.items():
            ratio = value / seconds["predict_proba"]
            print(f"{engine}: {name} {value:.2f} s, ratio {ratio:.2f}")


def candidates(model: ResNetOvO, X: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return the calls, each of which begins with an empty cache."""

    def probabilities() -> object:
        clear_cache()
        return model.predict_proba(X)

    def maps(method: str) -> object:
        clear_cache()
        return class_activation_map(model, X, method=method)

    return {
        "predict_proba": probabilities,
        "grad-cam": lambda: maps("grad-cam"),
        "grad-cam++": lambda: maps("grad-cam++"),
    }


if __name__ == "__main__":
    main()
