"""Measure how the time grows with images, classes and candidates, and compare it with theory.

    python benchmarks/growth.py [--images 500 1000 2000 5000 10000] [--classes 2 3 4 5 6 7 8 9 10]
        [--candidates 1 2 5 10 20 50] [--rows 1000] [--epochs 5] [--repeats 3] [--out FOLDER]

ResNetOvO(backbone="resnet18", trainable="head") on phantoms of 32 pixels, with an empty cache each
time and a fixed number of epochs. The sizes of a series take turns, and the points are medians of
the repeats.

*Images* n, three classes: a + b n. An image passes the trunk once, and the tails a fixed number of
times.

*Classes* k of `--rows` images, drawn evenly: a + b (k - 1) + c k (k - 1) / 2. The trunk passes once
whatever k is (a). A pair trains on 2 n / k rows, so all pairs together on (k - 1) n (b). Every pair
costs what one fit costs, its last batch that is not full, and a prediction of all n rows, by which
`fit` finds classes that are never predicted (c). Labels are drawn: they do not matter to the time.

*Candidates* c of a GridSearchCV of `--rows` images in 3 folds: a + b c. Images pass the trunk once
in the whole search, which with the last fit on all rows makes a; a candidate is 3 fits of the tails
and their predictions (b).

The coefficients, none below 0, are those of the least sum of squared relative deviations. The
figure and the numbers, a CSV file, are written to the folder `--out`.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from measuring import REPO, in_turns, machine
from scipy.optimize import nnls
from sklearn.model_selection import GridSearchCV

from cxr_sklearn import ResNetOvO, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning

SIDE, FOLDS = 32, 3


@dataclass
class Series:
    """Seconds against one size.

    Attributes
    ----------
    name : str
        What grows.
    sizes : sequence of int
    law : callable
        From sizes to the terms of the expected law, one per column.
    symbols : tuple of str
        The terms, for people.
    work : callable
        From a size to a call that is timed.
    """

    name: str
    sizes: Sequence[int]
    law: Callable[[np.ndarray], np.ndarray]
    symbols: tuple[str, ...]
    work: Callable[[int], Callable[[], object]]


@dataclass
class Points:
    """A series that was measured, with the law fitted to it."""

    series: Series
    seconds: np.ndarray
    coefficients: np.ndarray

    def expected(self, sizes: np.ndarray) -> np.ndarray:
        """Return the seconds that the law gives."""
        return self.series.law(sizes) @ self.coefficients

    @property
    def deviations(self) -> np.ndarray:
        """Measured over expected, less 1."""
        return self.seconds / self.expected(np.asarray(self.series.sizes)) - 1

    @property
    def formula(self) -> str:
        """The law with its numbers."""
        terms = zip(self.coefficients, self.series.symbols, strict=True)
        return " + ".join(f"{value:.3g} {symbol}".strip() for value, symbol in terms)


def linear(x: np.ndarray) -> np.ndarray:
    """Return the terms of a + b x."""
    return np.column_stack([np.ones(len(x)), x])


def pairwise(k: np.ndarray) -> np.ndarray:
    """Return the terms of a + b (k - 1) + c k (k - 1) / 2."""
    return np.column_stack([np.ones(len(k)), k - 1, k * (k - 1) / 2])


def all_series(options: argparse.Namespace) -> list[Series]:
    """Return the options of the command line."""
    n_drawn = max(*options.images, options.rows)
    X, y = make_chest_phantoms(n_drawn, image_size=SIDE, random_state=0)
    some, numbers = X[: options.rows], np.arange(options.rows)
    model = ResNetOvO(
        backbone="resnet18",
        weights=None,
        image_size=SIDE,
        max_epochs=options.epochs,
        n_iter_no_change=options.epochs + 1,  # all of them
        random_state=0,
    )

    def cold(work: Callable[[], object]) -> Callable[[], object]:
        def from_nothing() -> object:
            clear_cache()
            return work()

        return from_nothing

    def search(n_candidates: int) -> object:
        rates = {"lr": np.geomspace(1e-4, 1e-2, n_candidates).tolist()}
        return GridSearchCV(model, rates, cv=FOLDS).fit(some, y[: options.rows])

    return [
        Series(
            "images",
            options.images,
            linear,
            ("", "n"),
            lambda n: cold(lambda: model.fit(X[:n], y[:n])),
        ),
        Series(
            "classes",
            options.classes,
            pairwise,
            ("", "(k - 1)", "k (k - 1) / 2"),
            lambda k: cold(lambda: model.fit(some, numbers % k)),
        ),
        Series(
            "candidates", options.candidates, linear, ("", "c"), lambda c: cold(lambda: search(c))
        ),
    ]


def measured(series: Series, repeats: int) -> Points:
    """Time every size, and fit the law."""
    sizes = np.asarray(series.sizes)
    found = in_turns({str(size): series.work(size) for size in sizes}, repeats, warm_up=0)
    seconds = np.array(list(found.values()))
    coefficients, _ = nnls(series.law(sizes) / seconds[:, None], np.ones(len(sizes)))
    return Points(series, seconds, coefficients)


def report(points: Points) -> None:
    """Print a series next to the values that theory predicts."""
    series, expected = points.series, points.expected(np.asarray(points.series.sizes))
    print(f"\n{series.name:>10}  measured, s     law, s  deviation")
    for size, seconds, law, off in zip(
        series.sizes, points.seconds, expected, points.deviations, strict=True
    ):
        print(f"{size:10d}  {seconds:11.2f}  {law:9.2f}  {off:+9.1%}")
    largest = np.abs(points.deviations).max()
    print(f"{points.formula} s; largest relative deviation {largest:.1%}", flush=True)


def write(all_points: list[Points], out: Path) -> None:
    """Write ``growth.csv`` and ``growth.png``."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "growth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["series", "size", "seconds", "law_seconds", "law"])
        for points in all_points:
            sizes = points.series.sizes
            expected = points.expected(np.asarray(sizes))
            for size, seconds, law in zip(sizes, points.seconds, expected, strict=True):
                name, formula = points.series.name, points.formula
                rows.writerow([name, size, f"{seconds:.4f}", f"{law:.4f}", formula])
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, len(all_points))
    for ax, points in zip(axes, all_points, strict=True):
        x = np.linspace(min(points.series.sizes), max(points.series.sizes), 200)
        ax.plot(x, points.expected(x), color="0.5", label=f"{points.formula} s")
        ax.plot(points.series.sizes, points.seconds, "o", color="C0", label="measured")
        ax.set(xlabel=points.series.name, ylabel="seconds", ylim=(0, None))
        ax.set_title(f"largest deviation {np.abs(points.deviations).max():.0%}", fontsize="medium")
        ax.legend(fontsize="small", loc="lower right")
    figure.savefig(out / "growth.png", dpi=120)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[500, 1000, 2000, 5000, 10_000])
    parser.add_argument("--classes", type=int, nargs="+", default=list(range(2, 11)))
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results" / "growth")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NeverPredictedWarning)
    every = all_series(options)
    every[0].work(64)()  # the trunk is exported, and threads begin, before anything is timed
    all_points = []
    for series in every:
        all_points.append(measured(series, options.repeats))
        report(all_points[-1])
    write(all_points, options.out)
    print(f"\nmedians of {options.repeats}, {options.epochs} epochs, written to {options.out}")
    print(machine("torch", "scikit-learn", "skorch", "numpy"))


if __name__ == "__main__":
    main()
