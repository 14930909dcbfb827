"""scikit-learn's HTML representation links to the API pages of this package."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetOvR,
    ResNetStacking,
    XRayLoader,
)
from cxr_sklearn.preprocessing import MeanRadiograph
from cxr_sklearn.quality import SourceAssociation

WEBSITE = "https://cxr-sklearn.github.io/cxr_sklearn/generated"
API = (Path(__file__).parents[2] / "docs" / "api.rst").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("estimator", "page"),
    [
        (ResNetClassifier(), "cxr_sklearn.ResNetClassifier"),
        (ResNetOvO(), "cxr_sklearn.ResNetOvO"),
        (ResNetOvR(), "cxr_sklearn.ResNetOvR"),
        (ResNetStacking(), "cxr_sklearn.ResNetStacking"),
        (ResNetFeatures(), "cxr_sklearn.ResNetFeatures"),
        (XRayLoader(), "cxr_sklearn.XRayLoader"),
        (MeanRadiograph(), "cxr_sklearn.preprocessing.MeanRadiograph"),
        (SourceAssociation(), "cxr_sklearn.quality.SourceAssociation"),
    ],
)
def test_representation_links_to_the_page_of_the_estimator(estimator, page):
    shown = estimator_html_repr(make_pipeline(XRayLoader(), estimator))
    assert f"{WEBSITE}/{page}.html" in shown
    # The page exists: autosummary makes one for each name of its module.
    module, _, name = page.rpartition(".")
    listed = API.split(f".. currentmodule:: {module}\n", 1)[1]
    assert f"   {name}\n" in listed
