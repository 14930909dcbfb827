"""
Remove unsuitable images and check a split for leakage
======================================================

A folder of X-rays often contains images that should not be used for training. In this folder some
images are inverted, one contains coloured letters, some are too small, and some occur twice.
:func:`~cxr_sklearn.quality.curate` sorts the images by explicit rules, reports how many images of
each class it rejects, and leaves the original folder unchanged.
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
from cxr_sklearn.quality import (
    Curation,
    CurationRules,
    ImageMeasurements,
    curate,
    measure_images,
)

folder = TemporaryDirectory()
root = Path(folder.name) / "images"
bunch = make_chest_phantom_files(root, 120, image_size=96, confound="duplicates", random_state=0)


def overwrite(row, change):
    """Replace the file of an image by a changed version."""
    path = bunch.data[row, 0]
    with Image.open(path) as image:
        changed = change(image.convert("L"))
    changed.save(path)


def add_letter(image):
    """Return the image with a red letter, as in the figure of an article."""
    image = image.convert("RGB")
    ImageDraw.Draw(image).text((4, 4), "A", fill=(255, 0, 0), font_size=20)
    return image


def blur(image):
    """Return a blurred image."""
    return image.filter(ImageFilter.GaussianBlur(4))


def shrink(image):
    """Return an image of 60 by 60 pixels."""
    return image.resize((60, 60))


overwrite(3, ImageOps.invert)
overwrite(60, ImageOps.invert)
overwrite(9, add_letter)
overwrite(80, blur)
for row in np.flatnonzero(bunch.target == "COVID-19")[10:24]:
    overwrite(row, shrink)

# %%
# Apply the rules
# ---------------
# The phantoms are smaller than real radiographs, so this page sets ``min_side`` and keeps the
# other defaults. Without a folder to write to, ``curate`` only reports what it would do. Most of
# the small images show COVID-19, so the rule removes more images of this class than of the others.
# A warning reports it. The images are measured once, for all rules that you try.

measurements: ImageMeasurements = measure_images(bunch)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", CurationWarning)
    result: Curation = curate(bunch, rules=CurationRules(min_side=80), measurements=measurements)
print(caught[0].message)
print()
print(result)

# %%
# It is better to switch off a rule that affects one class more than the others. With a folder as
# second argument, ``curate`` copies the images that it keeps.

result = curate(
    bunch,
    Path(folder.name) / "curated",
    rules=CurationRules(min_side=None),
    measurements=measurements,
)
print(result.costs("label"))

# %%
# Load the kept images and check a split
# --------------------------------------
# You can load the folder of kept images like any other folder. The first report is about a split
# by patient of the kept images: no patient and no image is on both sides.

kept = load_xray_folder(result.out / "kept")
cv = StratifiedGroupKFold(4, shuffle=True, random_state=0)
train, test = next(cv.split(kept.data, kept.target, kept.groups))
report: SplitReport = check_split(select_rows(kept, train), select_rows(kept, test))
print(report)

# %%
# The second report is about the original images, of which every second one goes to the test set.
# Patients and copies of the same image are on both sides.

every_second = range(0, len(bunch.data), 2)
the_others = range(1, len(bunch.data), 2)
print(check_split(select_rows(bunch, every_second), select_rows(bunch, the_others)))

# %%
# Detect unusual images at prediction time
# ----------------------------------------
# :class:`~cxr_sklearn.preprocessing.MeanRadiograph` is fitted on the kept images. It then detects
# images that do not look like them. As a step of a pipeline it warns about such images when the
# pipeline predicts.

guard = MeanRadiograph().fit(kept.data)
likeness = guard.score_samples(bunch.data)
print(f"lowest three scores: {np.sort(likeness)[:3].round(2)}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", OutOfDistributionWarning)
    guard.transform(bunch.data)
print(caught[0].message)

# %%
# Look at the images
# ------------------
# Check by eye whether the rules were right. The first two of these images are rejected. The third
# is in the tier ``"review"``: you decide.

# Large text stays legible in the thumbnail of the gallery.
plt.rcParams["font.size"] = 13
examples = {"inverted": 3, "coloured letter": 9, "blurred": 80}
figure, axes = plt.subplots(1, 3, figsize=(6, 2.6), layout="constrained")
for axis, (title, row) in zip(axes, examples.items(), strict=True):
    with Image.open(bunch.data[row, 0]) as image:
        axis.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255)
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

# %%
# The contact sheet contains all rejected images, sorted by reason.

sheet = result.contact_sheet(Path(folder.name) / "rejected.png")
with Image.open(sheet) as image:
    pixels = np.asarray(image)
height, width = pixels.shape[:2]
figure, axis = plt.subplots(figsize=(9, 9 * height / width))
axis.imshow(pixels, cmap="gray")
axis.set_axis_off()
plt.show()

# %%

folder.cleanup()
