"""A pipeline step that warns if source and class were associated in the training set."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_is_fitted

from .._utils.doc_link import DocLinkMixin
from .._utils.fit_tasks import CallbackSupportMixin, reported
from .._utils.messages import some
from ..exceptions import ConfoundingWarning
from ..metrics._association import cramers_v
from ._sources import remedy_for_sources

# Significance level, the same as in the audit.
_ALPHA = 0.01

# With two sources of equal size, all of 10 patients come from one source by chance in 2 of 2**10
# cases.
_MIN_PATIENTS = 10
_CONSEQUENCE = (
    "so the model may recognise the source instead of the disease, and be wrong about images of "
    "other sources"
)
_N_NAMED = 5


class SourceAssociation(
    DocLinkMixin, CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Warn if source and class of the training images were associated.

    A network that recognises the source of an image can then predict the class. Its predictions for
    images of other sources may be wrong, even if its scores on the same sources are good. As a step
    of a pipeline, this transformer returns its input unchanged. It warns in ``fit``, and again
    whenever the fitted pipeline predicts.

    Attributes
    ----------
    cramers_v_ : float
        Cramér's V of source and class over the images whose source is known, 0 to 1. NaN if fewer
        than two sources are known.
    p_value_ : float
        P-value of `cramers_v_`, 0 to 1, from a permutation test in which patients are permuted. 1
        if `cramers_v_` is NaN.
    single_source_classes_ : dict of str to str
        The classes with images of one source only, and this source, if the data have several
        sources. Classes of fewer than 10 patients are included only if `p_value_` is at most 0.01,
        because few patients may come from one source by chance.
    unknown_cramers_v_ : float
        Cramér's V of two properties of an image, 0 to 1: its class, and whether its source is
        known. NaN if the source is known for all images or for none.
    unknown_p_value_ : float
        P-value of `unknown_cramers_v_`, 0 to 1, from the same test. 1 if `unknown_cramers_v_` is
        NaN.
    message_ : str
        Text of the warning; empty if `p_value_` and `unknown_p_value_` are above 0.01, and
        `single_source_classes_` is empty.
    n_features_in_ : int
        Number of columns of X in ``fit``.

    See Also
    --------
    audit : Further properties of a data set that a network can use instead of disease.
    cxr_sklearn.model_selection.LeaveOneSourceOut : Test on one source at a time.

    Examples
    --------
    >>> import warnings
    >>> from cxr_sklearn.quality import SourceAssociation
    >>> paths = [[f"{i}.png"] for i in range(40)]
    >>> y = ["Normal"] * 20 + ["COVID-19"] * 20
    >>> sources = ["hospital-a"] * 20 + ["hospital-b"] * 20
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     step = SourceAssociation().fit(paths, y, sources=sources)
    >>> step.cramers_v_
    1.0
    >>> step.single_source_classes_
    {'COVID-19': 'hospital-b', 'Normal': 'hospital-a'}

    In a pipeline, pass the sources and the patients to this step:

    >>> from sklearn.pipeline import Pipeline
    >>> from cxr_sklearn import ResNetOvO, XRayLoader
    >>> model = Pipeline(
    ...     [("loader", XRayLoader()), ("sources", SourceAssociation()), ("model", ResNetOvO())]
    ... )
    >>> # model.fit(bunch.data, bunch.target, sources__sources=bunch.sources,
    >>> #           sources__groups=bunch.groups, model__groups=bunch.groups)
    """

    @reported
    def fit(self, X: Any, y: Any = None, sources: Any = None, groups: Any = None) -> Any:
        """Compute the association of source and class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images in any form; only the number and the names of the columns are used.
        y : array-like of shape (n_samples,), default=None
            Class of each image. Without it, or without `sources`, nothing is computed.
        sources : array-like of shape (n_samples,) of str, default=None
            Source of each image; ``""`` where it is unknown.
        groups : array-like of shape (n_samples,), default=None
            Patient of each image. By default each image counts as a patient.

        Returns
        -------
        self : SourceAssociation

        Raises
        ------
        ValueError
            If `y`, `sources` and `groups` differ in length.

        Warns
        -----
        ConfoundingWarning
            If `message_` is not empty.
        """
        _check_feature_names(self, X, reset=True)
        _check_n_features(self, X, reset=True)
        self._fit(y, sources, groups)
        self._warn(stacklevel=3)
        return self

    def fit_transform(self, X: Any, y: Any = None, sources: Any = None, groups: Any = None) -> Any:
        """Compute the association, warn of it once, and return X unchanged.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Returned unchanged.
        y, sources, groups : array-like of shape (n_samples,), default=None
            As in ``fit``.

        Returns
        -------
        X : array-like
            The argument itself.
        """
        self.fit(X, y, sources=sources, groups=groups)
        return X

    def transform(self, X: Any) -> Any:
        """Return X unchanged, and repeat the warning of ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Returned as it is.

        Returns
        -------
        X : array-like
            The argument itself.

        Raises
        ------
        ValueError
            If X has other columns than in ``fit``.

        Warns
        -----
        ConfoundingWarning
            If `message_` is not empty.
        """
        check_is_fitted(self, "message_")
        _check_feature_names(self, X, reset=False)
        _check_n_features(self, X, reset=False)
        self._warn(stacklevel=3)
        return X

    def _warn(self, stacklevel: int) -> None:
        if self.message_:
            warnings.warn(self.message_, ConfoundingWarning, stacklevel=stacklevel)

    def _fit(self, y: Any, sources: Any, groups: Any) -> None:
        self.cramers_v_, self.p_value_, self.message_ = float("nan"), 1.0, ""
        self.single_source_classes_: dict[str, str] = {}
        self.unknown_cramers_v_, self.unknown_p_value_ = float("nan"), 1.0
        if y is None or sources is None:
            return
        lengths = {"y": len(y), "sources": len(sources)}
        if groups is not None:
            lengths["groups"] = len(groups)
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(
                f"y, sources and groups differ in length ({found}); expected one value per image. "
                "Pass the same rows of all three."
            )
        of = pd.Series(np.asarray(sources, dtype=object)).fillna("").to_numpy(dtype=str)
        labels = np.asarray(y).astype(str)
        patients = np.arange(len(of)) if groups is None else np.asarray(groups)
        known = of != ""
        self.unknown_cramers_v_, self.unknown_p_value_ = cramers_v(known, labels, patients)
        if known.any():
            self.cramers_v_, self.p_value_ = cramers_v(of[known], labels[known], patients[known])
            self.single_source_classes_ = single_source_classes(
                labels[known], of[known], patients[known], self.p_value_
            )
        texts = self._texts(labels, of)
        # A warning begins with a small letter, and each further sentence with a capital letter.
        self.message_ = " ".join([*texts[:1], *(text[0].upper() + text[1:] for text in texts[1:])])

    def _texts(self, labels: np.ndarray, sources: np.ndarray) -> list[str]:
        """Return a warning with its remedy for each association."""
        single = list(self.single_source_classes_.items())
        named = some([f"{label} from {source}" for label, source in single])
        more_images = "Add images of these classes from other sources."
        texts = []
        if self.p_value_ <= _ALPHA:
            figures = _figures(self.cramers_v_, self.p_value_)
            figures += f"; classes of one source: {named}" if single else ""
            remedy = more_images if single else remedy_for_sources(labels, sources)
            texts.append(
                f"source and class are associated in the training set ({figures}), {_CONSEQUENCE}. "
                f"{remedy}"
            )
        elif single:
            texts.append(
                f"classes of one source in the training set: {named}, {_CONSEQUENCE}. {more_images}"
            )
        if self.unknown_p_value_ <= _ALPHA:
            figures = _figures(self.unknown_cramers_v_, self.unknown_p_value_)
            texts.append(
                f"source known or unknown and class are associated in the training set ({figures}; "
                f"unknown: {unknown_shares(labels, sources)}), {_CONSEQUENCE}. Give the source of "
                "every image."
            )
        return texts

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.string = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags


