"""Warnings of the package.

Errors are Python's own (``ValueError``, ``TypeError``, ``OSError``), as scikit-learn's are.
"""

__all__ = [
    "CacheWarning",
    "ConfoundingWarning",
    "CurationWarning",
    "DeviceWarning",
    "ImageLevelWarning",
    "NeverPredictedWarning",
    "OutOfDistributionWarning",
    "TrunkPassWarning",
    "UnreadableImageWarning",
]


class NeverPredictedWarning(UserWarning):
    """A fitted model never predicts one of its classes.

    Accuracy and macro-F1 say nothing of it (the paper's combined models failed in just this way,
    section VI B), so the model says it itself and names the classes.
    """


class TrunkPassWarning(UserWarning):
    """Images pass the frozen trunk more often than once, and a parameter would prevent it."""


class CacheWarning(UserWarning):
    """Activations on disk are damaged or cannot be kept, and are computed again."""


class DeviceWarning(UserWarning):
    """The requested device is not used, or several processes share it without a benefit."""


class UnreadableImageWarning(UserWarning):
    """Some files could not be read, and their rows are black."""


class OutOfDistributionWarning(UserWarning):
    """Images are unlike the training set, so that their predictions may be meaningless."""


class ConfoundingWarning(UserWarning):
    """Source and class of the training images were associated.

    A model of such images may recognise the source instead of the disease.
    """


class CurationWarning(UserWarning):
    """Rules of curation fall on one class or source more than on others."""


class ImageLevelWarning(UserWarning):
    """Patients are unknown, so that intervals count every image as a patient."""
