"""Refer images to another examination when a model is not sure, with a guarantee."""

from ._certificate import Certificate
from ._curve import risk_coverage_auc
from ._prediction_sets import set_names
from ._referral_classifier import ReferralClassifier
from ._risk_coverage_display import RiskCoverageDisplay
from ._two_sample_test import ExchangeabilityTest

__all__ = [
    "Certificate",
    "ExchangeabilityTest",
    "ReferralClassifier",
    "RiskCoverageDisplay",
    "risk_coverage_auc",
    "set_names",
]