def _figures(v: float, p: float) -> str:
    return f"Cramér's V {v:.2f}, p {p:.3f}"


def unknown_shares(y: np.ndarray, sources: np.ndarray) -> str:
    """Return the largest shares of images without a source by class, as text."""
    shares = pd.Series(sources == "").groupby(y).mean().sort_values(ascending=False)
    return ", ".join(f"{label} {share:.0%}" for label, share in shares.iloc[:_N_NAMED].items())


def single_source_classes(
    y: np.ndarray, sources: np.ndarray, groups: np.ndarray, p: float
) -> dict[str, str]:
    """Return the classes with images of one source only, and this source.

    Parameters
    ----------
    y, sources : ndarray of shape (n,), of str
        Class and source of each image, both known.
    groups : ndarray of shape (n,)
        Patient of each image.
    p : float
        P-value of the association of source and class. If it is above 0.01, classes of fewer than
        10 patients are left out, because they may come from one source by chance.

    Returns
    -------
    dict of str to str
        Empty if there is one source only.
    """
    table = pd.crosstab(y, sources)
    if table.shape[1] < 2:
        return {}
    n_patients = pd.Series(groups).groupby(y).nunique()
    single = {}
    for label, row in table.iterrows():
        has_one_source = (row > 0).sum() == 1
        is_by_chance = p > _ALPHA and n_patients[label] < _MIN_PATIENTS
        if has_one_source and not is_by_chance:
            single[str(label)] = str(row.idxmax())
    return single
