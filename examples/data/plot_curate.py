"""
Curate, and check the split
===========================

A folder as it comes: some films are inverted, one has coloured letters in it, some are too
small, some stand twice. Curation sorts them by stated rules, says what that costs each class,
and leaves the folder as it was.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from sklearn.model_selection import StratifiedGroupKFold

from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files, select_rows
from cxr_sklearn.exceptions import CurationWarning, OutOfDistributionWarning
from cxr_sklearn.model_selection import SplitReport, check_split
from cxr_sklearn.preprocessing import MeanRadiograph
from cxr_sklearn.quality import Curation, CurationRules, curate

folder = TemporaryDirectory()
root = Path(folder.name) / "films"
bunch = make_chest_phantom_files(root, 120, image_size=96, confound="duplicates", random_state=0)


def spoil(row, change):
    """Save what a function makes of a film over it."""
    path = bunch.data[row, 0]
    with Image.open(path) as image:
        changed = change(image.convert("L"))
    changed.save(path)


def lettered(image):
    """Return the film as it stands in an article, with a letter in red."""
    image = image.convert("RGB")
    ImageDraw.Draw(image).text((4, 4), "A", fill=(255, 0, 0), font_size=20)
    return image


spoil(3, ImageOps.invert)
spoil(60, ImageOps.invert)
spoil(9, lettered)
spoil(80, lambda image: image.filter(ImageFilter.GaussianBlur(4)))
for row in np.flatnonzero(bunch.target == "COVID-19")[10:24]:
    spoil(row, lambda image: image.resize((60, 60)))

# %%
# Decide
# ------
# Phantoms are smaller than films, so one limit is set; the others are as they come. That small
# films are rejected costs COVID-19 more than the others, and a warning says so.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", CurationWarning)
    result: Curation = curate(bunch, rules=CurationRules(min_side=80))
print(caught[0].message)
print()
print(result)

# %%
# A rule that does this to one class is better switched off.

result = curate(bunch, Path(folder.name) / "curated", rules=CurationRules(min_side=None))
print(result.costs("label"))

# %%
# Load what was kept, and split it
# --------------------------------
# The kept films are a folder that loads like any other. No patient and no film stands on both
# sides of a split by patient; cut by image, it does.

kept = load_xray_folder(result.out / "kept")
cv = StratifiedGroupKFold(4, shuffle=True, random_state=0)
train, test = next(cv.split(kept.data, kept.target, kept.groups))
report: SplitReport = check_split(select_rows(kept, train), select_rows(kept, test))
print(report)
print()
print(check_split(select_rows(bunch, range(0, 126, 2)), select_rows(bunch, range(1, 126, 2))))

# %%
# Guard
# -----
# The guard is fitted on the kept images, and finds images unlike them. As a step of a pipeline it
# warns of such images when the pipeline predicts.

guard = MeanRadiograph().fit(kept.data)
likeness = guard.score_samples(bunch.data)
print(f"least like the others: {np.sort(likeness)[:3].round(2)}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", OutOfDistributionWarning)
    guard.transform(bunch.data)
print(caught[0].message)

# %%
# Look
# ----
# The contact sheet shows what was rejected and why. Rules are judged by eye.

sheet = result.contact_sheet(Path(folder.name) / "rejected.png")
with Image.open(sheet) as image:
    pixels = np.asarray(image)
figure, axes = plt.subplots(figsize=(9, 9 * pixels.shape[0] / pixels.shape[1]))
axes.imshow(pixels, cmap="gray")
axes.set_axis_off()
plt.show()

# %%

folder.cleanup()
