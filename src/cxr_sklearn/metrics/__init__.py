"""Metrics: arrays of labels and probabilities in, figures with intervals by patient out."""

from ._classification_table import classification_table
from ._comparison_display import ComparisonDisplay
from ._confusion_display import ConfusionDisplay
from ._curve_displays import PrecisionRecallDisplay, RocDisplay
from ._decision_curve import cost_threshold, net_benefit
from ._decision_curve_display import DecisionCurveDisplay
from ._delong import delong_test
from ._patient_interval import patient_interval
from ._recalibration import calibration_line
from ._reliability_display import ReliabilityDisplay
from ._smooth_calibration import smooth_calibration_error
from ._training_display import TrainingDisplay

__all__ = [
    "ComparisonDisplay",
    "ConfusionDisplay",
    "DecisionCurveDisplay",
    "PrecisionRecallDisplay",
    "ReliabilityDisplay",
    "RocDisplay",
    "TrainingDisplay",
    "calibration_line",
    "classification_table",
    "cost_threshold",
    "delong_test",
    "net_benefit",
    "patient_interval",
    "smooth_calibration_error",
]
