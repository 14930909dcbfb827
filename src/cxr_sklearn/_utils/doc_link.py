"""Link to the documentation in the HTML representation of an estimator."""

from __future__ import annotations

_API_PAGE = (
    "https://cxr-sklearn.github.io/cxr_sklearn/generated/{estimator_module}.{estimator_name}.html"
)


class DocLinkMixin:
    """Mixin that makes scikit-learn link to this package's documentation.

    It must be in front of :class:`sklearn.base.BaseEstimator` in the list of base classes.
    """

    _doc_link_module = "cxr_sklearn"
    _doc_link_template = _API_PAGE
