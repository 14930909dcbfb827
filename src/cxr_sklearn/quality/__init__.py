"""Check and clean a data set before a model is trained on it."""

from ._audit import Audit, audit
from ._curate import Curation, curate
from ._curation_rules import CurationRules
from ._finding import Finding
from ._measure import measure_images
from ._measurements import ImageMeasurements
from ._source_association import SourceAssociation

__all__ = [
    "Audit",
    "Curation",
    "CurationRules",
    "Finding",
    "ImageMeasurements",
    "SourceAssociation",
    "audit",
    "curate",
    "measure_images",
]
