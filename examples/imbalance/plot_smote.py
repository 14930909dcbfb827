"""
SMOTE on features, not on pixels
================================

SMOTE makes new images of a scarce class by interpolating between neighbours. Between the pixels of
two chest X-rays this gives a double exposure. Between their features it gives a vector such as a
similar X-ray could have had. :class:`~cxr_sklearn.ResNetFeatures` is the frozen trunk as a
transformer, so SMOTE can stand behind it, and any classifier of scikit-learn behind SMOTE.
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
# Files
# -----
# Phantoms are written as they would come: a folder per class, a file per film, named by patient and
# number. :func:`~cxr_sklearn.datasets.load_xray_folder` opens no image; it finds paths, labels and
# patients. The column of paths is X.
shares = {"COVID-19": 1, "Normal": 6, "Pneumonia": 6}
pixels, labels = make_chest_phantoms(1300, weights=shares, image_size=SIZE, random_state=0)
temporary = TemporaryDirectory()
for i, (row, label) in enumerate(zip(pixels, labels, strict=True)):
    path = Path(temporary.name, label, f"{i:08d}_000.png")
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(row.reshape(SIZE, SIZE)).save(path)

xrays = load_xray_folder(temporary.name)
print(xrays.DESCR)
X_train, X_test, y_train, y_test = train_test_split(
    xrays.data, xrays.target, test_size=0.5, stratify=xrays.target, random_state=0
)

# %%
# Two pipelines
# -------------
# The loader reads files into rows of pixels, the trunk turns rows into features, and the classifier
# learns from them. SMOTE acts while the pipeline is fitted, never on the images it predicts. The
# trunk has a single random convolution; leave ``backbone``, ``weights`` and ``image_size`` out and
# it is a ResNet50 with ImageNet's.


def random_features():
    """Return a network that pools a random convolution to 512 values."""
    layers = {
        "conv": nn.Conv2d(1, 32, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        "fc": nn.Linear(512, 3),
    }
    net = nn.Sequential(OrderedDict(layers))
    net.stages = ("fc",)
    return net


def steps(*samplers):
    """Return a pipeline from paths to classes."""
    return make_pipeline(
        XRayLoader(image_size=SIZE),
        ResNetFeatures(backbone=random_features, weights=None, image_size=SIZE, random_state=0),
        StandardScaler(),
        *samplers,
        OneVsOneClassifier(LogisticRegression(C=0.01, max_iter=1000)),
    )


without = steps().fit(X_train, y_train)
with_smote = steps(SMOTE(random_state=0)).fit(X_train, y_train)
for name, pipeline in {"without": without, "with SMOTE": with_smote}.items():
    print(f"{name}\n{classification_table(y_test, pipeline.predict(X_test))}\n")

# %%
# SMOTE trades as weights do: more of the scarce class is found, and more images are called so that
# are not. It saw only features of training images: the test images went through the same trunk and
# scaler, and no sampler.
#
# What SMOTE makes
# ----------------
# The same interpolation on pixels and on features. On pixels: a phantom, its nearest neighbour of
# the same class, and the image half-way, in which the noise and the ribs of both are faded. All
# that SMOTE makes is smoother, on average, than films are, and a network can learn to know it by
# that.
rows = without[0].transform(X_train).astype(float)
made = SMOTE(random_state=0).fit_resample(rows, y_train)[0][len(rows) :]  # appended to the old


def roughness(images):
    """Return the mean difference of pixels side by side, relative to the contrast of the image."""
    steps_across = np.diff(images.reshape(-1, SIZE, SIZE), axis=2)
    return np.abs(steps_across).mean(axis=(1, 2)) / images.std(axis=1)


scarce = rows[y_train == "COVID-19"]
print(f"roughness of films {roughness(scarce).mean():.3f}, of made {roughness(made).mean():.3f}")
nearest = np.argsort(np.linalg.norm(scarce - scarce[0], axis=1))
images = [scarce[0], scarce[nearest[1]], (scarce[0] + scarce[nearest[1]]) / 2, scarce[nearest[2]]]

# %%
# On features: the first two principal components. The new points lie between the old ones of their
# class.
features = without[:-1].transform(X_train)
new_features = SMOTE(random_state=0).fit_resample(features, y_train)[0][len(features) :]
plane = PCA(2).fit(features)
old, new = plane.transform(features), plane.transform(new_features)

figure = plt.figure(figsize=(11, 5.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
titles = ["a phantom", "its neighbour", "half-way between: pixels", "another phantom"]
for axis, image, title in zip(left.subplots(2, 2).flat, images, titles, strict=True):
    axis.imshow(image.reshape(SIZE, SIZE), cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()
axis = right.subplots()
for name, colour in {"Normal": "C1", "Pneumonia": "C2", "COVID-19": "C0"}.items():
    is_scarce = name == "COVID-19"
    size, alpha = (30, 1) if is_scarce else (8, 0.35)
    axis.scatter(*old[y_train == name].T, s=size, alpha=alpha, color=colour, label=name, lw=0)
axis.scatter(*new.T, s=8, marker="+", color="k", lw=0.5, label="made by SMOTE")
axis.set(xlabel="first principal component of the features", ylabel="second")
axis.legend()
temporary.cleanup()
plt.show()
