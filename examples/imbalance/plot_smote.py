"""
Apply SMOTE to features instead of pixels
=========================================

SMOTE makes new samples of a rare class by interpolation between neighbours. The mean of two chest
X-rays looks like a double exposure, which is not a realistic image. The mean of their features is
closer to the features of a real image. :class:`~cxr_sklearn.ResNetFeatures` computes features as a
transformer of scikit-learn, so SMOTE can follow it in a pipeline, and a classifier can follow
SMOTE.
"""

from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsOneClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from cxr_sklearn import ResNetFeatures, XRayLoader
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantoms
from cxr_sklearn.metrics import classification_table

SIZE = 48

# %%
# Load paths of images
# --------------------
# The phantoms are written to a folder per class. The file names begin with a patient number.
# :func:`~cxr_sklearn.datasets.load_xray_folder` opens no image. It returns paths, classes and
# patients, and the column of paths is X.

shares = {"COVID-19": 1, "Normal": 6, "Pneumonia": 6}
pixels, labels = make_chest_phantoms(1300, weights=shares, image_size=SIZE, random_state=0)
folder = TemporaryDirectory()
for i, (row, label) in enumerate(zip(pixels, labels, strict=True)):
    path = Path(folder.name, label, f"{i:08d}_000.png")
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(row.reshape(SIZE, SIZE)).save(path)

xrays = load_xray_folder(folder.name)
print(xrays.DESCR)
X_train, X_test, y_train, y_test = train_test_split(
    xrays.data, xrays.target, test_size=0.5, stratify=xrays.target, random_state=0
)

# %%
# Compare pipelines with and without SMOTE
# ----------------------------------------
# The loader reads files into rows of pixels, ``ResNetFeatures`` computes their features, and the
# classifier is trained on the features. SMOTE is active in ``fit`` only, never in ``predict``. The
# backbone of this page has one random convolution. Leave out ``backbone``, ``weights`` and
# ``image_size`` to use a ResNet50 with ImageNet weights.


def random_features():
    """Return a network that pools a random convolution to 512 values."""
    layers = OrderedDict(
        conv=nn.Conv2d(1, 32, 3, stride=2, padding=1),
        relu=nn.ReLU(),
        pool=nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        fc=nn.Linear(512, 3),
    )
    net = nn.Sequential(layers)
    net.stages = ("fc",)
    return net


def paths_to_classes(*samplers):
    """Return a pipeline that predicts classes from paths."""
    return make_pipeline(
        XRayLoader(image_size=SIZE),
        ResNetFeatures(backbone=random_features, weights=None, image_size=SIZE, random_state=0),
        StandardScaler(),
        *samplers,
        OneVsOneClassifier(LogisticRegression(C=0.01, max_iter=1000)),
    )


without = paths_to_classes().fit(X_train, y_train)
with_smote = paths_to_classes(SMOTE(random_state=0)).fit(X_train, y_train)
for name, pipeline in {"without SMOTE": without, "with SMOTE": with_smote}.items():
    print(f"{name}\n{classification_table(y_test, pipeline.predict(X_test))}\n")

# %%
# SMOTE has an effect similar to weights: the model finds more of the COVID-19 images, and more of
# its COVID-19 predictions are wrong. The scores are honest, because SMOTE used features of training
# images only.
#
# New points in the space of features
# -----------------------------------
# The figure shows the first two principal components of the features. The new points lie between
# the points of COVID-19 images. Each new point is the interpolation of two of them.

features = without[:-1].transform(X_train)
resampled, _ = SMOTE(random_state=0).fit_resample(features, y_train)
new_features = resampled[len(features) :]  # SMOTE appends the new rows
plane = PCA(2).fit(features)
old_points = plane.transform(features[y_train == "COVID-19"])
new_points = plane.transform(new_features[: 3 * len(old_points)])

# Large text stays legible in the thumbnail of the gallery.
plt.rcParams["font.size"] = 13
figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
axis.scatter(*new_points.T, s=20, color="C1", alpha=0.6, label="made by SMOTE")
axis.scatter(*old_points.T, s=50, color="C0", label="COVID-19 images")
axis.set(xlabel="first component", ylabel="second component")
axis.legend(fontsize=11)
plt.show()

# %%
# Interpolation of pixels
# -----------------------
# The same interpolation of pixels gives an image in which the ribs and the noise of both images are
# faded. Its contours are smoother than those of real images, and a network can learn to recognise
# new images by that. The printed roughness is the mean difference of neighbouring pixels, divided
# by the standard deviation of the image.


def roughness(images):
    """Return the mean difference of neighbouring pixels, relative to the standard deviation."""
    differences = np.diff(images.reshape(-1, SIZE, SIZE), axis=2)
    return np.abs(differences).mean(axis=(1, 2)) / images.std(axis=1)


rows = without[0].transform(X_train).astype(float)
resampled, _ = SMOTE(random_state=0).fit_resample(rows, y_train)
new_rows = resampled[len(rows) :]
covid_rows = rows[y_train == "COVID-19"]
print(f"roughness of COVID-19 images:   {roughness(covid_rows).mean():.3f}")
print(f"roughness of images from SMOTE: {roughness(new_rows).mean():.3f}")

distance = np.linalg.norm(covid_rows - covid_rows[0], axis=1)
image, neighbour = covid_rows[np.argsort(distance)[:2]]
shown = {"an image": image, "its neighbour": neighbour, "their mean": (image + neighbour) / 2}
figure, axes = plt.subplots(1, 3, figsize=(7, 2.8), layout="constrained")
for axis, (title, row) in zip(axes, shown.items(), strict=True):
    axis.imshow(row.reshape(SIZE, SIZE), cmap="gray", vmin=0, vmax=255)
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

# %%

folder.cleanup()
