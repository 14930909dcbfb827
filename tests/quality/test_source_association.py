"""A fitted pipeline knows whether source and class of its training images went together."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import check_estimator

from cxr_sklearn.exceptions import ConfoundingWarning
from cxr_sklearn.model_selection import LeaveOneSourceOut
from cxr_sklearn.quality import SourceAssociation

Y = np.repeat(["COVID-19", "Normal"], 30)
X = np.arange(60.0)[:, None]
# each class from a source of its own, and both classes from both sources
APART = np.repeat(["a", "b"], 30)
MIXED = np.tile(["a", "b"], 30)


def silent(function, *args, **options):
    """Return the result of a call that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*args, **options)


def test_associated_sources_warn_in_fit_and_in_transform():
    """One line states Cramér's V, the classes of one source, and a remedy."""
    expected = (
        r"source and class are associated in the training set \(Cramér's V 1.00, p 0.001; classes "
        r"of one source: COVID-19 from a, Normal from b\), so the model may .*\. Add images of "
        r"these"
    )
    step = SourceAssociation()
    with pytest.warns(ConfoundingWarning, match=expected) as caught:
        step.fit(X, Y, sources=APART)
    assert len(caught) == 1
    assert "\n" not in step.message_
    with pytest.warns(ConfoundingWarning, match=expected):
        assert step.transform(X) is X
    with pytest.warns(ConfoundingWarning) as caught:
        assert SourceAssociation().fit_transform(X, Y, sources=APART) is X
    assert len(caught) == 1


def test_sources_that_differ_in_share_warn_too():
    """No class has a single source; testing on one source at a time is then possible."""
    sources = APART.copy()
    sources[:5], sources[30:35] = "b", "a"
    with pytest.warns(ConfoundingWarning, match=r"p 0.001\), so .*\. Test with LeaveOneSourceOut"):
        step = SourceAssociation().fit(X, Y, sources=sources)
    assert step.cramers_v_ == pytest.approx(2 / 3, abs=0.01)
    assert step.single_source_classes_ == {}


@pytest.mark.parametrize("sources", [MIXED, None, ["a"] * 60, [""] * 60, ["a"] + [""] * 59])
def test_independent_or_unknown_sources_do_not_warn(sources):
    """Nothing is reported, and a fitted step lets images pass."""
    step = silent(SourceAssociation().fit, X, Y, sources=sources)
    assert step.message_ == ""
    assert silent(step.transform, X) is X
    assert np.isnan(step.cramers_v_) or step.cramers_v_ < 0.1


def test_images_of_unknown_source_do_not_count():
    """The association is that of the images whose source is known."""
    sources = np.where(np.arange(60) % 3 == 0, "", APART)
    with pytest.warns(ConfoundingWarning):
        step = SourceAssociation().fit(X, Y, sources=sources)
    assert step.cramers_v_ == pytest.approx(1)


@pytest.mark.parametrize("source", [APART[0], ""])
def test_unknown_sources_of_one_class_warn(source):
    """Sources that are known for one class only divide the classes as two sources do."""
    sources = np.where(Y == "Normal", "b", source)
    sources[:3] = "b"
    sources[3:6] = "c"
    sources[30:33] = "c"
    with pytest.warns(ConfoundingWarning) as caught:
        step = SourceAssociation().fit(X, Y, sources=sources)
    is_unknown = source == ""
    text = str(caught[0].message)
    assert ("source known or unknown and class are associated" in text) is is_unknown
    assert (step.unknown_p_value_ < 0.01) is is_unknown
    if is_unknown:
        assert "unknown: COVID-19 80%, Normal 0%" in text
        assert text.endswith("Give the source of every image.")


@pytest.mark.parametrize("n_patients", [9, 10])
def test_a_class_of_one_source_by_chance_does_not_warn(n_patients):
    """Fewer than 10 patients may come from one source, although source and class go apart."""
    y = np.repeat(["COVID-19", "Normal"], [n_patients, 60])
    sources = np.where(np.arange(len(y)) % 10 < 9, "a", "b")
    sources[:n_patients] = "a"
    step = SourceAssociation()
    if n_patients < 10:
        silent(step.fit, y[:, None], y, sources=sources)
        assert step.single_source_classes_ == {}
        return
    with pytest.warns(ConfoundingWarning) as caught:
        step.fit(y[:, None], y, sources=sources)
    assert step.p_value_ > 0.01
    assert str(caught[0].message).startswith("classes of one source in the training set: COVID-19")
    assert "associated" not in str(caught[0].message)


def test_leave_one_source_out_is_advised_only_where_it_does_not_raise():
    """It refuses images of unknown source, and a class of one source."""
    sources = APART.copy()
    sources[:5], sources[30:35], sources[5:8], sources[35:38] = "b", "a", "", ""
    with pytest.warns(ConfoundingWarning):
        step = SourceAssociation().fit(X, Y, sources=sources)
    expected = "Test with LeaveOneSourceOut on the images whose source is known, or balance"
    assert expected in step.message_
    with pytest.raises(ValueError, match="is not known"):
        LeaveOneSourceOut().split(X, Y, sources)
    known = sources != ""
    assert len(list(LeaveOneSourceOut().split(X[known], Y[known], sources[known]))) == 2


def test_patients_are_what_is_permuted():
    """Two patients with many images are no evidence of an association."""
    sources = APART.copy()
    sources[0], sources[30] = "b", "a"  # no class has one source
    groups = np.repeat(["p", "q"], 30)
    step = silent(SourceAssociation().fit, X, Y, sources=sources, groups=groups)
    assert step.cramers_v_ > 0.9
    assert step.p_value_ > 0.01


def test_a_fitted_pipeline_repeats_the_warning():
    """Also after it was saved and loaded; a clone must be fitted again."""
    pipeline = Pipeline([("sources", SourceAssociation()), ("model", KNeighborsClassifier(1))])
    with pytest.warns(ConfoundingWarning):
        pipeline.fit(X, Y, sources__sources=APART, sources__groups=np.arange(60))
    loaded = pickle.loads(pickle.dumps(pipeline))
    with pytest.warns(ConfoundingWarning, match="Cramér's V 1.00"):
        np.testing.assert_array_equal(loaded.predict(X), Y)
    with pytest.raises(NotFittedError):
        clone(pipeline.named_steps["sources"]).transform(X)


def test_names_of_columns_are_kept():
    """A pipeline of transformers can return data frames."""
    frame = pd.DataFrame(X, columns=["path"])
    step = SourceAssociation().set_output(transform="pandas")
    assert step.fit(frame, Y, sources=MIXED).transform(frame).columns.tolist() == ["path"]
    assert step.n_features_in_ == 1


def test_lengths_must_agree():
    """A message names each length."""
    with pytest.raises(ValueError, match=r"differ in length \(y 60, sources 2, groups 3\)"):
        SourceAssociation().fit(X, Y, sources=["a", "b"], groups=[1, 2, 3])


def test_it_passes_the_checks_of_scikit_learn():
    """None is declared to fail."""
    check_estimator(SourceAssociation(), on_skip=None)
