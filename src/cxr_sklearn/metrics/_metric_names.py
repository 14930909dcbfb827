"""Names of metrics for people."""

from __future__ import annotations

_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "cohen_kappa": "Cohen's kappa",
    "matthews_corrcoef": "Matthews correlation",
    "roc_auc_ovr": "AUC",
    "roc_auc_ovo": "AUC, one-versus-one",
    "roc_auc": "AUC",
    "log_loss": "log loss",
    "brier_score": "Brier score",
    "smooth_ece": "smooth ECE",
    "calibration_loss": "calibration loss",
    "refinement_loss": "refinement loss",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
}

# Metrics of which a smaller value is better.
LOWER_IS_BETTER = frozenset(
    {"log_loss", "brier_score", "smooth_ece", "calibration_loss", "refinement_loss"}
)


def metric_name(metric: str) -> str:
    """Return the name of a metric for people, such as "balanced accuracy".

    Examples
    --------
    >>> metric_name("sensitivity_at_specificity_90")
    'sensitivity at specificity 90'
    """
    return _NAMES.get(metric, metric.replace("_", " "))
