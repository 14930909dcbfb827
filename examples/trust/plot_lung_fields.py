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
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.evaluation import evaluate
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
for place, variant in enumerate(variants.values()):
    scores = fields.score_samples(variant)
    ax.scatter(scores, np.full(len(scores), place), s=12, alpha=0.4)
ax.set_yticks(range(len(variants)), list(variants))
ax.invert_yaxis()
ax.set(xlabel="score_samples", title="Does the image look like an upright frontal radiograph?")

# %%
# Remove a border that gives the class away
# -----------------------------------------
# Nine in ten COVID-19 images of one place have a black frame. A classifier of thumbnails learns the
# frame, and misses COVID-19 at another place, which makes no frames. Cropped to the lungs, the
# images of both places look alike.
X, y = make_chest_phantoms(600, image_size=96, confound="border", random_state=1)
X_same, y_same = make_chest_phantoms(300, image_size=96, confound="border", random_state=2)
X_other, y_other = make_chest_phantoms(300, image_size=96, random_state=3)
crop = LungCrop(image_size=96, margin=0.02).fit(X)
figure, axes = plt.subplots(2, 6, figsize=(11, 4), layout="constrained")
shown = [row for label in np.unique(y) for row in np.flatnonzero(y == label)[:2]]
for column, (image, cropped) in enumerate(zip(X[shown], crop.transform(X[shown]), strict=True)):
    for ax, pixels in zip(axes[:, column], (image, cropped), strict=True):
        ax.imshow(pixels.reshape(96, 96), cmap="gray")
        ax.set_axis_off()
    axes[0, column].set_title(y[shown[column]], fontsize=9)


def thumbnails(rows):
    """Return images of 12 by 12 pixels."""
    return rows.reshape(-1, 12, 8, 12, 8).mean(axis=(2, 4)).reshape(len(rows), -1)


logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=1000))
models = {
    "whole images": make_pipeline(FunctionTransformer(thumbnails), logistic),
    "lung crops": make_pipeline(crop, FunctionTransformer(thumbnails), clone(logistic)),
}
with warnings.catch_warnings():
    # Images in which no lungs are found would be returned whole, with this warning.
    warnings.simplefilter("error", LungsNotFoundWarning)
    for model in models.values():
        model.fit(X, y)
    for place, images, labels in (("the same", X_same, y_same), ("another", X_other, y_other)):
        found = evaluate(models, images, labels, groups=np.arange(300), n_resamples=500)
        table = found.per_class.query("metric == 'sensitivity'").query("`class` == 'COVID-19'")
        for row in table.to_dict("records"):
            figures = f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            print(f"sensitivity for COVID-19 at {place} place, {row['model']}: {figures}")
plt.show()
