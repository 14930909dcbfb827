"""Warnings of the package.

Errors are Python's own (``ValueError``, ``TypeError``, ``OSError``), as scikit-learn's are.
"""

__all__ = [
    "CacheWarning",
    "ConfoundingWarning",
    "CurationWarning",
    "DeviceWarning",
    "ExchangeabilityWarning",
    "ImageLevelWarning",
    "LungsNotFoundWarning",
    "NeverPredictedWarning",
    "NotCertifiableWarning",
    "OutOfDistributionWarning",
    "TrunkPassWarning",
    "UnreadableImageWarning",
]


class NeverPredictedWarning(UserWarning):
    """A fitted model never predicts one of its classes.

    Accuracy and macro F1 do not always show this. The combined models of the paper failed in this
    way (section VI B). The message therefore names the missing classes.
    """


class TrunkPassWarning(UserWarning):
    """The trunk computes the same images more than once.

    The message names the parameter that avoids this.
    """


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
    """Rules of curation exclude a larger share of one class or source than of others."""


class ImageLevelWarning(UserWarning):
    """Patients are unknown, so that intervals count every image as a patient."""


class LungsNotFoundWarning(UserWarning):
    """No lungs were found in some images, which are not cropped."""


class NotCertifiableWarning(UserWarning):
    """The calibration patients cannot certify the risk, so that all images are referred."""


class ExchangeabilityWarning(UserWarning):
    """Images are unlike the calibration images, so that a guarantee does not hold for them."""
