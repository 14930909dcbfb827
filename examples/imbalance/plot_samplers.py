"""
Train on a rare class with weights and samplers
===============================================

If one class has far fewer images than the others, a model may hardly ever predict it, and still
have a good average score. You can weight the classes in the loss, or sample the images. A sampler
of imbalanced-learn can be a step before the model, or the parameter ``sampler`` of the model, which
then samples each binary problem separately. This page compares both for
:class:`~cxr_sklearn.ResNetOvO`.
"""

import warnings
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.metrics import recall_score
from torch import nn

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning
from cxr_sklearn.metrics import classification_table

shares = {"COVID-19": 1, "Normal": 7, "Pneumonia": 7}
X, y = make_chest_phantoms(900, weights=shares, image_size=32, random_state=0)
X_test, y_test = make_chest_phantoms(1500, weights=shares, image_size=32, random_state=1)
for name in shares:
    print(f"{name}: {np.sum(y == name)} training images")

# %%
# The backbone of this page has one random convolution, and only the heads are trained. Each model
# therefore trains in one or two seconds.


def random_features():
    """Return a network that pools a random convolution to 256 values."""
    layers = OrderedDict(
        conv=nn.Conv2d(1, 16, 3, stride=2, padding=1),
        relu=nn.ReLU(),
        pool=nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        fc=nn.Linear(256, 3),
    )
    net = nn.Sequential(layers)
    net.stages = ("fc",)
    return net


def make_model(**settings):
    """Return a one-versus-one model with the random backbone."""
    common = {"backbone": random_features, "weights": None, "image_size": 32, "random_state": 0}
    return ResNetOvO(**common, max_epochs=15, **settings)


# %%
# Without weights or samplers
# ---------------------------
# Without weights or samplers, and with a learning rate that is too low, the model never predicts
# the rare class. It warns about that.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", NeverPredictedWarning)
    never_covid = make_model(class_weight=None, lr=1e-6).fit(X, y)
print(caught[0].message)
print(classification_table(y_test, never_covid.predict(X_test)))

# %%
# Compare six models
# ------------------
# An under-sampler before the model reduces both frequent classes to the size of the rare class.
# Inside the model it reduces each pair to the smaller of its two classes, so the network for Normal
# and Pneumonia keeps all its images.
#
# An over-sampler repeats images of the rare class, which has nearly the same effect as weights.
# The first layer of a head standardises its inputs. With a sampler inside the model, it uses the
# mean and standard deviation of the original images; with a sampler before the model, those of the
# sampled images.

over_sampler = RandomOverSampler(random_state=0)
under_sampler = RandomUnderSampler(random_state=0)
models = {
    "neither": make_model(class_weight=None),
    "weights (default)": make_model(),
    "over-sampler inside": make_model(class_weight=None, sampler=RandomOverSampler()),
    "over-sampler before": make_pipeline(over_sampler, make_model(class_weight=None)),
    "under-sampler inside": make_model(class_weight=None, sampler=RandomUnderSampler()),
    "under-sampler before": make_pipeline(under_sampler, make_model(class_weight=None)),
}
classes = np.array(sorted(shares))
is_covid = y_test == "COVID-19"
recall, mean_covid, accuracy_of_others = {}, {}, {}
for name, model in models.items():
    probabilities = model.fit(X, y).predict_proba(X_test)
    predicted = classes[probabilities.argmax(axis=1)]
    recall[name] = recall_score(y_test, predicted, labels=classes, average=None)
    mean_covid[name] = probabilities[:, 0].mean()

    # Predict one of the two frequent classes for the images that show one of them.
    of_frequent = classes[1:][probabilities[~is_covid, 1:].argmax(axis=1)]
    accuracy_of_others[name] = np.mean(of_frequent == y_test[~is_covid])
    print(
        f"{name:20} recall {recall[name].round(2)}, mean P(COVID-19) {mean_covid[name]:.3f}, "
        f"accuracy of Normal or Pneumonia {accuracy_of_others[name]:.3f}"
    )

# %%
# Recall
# ------
# Weights and samplers raise the recall of COVID-19 and lower the recall of the other classes,
# because the models predict COVID-19 more often.

# Large text stays legible in the thumbnail of the gallery.
plt.rcParams["font.size"] = 13
names = list(models)
figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
covid_recall = [recall[name][0] for name in names]
mean_of_others = [recall[name][1:].mean() for name in names]
axis.plot(covid_recall, names, "o", ms=10, label="COVID-19")
axis.plot(mean_of_others, names, "s", ms=8, label="mean of the others")
axis.set(xlabel="recall", xlim=(0, 1))
axis.invert_yaxis()
axis.grid(alpha=0.4)
axis.legend(fontsize=11, loc="upper left", bbox_to_anchor=(0.02, 0.9))
plt.show()

# %%
# Probabilities, and the frequent classes
# ---------------------------------------
# The left panel shows the mean probability of COVID-19. With weights or samplers it is far above
# the share of COVID-19 images (dashed line), since these models assume equally frequent classes.
# :ref:`sphx_glr_auto_examples_trust_plot_calibration.py` corrects it.
#
# The right panel uses images of Normal and Pneumonia only, and shows how often the more probable of
# these two classes is correct. The under-sampler before the model removes most of their training
# images, and gives the lowest accuracy.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
left.barh(names, [mean_covid[name] for name in names], color="0.5")
left.axvline(is_covid.mean(), color="k", ls="--")
left.set(xlabel="mean probability of COVID-19")
left.invert_yaxis()
right.plot([accuracy_of_others[name] for name in names], names, "ko")
right.set(xlabel="accuracy, Normal or Pneumonia")
right.grid(axis="x", alpha=0.4)
plt.show()
