"""Inventories of other projects, for builds of the documentation without a network.

intersphinx reads the inventory of each project from its website. If that fails, it reads the file
that :func:`write_inventory` makes of the names below: those that our pages refer to.
"""

from __future__ import annotations

import zlib
from pathlib import Path

# The kind and the page of each name, relative to the website of its project. "$" is the name.
NAMES = {
    "python": {
        "ValueError": ("py:exception", "library/exceptions.html#$"),
    },
    "numpy": {
        "numpy.ndarray": ("py:class", "reference/generated/$.html#$"),
    },
    "sklearn": {
        "sklearn.calibration.CalibratedClassifierCV": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.ensemble.StackingClassifier": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.frozen.FrozenEstimator": ("py:class", "modules/generated/$.html#$"),
        "sklearn.model_selection.GridSearchCV": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.model_selection.LeaveOneGroupOut": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.model_selection.TunedThresholdClassifierCV": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.multiclass.OneVsOneClassifier": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.multiclass.OneVsRestClassifier": (
            "py:class",
            "modules/generated/$.html#$",
        ),
        "sklearn.pipeline.Pipeline": ("py:class", "modules/generated/$.html#$"),
    },
    "skorch": {
        "skorch.classifier.NeuralNetClassifier": ("py:class", "classifier.html#$"),
    },
    "torch": {
        "torch.nn.Module": ("py:class", "generated/$.html#$"),
        "torch.optim.lr_scheduler.OneCycleLR": ("py:class", "generated/$.html#$"),
    },
}


def write_inventory(project: str, folder: Path) -> str:
    """Write the inventory of a project in Sphinx's format, and return its path."""
    lines = []
    for name, (kind, page) in NAMES[project].items():
        # Name, kind, priority in searches, page, and the text of links ("-": the name).
        lines.append(f"{name} {kind} 1 {page.replace('$', name)} -\n")
    header = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project}\n"
        "# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{project}.inv"
    path.write_bytes(header.encode() + zlib.compress("".join(lines).encode()))
    return str(path)
