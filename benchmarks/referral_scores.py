"""Compare confidences by how well they refer, and a guarantee at the same and at other places.

    python benchmarks/referral_scores.py [--data FOLDER] [--jobs 1]

*Confidences*: out-of-fold probabilities of ResNetOvO in five folds by patient, on 2,400 phantoms of
32 pixels (a network of three convolutions), and on the class folders of ``--data`` with
EfficientNet-Lite0 at 224 pixels. The area under the risk-coverage curve is the mean share of errors
over all referral rates; its differences to the greatest probability have 95 % intervals by patient.

*Places*: a rule with max_risk=0.2 is fitted and calibrated on 1,800 phantoms, and then decides on
600 other phantoms: as they are, brighter ones, and, where a bright border gave the class away at
the place of calibration, ones without it. With ``--data``, a rule of EfficientNet-Lite0 decides on
held-out patients, as they are and with their contrast changed (gamma 0.5).
"""

from __future__ import annotations

import argparse
import warnings
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pandas as pd
from efficientnet import lite0
from measuring import machine
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from cxr_sklearn import ResNetOvO, XRayLoader
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantoms
from cxr_sklearn.metrics import patient_interval
from cxr_sklearn.referral import ReferralClassifier, risk_coverage_auc
from cxr_sklearn.referral._confidence import SCORES, confidence_scores

Images = tuple[np.ndarray, np.ndarray, np.ndarray]


def phantoms(confound: str | None = None) -> Images:
    """Return phantoms, two images of each patient."""
    X, y = make_chest_phantoms(2400, image_size=32, random_state=0, confound=confound)
    return X, y, np.arange(2400) // 2


class SmallNet(nn.Sequential):
    """A network of three convolutions."""

    stages = ("stage1", "stage2", "stage3", "fc")


def halve(n_in: int, n_out: int) -> nn.Module:
    """Return a convolution that halves the image."""
    convolution = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def small_net() -> nn.Module:
    """Return an untrained network."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stages = {"stage1": halve(1, 16), "stage2": halve(16, 32), "stage3": halve(32, 64)}
    return SmallNet(OrderedDict(**stages, pool=pool, fc=nn.Linear(64, 3)))


def phantom_model() -> ResNetOvO:
    """Return an unfitted model for phantoms."""
    return ResNetOvO(
        backbone=small_net,
        weights=None,
        image_size=32,
        trainable="all",
        lr=5e-3,
        max_epochs=20,
        random_state=0,
    )


def radiographs(folder: str, jobs: int) -> Images:
    """Return the images of class folders as rows of pixels."""
    bunch = load_xray_folder(folder)
    X = XRayLoader(image_size=224, n_jobs=jobs).fit_transform(bunch.data)
    return X, bunch.target, bunch.groups


def radiograph_model() -> ResNetOvO:
    """Return an unfitted model for radiographs."""
    return ResNetOvO(backbone=lite0, weights=None, image_size=224, random_state=0)


def out_of_fold(model: ResNetOvO, images: Images) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return whether each image is predicted wrongly, and every confidence."""
    X, y, patients = images
    is_wrong = np.zeros(len(y), dtype=bool)
    scores = {name: np.zeros(len(y)) for name in SCORES}
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(X, y, patients):
        fitted = clone(model).fit(X[train], y[train], groups=patients[train])
        proba = fitted.predict_proba(X[test])
        is_wrong[test] = fitted.classes_[proba.argmax(axis=1)] != y[test]
        for name in SCORES:
            scores[name][test] = confidence_scores(name, fitted, X[test], proba)
    return is_wrong, scores


