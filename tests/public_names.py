"""The public names of the package, and the modules that users import them from."""

from __future__ import annotations

import importlib
import pkgutil

import cxr_sklearn

MODULES = [
    cxr_sklearn,
    *(
        importlib.import_module(f"cxr_sklearn.{module.name}")
        for module in pkgutil.iter_modules(cxr_sklearn.__path__)
        if not module.name.startswith("_")
    ),
]
PUBLIC_NAMES = [
    (module.__name__, name) for module in MODULES for name in getattr(module, "__all__", ())
]
