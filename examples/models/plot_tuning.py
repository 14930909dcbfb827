"""
Tune one-versus-one ResNets with GridSearchCV
=============================================

The models are scikit-learn estimators, so :class:`~sklearn.model_selection.GridSearchCV` searches
their hyperparameters. Three binary networks share one frozen trunk, and so do the folds and
candidates of a search: each image passes it once, however large the grid.
"""

from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, train_test_split
from torch import nn

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.metrics import classification_table

shares = {"COVID-19": 1, "Normal": 3, "Pneumonia": 3}
X, y = make_chest_phantoms(800, weights=shares, image_size=64, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)


def random_features():
    """Return a network that pools a random convolution to 2,048 values, as many as a ResNet50's."""
    layers = {
        "conv": nn.Conv2d(1, 32, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten()),
        "fc": nn.Linear(2048, 3),
    }
    net = nn.Sequential(OrderedDict(layers))
    net.stages = ("fc",)
    return net


# %%
# The grid
# --------
# The sampler is a hyperparameter like the others: it acts inside each binary problem, on the
# training part only, so the folds are scored on images as they are. The area under the ROC curve
# needs probabilities, which scikit-learn's own one-versus-one lacks.
network = {"backbone": random_features, "weights": None, "image_size": 32}
search = GridSearchCV(
    ResNetOvO(**network, max_epochs=15, batch_size=64, random_state=0),
    {"sampler": [None, RandomOverSampler(), SMOTE()], "lr": [1e-4, 1e-3]},
    scoring="roc_auc_ovr",
    cv=3,
).fit(X_train, y_train)
print(f"best mean AUC {search.best_score_:.3f} with {search.best_params_}")

# %%
# Candidates side by side
# -----------------------
# Each dot is a fold, each bar the mean of three. Here the learning rate decides, and the samplers
# hardly matter. Three folds cannot distinguish candidates if their dots overlap.
# The best of many is best by chance as well as by merit, and its score a little too good, which is
# why a quarter of the images was set apart before.
results = search.cv_results_
order = np.argsort(results["mean_test_score"])
folds = np.array([results[f"split{i}_test_score"] for i in range(3)])[:, order]


def describe(parameters):
    """Return a candidate in a line."""
    sampler = parameters["sampler"]
    name = "no sampler" if sampler is None else type(sampler).__name__
    return f"{name}, lr={parameters['lr']:g}"


names = [describe(results["params"][i]) for i in order]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.4), width_ratios=[1.2, 1], layout="constrained"
)
left.barh(names, folds.mean(axis=0), color="0.8")
left.plot(folds.T, range(len(names)), "o", ms=4, color="C0", alpha=0.7)
left.axvline(0.5, color="k", ls="--", lw=1)
left.set(xlabel="AUC, one versus rest (dashed: chance)", xlim=(0.4, 1))
ConfusionMatrixDisplay.from_estimator(
    search, X_test, y_test, normalize="true", values_format=".2f", ax=right, colorbar=False
)
right.set_title("best candidate, test set")
plt.show()

# %%
# The best candidate was fitted once more, on all training images, and is the one on the right. Its
# figures by class:
print(classification_table(y_test, search.predict(X_test)))
