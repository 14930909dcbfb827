"""
Audit before training
=====================

Two folders contain X-rays of the same classes. In one of them, all COVID-19 images come from one
hospital. They have the black frame of a collimator, and are saved as JPEG. The audit finds that
before a model is trained.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

from cxr_sklearn.datasets import make_chest_phantom_files
from cxr_sklearn.exceptions import ConfoundingWarning
from cxr_sklearn.model_selection import LeaveOneSourceOut
from cxr_sklearn.quality import Audit, Finding, SourceAssociation, audit

folder = TemporaryDirectory()
flaws = {"fair": None, "flawed": ["source", "border", "format"]}
bunches = {
    name: make_chest_phantom_files(Path(folder.name) / name, 150, confound=confound, random_state=0)
    for name, confound in flaws.items()
}

# %%
# Findings
# --------
# The most serious findings come first. Each states what was found, what it means and what to do.

results: dict[str, Audit] = {name: audit(bunch) for name, bunch in bunches.items()}
for name, result in results.items():
    serious: list[Finding] = [f for f in result.findings if f.severity == "serious"]
    print(f"{name}: {len(serious)} serious findings")
print()
print(results["flawed"])

# %%
# Splits cannot help
# ------------------
# A class that comes from one source cannot be tested on another source. The splitter that tests on
# one source at a time raises an error before a model is trained.

flawed = bunches["flawed"]
try:
    LeaveOneSourceOut().split(flawed.data, flawed.target, flawed.sources)
except ValueError as error:
    print(error)

# %%
# In the fair folder every class comes from both hospitals.

fair = bunches["fair"]
for train, test in LeaveOneSourceOut().split(fair.data, fair.target, fair.sources):
    print(f"train on {len(train)} images, test on {len(test)} of {fair.sources[test][0]}")

# %%
# A warning in the pipeline
# -------------------------
# As a step of a pipeline, this transformer stores the association of source and class in the
# training images, and warns when the pipeline is fitted and when it predicts.

for name, bunch in bunches.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConfoundingWarning)
        step = SourceAssociation().fit(
            bunch.data, bunch.target, sources=bunch.sources, groups=bunch.groups
        )
    print(f"{name}: Cramér's V {step.cramers_v_:.2f}, {len(caught)} warnings")

# %%
# Classifiers without the lungs
# -----------------------------
# Each point is a classifier that does not see the lungs, or only a coarse copy of them, tested on
# patients that it was not trained on. In the fair folder, those that do not see the lungs stay at
# chance. The thumbnail is better in both folders: it shows the opacities as a few grey squares.

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for shift, (name, result) in zip((0.12, -0.12), results.items(), strict=True):
    rows = result.baselines[result.baselines["metric"] == "balanced accuracy"]
    where = np.arange(len(rows))[::-1] + shift
    errors = np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
    axes.errorbar(rows["value"], where, xerr=errors, fmt="o", capsize=3, label=name)
    axes.set_yticks(np.arange(len(rows))[::-1], rows["baseline"])
axes.axvline(1 / 3, color="black", linewidth=0.8, linestyle="--")
axes.set(xlim=(0, 1), xlabel="balanced accuracy (dashed: chance)")
axes.legend()
plt.show()

# %%

folder.cleanup()
