"""
Find the lungs, and crop to them
================================

``LungFields`` finds the lungs with a small network that is part of the package. ``LungCrop`` crops
images to them, so that a model does not see what is at their border. Here, a black frame gives the
class away, and a crop removes it.
"""

import warnings
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.evaluation import cross_evaluate
from cxr_sklearn.exceptions import LungsNotFoundWarning
from cxr_sklearn.preprocessing import LungCrop, LungFields

# %%
# Find the lungs
# --------------
# The masks of the network are red, and the outline with which the phantoms were drawn is yellow.
X, y, drawn = make_chest_phantoms(300, image_size=96, return_masks=True, random_state=0)
fields = LungFields(image_size=96).fit(X)
masks = fields.transform(X[:5])
boxes = fields.bounding_boxes(X[:5])
figure, axes = plt.subplots(1, 5, figsize=(11, 2.4), layout="constrained")
for ax, image, mask, truth in zip(axes, X, masks, drawn, strict=False):
    ax.imshow(image.reshape(96, 96), cmap="gray")
    ax.contour(mask.reshape(96, 96), levels=[127], colors="red", linewidths=1)
    ax.contour(truth.reshape(96, 96), levels=[127], colors="yellow", linewidths=0.6)
    ax.set_axis_off()
print("left, top, right and bottom of the first lungs:", boxes[0].round())

# %%
# Detect images that are not upright radiographs
# ----------------------------------------------
# The score of an image falls if it is turned or inverted.
images = X[:60].reshape(-1, 96, 96)
variants = OrderedDict(
    {
        "upright": images,
        "turned by 90°": np.rot90(images, axes=(1, 2)),
        "upside down": images[:, ::-1],
        "inverted": 255 - images,
    }
)
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
scores = [fields.score_samples(variant) for variant in variants.values()]
ax.boxplot(scores, orientation="horizontal", tick_labels=list(variants))
ax.invert_yaxis()
ax.set(xlabel="score_samples", title="Does the image look like an upright frontal radiograph?")

# %%
# Remove a border that gives the class away
# -----------------------------------------
# Nine in ten COVID-19 images get a black frame. A classifier of thumbnails learns the frame. On
# images that are cropped to the lungs, it has to look at them.
X, y = make_chest_phantoms(600, image_size=96, confound="border", random_state=1)
crop = LungCrop(image_size=96, margin=0.02)
with warnings.catch_warnings():
    # Images in which no lungs are found would be returned whole, with this warning.
    warnings.simplefilter("error", LungsNotFoundWarning)
    cropped = crop.fit_transform(X)
figure, axes = plt.subplots(2, 6, figsize=(11, 4), layout="constrained")
shown = [row for label in np.unique(y) for row in np.flatnonzero(y == label)[:2]]
for column, image in enumerate(shown):
    for row, pixels in enumerate((X, cropped)):
        axes[row, column].imshow(pixels[image].reshape(96, 96), cmap="gray")
        axes[row, column].set_axis_off()
    axes[0, column].set_title(y[image], fontsize=9)


def thumbnails(rows):
    """Return images of 12 by 12 pixels."""
    return rows.reshape(-1, 12, 8, 12, 8).mean(axis=(2, 4)).reshape(len(rows), -1)


classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=1000))
for name, rows in (("whole images", X), ("cropped to the lungs", cropped)):
    evaluation = cross_evaluate(
        classifier,
        thumbnails(rows),
        y,
        groups=np.arange(600),
        baselines=None,
        n_resamples=500,
        random_state=0,
    )
    table = evaluation.per_class
    row = table[(table["metric"] == "sensitivity") & (table["class"] == "COVID-19")].iloc[0]
    print(
        f"{name}: sensitivity for COVID-19 {row['value']:.2f} ({row['low']:.2f} to "
        f"{row['high']:.2f})"
    )
plt.show()
