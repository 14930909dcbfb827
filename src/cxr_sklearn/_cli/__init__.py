"""The command line: ``cxr-sklearn`` or ``python -m cxr_sklearn``."""

# Importing a command registers it.
from . import audit_command, curate_command, demo_command, predict_command, train_command
from .program import main

__all__ = [
    "audit_command",
    "curate_command",
    "demo_command",
    "main",
    "predict_command",
    "train_command",
]
