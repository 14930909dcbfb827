"""Combined ResNet50 models for chest X-rays, as scikit-learn estimators.

For research only: nothing here is a medical device.
"""

from ._cache import clear_cache
from ._classifier import ResNetClassifier
from ._combined import ResNetOvO, ResNetOvR, ResNetStacking
from ._images import XRayLoader
from ._trunk import ResNetFeatures

__version__ = "0.1.0.dev0"

__all__ = [
    "ResNetClassifier",  # one multi-class ResNet50
    "ResNetFeatures",  # the trunk on its own: a transformer
    "ResNetOvO",  # one ResNet50 per pair of classes
    "ResNetOvR",  # one ResNet50 per class, against the rest
    "ResNetStacking",  # one-versus-rest ResNet50s and a dense chain
    "XRayLoader",  # image files -> pixel rows: a transformer
    "clear_cache",  # let go of the activations held in memory
]
