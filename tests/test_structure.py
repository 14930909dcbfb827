"""The layout of the package: one name per module, and no module that is too long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "cxr_sklearn"


def test_no_two_modules_have_the_same_name():
    names = [
        path.stem.lstrip("_") for path in SOURCES.rglob("*.py") if not path.stem.startswith("__")
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []
