"""scikit-learn's own checks, with no check hidden."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from cxr_sklearn import (
    ResNetFeatures,
    XRayLoader,
)

from ..toys import MODELS, toy

TOY = {"backbone": toy, "weights": None, "image_size": 16}


def expected_failures(estimator: object) -> dict[str, str]:
    """Name the checks that mini-batch training cannot satisfy."""
    if isinstance(estimator, (ResNetFeatures, XRayLoader)):
        return {}
    # scikit-learn's MLPClassifier declares the same
    reason = "a row of weight 2 and two rows of weight 1 fall into other mini-batches"
    return {
        "check_sample_weight_equivalence_on_dense_data": reason,
        "check_sample_weight_equivalence_on_sparse_data": reason,
    }


# one check gives a class 10,000,000 times the weight of another, which is then never predicted
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@parametrize_with_checks(
    [
        *(
            kind(**TOY, trainable=trainable, max_epochs=10)
            for kind in MODELS
            for trainable in ("head", "all")
        ),
        ResNetFeatures(**TOY),
        ResNetFeatures(**TOY, trainable="all"),
    ],
    expected_failed_checks=expected_failures,
)
def test_common_checks(estimator, check):
    """Each estimator keeps scikit-learn's contract."""
    check(estimator)
