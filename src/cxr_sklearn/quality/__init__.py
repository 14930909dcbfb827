"""Whether a data set is fit to learn from: audit it, and curate it."""

from ._audit import audit
from ._audit_result import Audit
from ._curate import Curation, curate
from ._curation_rules import CurationRules
from ._finding import Finding
from ._source_association import SourceAssociation

__all__ = [
    "Audit",
    "Curation",
    "CurationRules",
    "Finding",
    "SourceAssociation",
    "audit",
    "curate",
]