def compare_confidences(data: str, model: ResNetOvO, images: Images) -> pd.DataFrame:
    """Return the area of each confidence, and its difference to the greatest probability."""
    is_wrong, scores = out_of_fold(model, images)
    rows = []
    for name, score in scores.items():
        both = np.column_stack([score, scores["max_probability"]])

        def difference(wrong: np.ndarray, pair: np.ndarray, sample_weight: np.ndarray) -> float:
            first, second = pair.T
            of_first = risk_coverage_auc(wrong, first, sample_weight=sample_weight)
            return of_first - risk_coverage_auc(wrong, second, sample_weight=sample_weight)

        options = {"groups": images[2], "strata": images[1], "random_state": 0}
        area = patient_interval(risk_coverage_auc, is_wrong, score, **options)
        change = patient_interval(difference, is_wrong, both, **options)
        rows.append(
            {
                "data": data,
                "confidence": name,
                "area": area.value,
                "low": area.low,
                "high": area.high,
                "difference": change.value,
                "difference_low": change.low,
                "difference_high": change.high,
                "errors": is_wrong.mean(),
            }
        )
    return pd.DataFrame(rows)


def at_places(
    model: ResNetOvO, images: Images, places: dict[str, Callable[[np.ndarray], np.ndarray]]
) -> pd.DataFrame:
    """Return what a rule of max_risk=0.2 does on images of several places."""
    X, y, patients = images
    known, new = next(StratifiedGroupKFold(4, shuffle=True, random_state=0).split(X, y, patients))
    rule = ReferralClassifier(model, max_risk=0.2, calibration_size=0.5, random_state=0)
    rule.fit(X[known], y[known], groups=patients[known])
    rows = []
    for name, change in places.items():
        shown = change(X[new])
        is_decided = ~rule.refers(shown)
        is_wrong = rule.predict(shown) != y[new]
        found = rule.check_exchangeability(shown, patients[new])
        rows.append(
            {
                "place": name,
                "certified": rule.certificate_.is_certified,
                "decided": is_decided.mean(),
                "wrong": is_wrong[is_decided].mean() if is_decided.any() else np.nan,
                "wrong_without_referral": is_wrong.mean(),
                "p_value": found.p_value,
                "auc": found.auc,
            }
        )
    return pd.DataFrame(rows)


def brighter(X: np.ndarray) -> np.ndarray:
    """Return brighter images, as from another device."""
    return (X.astype(int) + 60).clip(0, 255).astype(np.uint8)


def other_contrast(X: np.ndarray) -> np.ndarray:
    """Return images with another contrast."""
    return (255 * (X / 255) ** 0.5).round().astype(np.uint8)


def unchanged(X: np.ndarray) -> np.ndarray:
    """Return the images themselves."""
    return X


def without_border(X: np.ndarray) -> np.ndarray:
    """Return the same phantoms without the border that gives the class away."""
    plain = phantoms()[0]
    with_border = phantoms("border")[0]
    number_of = {row.tobytes(): number for number, row in enumerate(with_border)}
    return plain[[number_of[row.tobytes()] for row in X]]


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of class folders")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = [compare_confidences("phantoms", phantom_model(), phantoms())]
    places = {
        "phantoms, same place": (phantom_model(), phantoms(), unchanged),
        "phantoms, brighter": (phantom_model(), phantoms(), brighter),
        "phantoms, border gives the class away": (phantom_model(), phantoms("border"), unchanged),
        "the same without the border": (phantom_model(), phantoms("border"), without_border),
    }
    if options.data:
        images = radiographs(options.data, options.jobs)
        tables.append(compare_confidences("radiographs", radiograph_model(), images))
        places["radiographs, same place"] = (radiograph_model(), images, unchanged)
        places["radiographs, gamma 0.5"] = (radiograph_model(), images, other_contrast)
    print(pd.concat(tables).to_string(index=False, float_format="%.4f"), end="\n\n")
    found = [at_places(*args[:2], {name: args[2]}) for name, args in places.items()]
    print(pd.concat(found).to_string(index=False, float_format="%.3f"), end="\n\n")
    print(machine("torch", "scikit-learn", "numpy"))


if __name__ == "__main__":
    main()
