"""Draw the three pictures of the front page: the cut, an audit, and a result.

    python docs/figures/front_page.py

The X-rays of the first two are synthetic. The result is read from
benchmarks/results/xray3-lite0-stage7/metrics.csv, which docs/comparison.md explains.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from cxr_sklearn.datasets import make_chest_phantom_files, make_chest_phantoms
from cxr_sklearn.quality import audit

FOLDER = Path(__file__).parent
RESULTS = (
    FOLDER.parents[1] / "benchmarks" / "results" / "xray3-lite0-stage7" / "metrics.csv"
)

SIZE = (4.4, 4.0)  # inches
FROZEN, TRAINED, GREY = "#4a90d9", "#e08a1e", "#8a8a8a"
PAIRS = ("COVID-19\nor Normal", "COVID-19 or\nPneumonia", "Normal or\nPneumonia")


def main() -> None:
    """Write the three pictures next to this file."""
    # Without these the file differs at each run.
    mpl.rcParams.update({"svg.hashsalt": "front page", "font.size": 11})
    pictures = {
        "cut": ("One trunk, one trained tail per pair", draw_cut),
        "audit": ("Audit: the class without the lungs", draw_audit),
        "result": ("Result: 899 real X-rays of 608 patients", draw_result),
    }
    for name, (title, draw) in pictures.items():
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
        figure.suptitle(title)
        draw(axes)
        figure.savefig(FOLDER / f"front-{name}.svg", metadata={"Date": None})
        plt.close(figure)


def draw_cut(axes: Axes) -> None:
    """Draw the way of an image: through the trunk once, and then through each trained tail."""
    image, _ = make_chest_phantoms(1, image_size=96, random_state=3)
    axes.imshow(image.reshape(96, 96), cmap="gray", extent=(39, 61, 78, 100), zorder=2)
    draw_box(
        axes,
        (50, 60),
        (76, 16),
        "frozen ResNet50 trunk\nonce per image, then cached",
        FROZEN,
    )
    axes.plot([2, 98], [46, 46], "--", color=GREY, linewidth=1)
    axes.text(98, 47, "the cut", ha="right", color=GREY, fontsize=10)
    for x, pair in zip((17, 50, 83), PAIRS, strict=True):
        draw_box(axes, (x, 30), (30, 15), pair, TRAINED)
        draw_arrow(axes, (50 + 0.6 * (x - 50), 52), (x, 38))
        draw_arrow(axes, (x, 22), (50 + 0.6 * (x - 50), 13))
    draw_arrow(axes, (50, 78), (50, 68.5))
    draw_box(axes, (50, 8), (76, 9), "coupled probabilities", "white")
    axes.set(xlim=(0, 100), ylim=(0, 101))
    axes.set_aspect("auto")
    axes.axis("off")


def draw_box(
    axes: Axes,
    centre: tuple[float, float],
    size: tuple[float, float],
    text: str,
    colour: str,
) -> None:
    """Draw a box with text in it."""
    (x, y), (width, height) = centre, size
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=2"
    axes.add_patch(
        FancyBboxPatch(
            corner, width, height, boxstyle=style, facecolor=colour, alpha=0.25
        )
    )
    outline = {"facecolor": "none", "edgecolor": "black", "linewidth": 1}
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, **outline))
    axes.text(x, y, text, ha="center", va="center", fontsize=10)


def draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float]
) -> None:
    """Draw an arrow from one point to another."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "black"})


def draw_audit(axes: Axes) -> None:
    """Draw how well classifiers that see no lungs predict the class of a flawed set of images."""
    with TemporaryDirectory() as folder:
        flaws = ["source", "border", "format"]
        bunch = make_chest_phantom_files(
            Path(folder), 150, confound=flaws, random_state=0
        )
        baselines = audit(bunch).baselines
    rows = baselines[baselines["metric"] == "balanced accuracy"]
    # The thumbnail sees the lungs, if dimly.
    rows = rows[~rows["baseline"].str.contains("thumbnail")]
    draw_intervals(axes, list(rows["baseline"]), rows, "#c0392b")
    axes.axvline(1 / 3, color=GREY, linewidth=1, linestyle="--")
    axes.text(1 / 3 - 0.02, -0.45, "chance", color=GREY, fontsize=10, ha="right")
    axes.set(xlim=(0, 1.05), xlabel="balanced accuracy")


def draw_result(axes: Axes) -> None:
    """Draw the macro F1 of the models on real images."""
    results = pd.read_csv(RESULTS)
    macro = results[results["metric"] == "macro F1"].set_index("model")
    models = ["ResNetClassifier", "ResNetOvR", "ResNetOvO", "ResNetStacking"]
    baselines = {"thumbnail 8×8": "8 × 8 pixels", "features": "features +\nregression"}
    names = [*baselines.values(), *models]
    rows = macro.loc[[*baselines, *models]]
    draw_intervals(axes, names, rows, [GREY] * len(baselines) + [FROZEN] * len(models))
    axes.set(xlim=(0.7, 0.92), xlabel="macro F1, 95 % interval over patients")


def draw_intervals(
    axes: Axes, names: list[str], rows: pd.DataFrame, colours: str | list[str]
) -> None:
    """Draw a value and its interval for each name, from top to bottom."""
    positions = np.arange(len(names))[::-1]
    if isinstance(colours, str):
        colours = [colours] * len(names)
    values, low, high = (rows[column].to_numpy() for column in ("value", "low", "high"))
    axes.hlines(positions, low, high, colors=colours, linewidth=3, alpha=0.5)
    axes.scatter(values, positions, c=colours, zorder=3)
    axes.set_yticks(positions, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
