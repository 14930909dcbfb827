"""The command line: ``cxr-sklearn`` or ``python -m cxr_sklearn``."""

# Importing a command registers it.
from . import (
    audit_command,
    compare_command,
    curate_command,
    demo_command,
    evaluate_command,
    explain_command,
    predict_command,
    train_command,
)
from .program import main

__all__ = [
    "audit_command",
    "compare_command",
    "curate_command",
    "demo_command",
    "evaluate_command",
    "explain_command",
    "main",
    "predict_command",
    "train_command",
]
