"""The command line: ``cxr-sklearn`` or ``python -m cxr_sklearn``."""

# Importing a command registers it.
from . import _audit_command, _curate_command, _demo_command, _predict_command, _train_command
from ._program import main

__all__ = [
    "_audit_command",
    "_curate_command",
    "_demo_command",
    "_predict_command",
    "_train_command",
    "main",
]
