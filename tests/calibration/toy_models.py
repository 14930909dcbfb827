"""Models of this package on a toy backbone."""

from __future__ import annotations

from ..toys import toy


def toy_model(kind, **settings):
    settings = {"max_epochs": 2, "random_state": 0} | settings
    return kind(backbone=toy, weights=None, image_size=16, **settings)
