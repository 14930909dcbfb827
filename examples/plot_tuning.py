"""
Tune one-versus-one ResNets with GridSearchCV
=============================================

Three binary networks share one frozen trunk, and so do the folds and candidates of a search: each
image passes it once. The images are synthetic, the trunk is small and not pretrained, so that this
runs in seconds; with your own images pass paths, ``backbone="resnet50"`` and weights.
"""

import matplotlib.pyplot as plt
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, train_test_split

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms

X, y = make_chest_phantoms(
    400, weights={"COVID-19": 1, "Normal": 4, "Pneumonia": 4}, image_size=64, random_state=0
)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# The sampler is a hyperparameter: it acts inside each binary problem, on the training part only.
search = GridSearchCV(
    ResNetOvO(backbone="resnet18", weights=None, image_size=64, random_state=0),
    {"sampler": [None, RandomOverSampler(), SMOTE()], "hidden_layer_sizes": [(), (64,)]},
    scoring="roc_auc_ovr",
    cv=3,
).fit(X_train, y_train)
print(search.best_params_, f"AUC {search.best_score_:.3f}")

# %%
# Candidates side by side, and the best one on images set apart.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
results = search.cv_results_
names = [
    f"{type(p['sampler']).__name__ if p['sampler'] else 'no sampler'}, {p['hidden_layer_sizes']}"
    for p in results["params"]
]
left.barh(names, results["mean_test_score"], xerr=results["std_test_score"])
left.set(xlabel="AUC, one versus rest, mean of 3 folds", xlim=(0.5, 1))
ConfusionMatrixDisplay.from_estimator(search, X_test, y_test, ax=right, colorbar=False)
plt.show()
