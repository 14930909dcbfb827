"""ReferralClassifier refers images, and certifies the others."""

from __future__ import annotations

import pickle
import re
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cxr_sklearn import ResNetClassifier, ResNetOvO, XRayLoader
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import (
    ExchangeabilityWarning,
    ImageLevelWarning,
    NotCertifiableWarning,
)
from cxr_sklearn.referral import ReferralClassifier

from ..toys import toy, write_images
from .studies import labelled_numbers

not_certified = pytest.mark.filterwarnings(
    "ignore::cxr_sklearn.exceptions.NotCertifiableWarning",
    "ignore::cxr_sklearn.exceptions.NeverPredictedWarning",
)
TOY = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 10}


def rule(**options):
    settings = {"max_risk": 0.1, "random_state": 0} | options
    return ReferralClassifier(LogisticRegression(), **settings)


def fit_quietly(model, X, y, patients):
    """Fit a rule that may not be certified."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotCertifiableWarning)
        return model.fit(X, y, groups=patients)


def expected_failures(model):
    """Name the checks that a division by patient cannot satisfy."""
    reason = "a row of weight 2 is one image, and two rows of weight 1 are two"
    return {
        "check_sample_weight_equivalence_on_dense_data": reason,
        "check_sample_weight_equivalence_on_sparse_data": reason,
    }


@pytest.fixture(scope="module")
def numbers():
    """Return X, y and patients with 1 to 4 images."""
    return labelled_numbers(1500, 0, most_images=4)


@pytest.fixture(scope="module")
def fitted(numbers):
    """Return a fitted rule."""
    X, y, patients = numbers
    return rule().fit(X, y, groups=patients)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.ImageLevelWarning")
@not_certified
@parametrize_with_checks(
    [rule(), ReferralClassifier(ResNetOvO(**TOY))],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks_pass(estimator, check):
    """Every other conformance check passes."""
    check(estimator)


# -- the rule -------------------------------------------------------------------------------------


def test_decisions_are_classes_or_refer(fitted):
    X = np.linspace(-3, 3, 200)[:, None]
    decisions = fitted.decide(X[:19])
    assert decisions.dtype == object
    is_referred = fitted.refers(X)
    decided = np.concatenate([fitted.decide(part) for part in np.array_split(X, 20)])
    assert ((decided == "refer") == is_referred).all()
    assert (decided[~is_referred] == fitted.predict(X)[~is_referred]).all()
    # The label is uncertain in the middle.
    assert is_referred[100]
    assert not is_referred[[0, -1]].any()
    assert (is_referred == (fitted.confidence_scores(X) < fitted.threshold_)).all()


def test_the_certificate_states_its_numbers(fitted, numbers):
    certificate = fitted.certificate_
    assert certificate.is_certified
    assert certificate.test == "betting"
    assert certificate.threshold == fitted.threshold_
    row = certificate.risks.iloc[0]
    assert row["observed"] < row["bound"] == 0.1
    assert row["p_value"] <= 0.05
    assert row["errors"] < row["accepted"]
    assert row["accepted_patients"] <= certificate.n_patients
    n_calibration = len(np.unique(numbers[2][fitted.calibration_indices_]))
    assert certificate.n_patients + certificate.n_learning_patients == n_calibration == 450
    assert certificate.patients_needed is None
    assert "Certified with 95% confidence" in str(certificate)


def test_other_patients_keep_the_promise(fitted):
    X, y, _ = labelled_numbers(20_000, 1)
    is_referred = fitted.refers(X)
    assert (fitted.predict(X) != y)[~is_referred].mean() <= 0.1
    rate = fitted.referral_rate_
    assert rate.low <= rate.value <= rate.high
    assert rate.low - 0.02 <= is_referred.mean() <= rate.high + 0.02


def test_calibration_patients_were_not_fitted_on(numbers):
    """No patient is divided, and the classifier has not seen the calibration images."""
    X, y, patients = numbers
    seen = []

    class Spy(LogisticRegression):
        def fit(self, X, y):
            seen.append(X)
            return super().fit(X, y)

    model = ReferralClassifier(Spy(), max_risk=0.1, random_state=0).fit(X, y, groups=patients)
    calibration = model.calibration_indices_
    training = np.setdiff1d(np.arange(len(X)), calibration)
    assert not set(patients[training]) & set(patients[calibration])
    np.testing.assert_array_equal(seen[-1], X[training])


def test_single_images_use_the_exact_test():
    X, y, patients = labelled_numbers(1500, 0)
    assert rule().fit(X, y, groups=patients).certificate_.test == "exact binomial"


def test_a_frozen_model_stays_as_it_is(numbers):
    X, y, patients = numbers
    frozen = LogisticRegression().fit(X[:300], y[:300])
    coefficients = frozen.coef_.copy()
    model = ReferralClassifier(FrozenEstimator(frozen), max_risk=0.1, random_state=0)
    model.fit(X[300:], y[300:], groups=patients[300:])
    np.testing.assert_array_equal(frozen.coef_, coefficients)
    assert len(model.calibration_indices_) == len(X) - 300
    np.testing.assert_array_equal(model.predict_proba(X), frozen.predict_proba(X))


def test_several_risks_hold_together(numbers):
    X, y, patients = numbers
    risk = {"ill": {"missed": 0.1, "false": 0.12}, "well": {"false": 0.15}}
    model = rule(risk=risk).fit(X, y, groups=patients)
    risks = model.certificate_.risks.set_index("risk")
    assert risks.index.tolist() == ["missed ill", "false ill", "false well"]
    assert risks["bound"].tolist() == [0.1, 0.12, 0.15]
    assert (risks["p_value"] <= 0.05).all()
    X, y, _ = labelled_numbers(20_000, 1)
    accepted = ~model.refers(X)
    predicted = model.predict(X)
    assert (predicted != y)[accepted & (y == "ill")].mean() <= 0.1
    assert (predicted != y)[accepted & (predicted == "ill")].mean() <= 0.12


def test_the_same_seed_gives_the_same_rule(numbers):
    X, y, patients = numbers
    models = [rule(random_state=seed).fit(X, y, groups=patients) for seed in (3, 3, 4)]
    assert models[0].threshold_ == models[1].threshold_ != models[2].threshold_


def test_order_of_the_images_of_patients_does_not_divide_them(numbers):
    """Patients need not follow each other in X."""
    X, y, patients = numbers
    order = np.random.default_rng(0).permutation(len(X))
    model = rule().fit(X[order], y[order], groups=patients[order])
    assert model.certificate_.is_certified
    calibration = model.calibration_indices_
    assert len(np.unique(patients[order][calibration])) == 450


# -- no certificate -------------------------------------------------------------------------------


def test_without_a_certificate_everything_is_referred():
    X, y, patients = labelled_numbers(300, 0, steepness=12)
    with pytest.warns(NotCertifiableWarning, match="refers all images: the risk 'error'") as caught:
        model = rule(max_risk=0.04).fit(X, y, groups=patients)
    assert re.search("calibration patients|no number of patients", str(caught[0].message))
    assert "\n" not in str(caught[0].message)
    assert model.threshold_ == np.inf
    assert model.refers(X).all()
    assert (model.decide(X[:10]) == "refer").all()
    assert model.referral_rate_.value == 1
    assert not model.certificate_.is_certified
    assert "Not certified" in str(model.certificate_)
    table = model.clinic_table()
    assert table.loc["to CT", "patients"] == 100
    assert table.loc["errors that remain", "patients"] == 0


def test_the_number_of_patients_that_would_suffice_suffices():
    """With the number in the warning, most fits are certified."""
    X, y, patients = labelled_numbers(200, 3, steepness=12)
    with pytest.warns(NotCertifiableWarning):
        model = rule(max_risk=0.05, delta=0.01).fit(X, y, groups=patients)
    needed = model.certificate_.patients_needed
    certified = []
    for seed in range(20):
        X, y, patients = labelled_numbers(needed, 100 + seed, steepness=12)
        frozen = ReferralClassifier(
            FrozenEstimator(model.estimator_), max_risk=0.05, delta=0.01, random_state=seed
        )
        certified.append(fit_quietly(frozen, X, y, patients).certificate_.is_certified)
    assert np.mean(certified) >= 0.5


def test_no_number_of_patients_helps_a_model_that_guesses():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 1)), rng.choice(["ill", "well"], 400)
    with pytest.warns(NotCertifiableWarning, match="no number of patients suffices"):
        model = rule().fit(X, y, groups=np.arange(400))
    assert model.certificate_.patients_needed is None


def test_59_patients_without_an_error_suffice_and_58_do_not():
    """The least number for a risk of 5 % at the level 5 %, with a perfect model."""
    X = np.repeat([-5.0, 5.0], 200)[:, None]
    y = np.where(X[:, 0] > 0, "ill", "well")
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    for n_testing, is_certified in ((59, True), (58, False)):
        # A fifth of the patients chooses the sequence.
        n = next(n for n in range(60, 90) if n - round(0.2 * n) == n_testing)
        rows = np.r_[0 : n // 2, 200 : 200 + n - n // 2]
        model = ReferralClassifier(frozen, max_risk=0.05, random_state=0)
        fit_quietly(model, X[rows], y[rows], np.arange(n))
        assert model.certificate_.is_certified is is_certified


def test_the_prediction_is_that_of_the_classifier(numbers):
    """A tuned threshold between the classes is kept, and its errors are the certified ones."""
    X, y, patients = numbers
    inner = FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label="ill")
    model = ReferralClassifier(inner, max_risk=0.2, random_state=0).fit(X, y, groups=patients)
    np.testing.assert_array_equal(model.predict(X), model.estimator_.predict(X))
    assert (model.predict(X) != model.estimator_.estimator_.predict(X)).any()


def test_classes_in_another_order_are_understood(numbers):
    X, y, patients = numbers

    class Reversed(LogisticRegression):
        def fit(self, X, y):
            super().fit(X, y)
            self.inner_classes_, self.classes_ = self.classes_, self.classes_[::-1]
            return self

        def predict_proba(self, X):
            return super().predict_proba(X)[:, ::-1]

        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmax(axis=1)]

    model = ReferralClassifier(Reversed(), max_risk=0.1, random_state=0)
    model.fit(X, y, groups=patients)
    assert model.certificate_.is_certified
    assert model.threshold_ == rule().fit(X, y, groups=patients).threshold_


def test_images_without_a_probability_are_referred(numbers):
    X, y, patients = numbers

    class Uncertain(LogisticRegression):
        broken = False

        def predict_proba(self, X):
            proba = super().predict_proba(X)
            return np.where(self.broken, np.nan, proba)

    model = ReferralClassifier(Uncertain(), max_risk=0.1, random_state=0)
    model.fit(X, y, groups=patients)
    model.estimator_.broken = True
    assert model.refers(X).all()
    assert (model.decide(X[:5]) == "refer").all()
    assert model.predict_set(X).all()
    frozen = FrozenEstimator(model.estimator_)
    with pytest.raises(ValueError, match=r"returned \[nan, nan\] for a calibration image"):
        ReferralClassifier(frozen).fit(X, y, groups=patients)


def test_tables_with_text_and_texts_are_accepted(numbers):
    """Only the comparison with new rows needs numbers."""
    X, y, patients = numbers
    frame = pd.DataFrame({"x": X[:, 0], "sex": np.where(patients % 2, "f", "m")})
    encoder = make_column_transformer((OneHotEncoder(), ["sex"]), remainder="passthrough")
    estimator = make_pipeline(encoder, LogisticRegression())
    model = ReferralClassifier(estimator, max_risk=0.1, random_state=0)
    model.fit(frame, y, groups=patients)
    assert model.check_exchangeability(frame.iloc[:100]).p_value > 0.001
    texts = np.where(y == "ill", "opacity in the left lung", "no finding").astype(object)
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model = ReferralClassifier(estimator, random_state=0).fit(texts, y, groups=patients)
    assert len(model.decide(texts[:50])) == 50
    with pytest.raises(ValueError, match="neither images nor columns of numbers"):
        model.check_exchangeability(texts[:50])


def test_a_loaded_rule_warns_again(fitted, numbers):
    X = numbers[0] + 2
    model = pickle.loads(pickle.dumps(fitted))
    for _ in range(2):
        with pytest.warns(ExchangeabilityWarning):
            model.decide(X)
        model = pickle.loads(pickle.dumps(model))


def test_the_number_for_a_scarce_class_counts_its_patients():
    """The patients of the class count, and not all patients."""
    X, y, patients = labelled_numbers(400, 0, steepness=12)
    y = np.where(patients < 12, "rare", y)
    risk = {"rare": {"missed": 0.2}}
    with pytest.warns(NotCertifiableWarning, match="at least ([0-9]+) calibration") as caught:
        rule(risk=risk, calibration_size=0.5).fit(X, y, groups=patients)
    least = int(re.search(r"at least (\d+)", str(caught[0].message))[1])
    assert least > 200


def test_the_warning_for_few_patients_states_the_least_number():
    X, y, patients = labelled_numbers(40, 0, steepness=12)
    with pytest.warns(NotCertifiableWarning, match="at least 74 calibration patients are needed"):
        rule(max_risk=0.05).fit(X, y, groups=patients)


# -- arguments ------------------------------------------------------------------------------------


def test_missing_patients_are_warned_of(numbers):
    X, y, _ = numbers
    with pytest.warns(ImageLevelWarning, match="groups is missing"):
        rule().fit(X, y)


def test_images_as_units_need_no_patients(numbers):
    X, y, _ = numbers
    model = rule(unit="image").fit(X, y)
    assert model.certificate_.unit == "image"
    assert model.certificate_.test == "exact binomial"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": "certainty"}, "confidence='certainty' is invalid; expected one of"),
        ({"risk": {"sick": {"missed": 0.1}}}, "risk has the key 'sick', which is not a class"),
        ({"risk": {"ill": {"lost": 0.1}}}, r"risk\['ill'\] has the key 'lost'; expected 'missed'"),
        ({"risk": {"ill": {"missed": 2}}}, r"risk\['ill'\]\['missed'\]=2 is invalid"),
        ({"risk": {"ill": 0.1}}, r"risk\['ill'\]=0.1 is invalid; expected a dict"),
        ({"risk": {}}, "risk={} is invalid; expected 'error', or a dict"),
        ({"max_risk": 0.0}, "'max_risk' parameter"),
        ({"confidence": "pair_agreement"}, "confidence='pair_agreement' needs three classes"),
        ({"confidence": lambda model, X: X[:5, 0]}, "returned 5 values for"),
        ({"confidence": lambda model, X: X[:, 0] * np.nan}, "returned nan for row 0"),
    ],
)
def test_invalid_parameters_are_named(options, message, numbers):
    X, y, patients = numbers
    with pytest.raises(ValueError, match=message):
        rule(**options).fit(X, y, groups=patients)


def test_invalid_arguments_are_named(numbers):
    X, y, patients = numbers
    with pytest.raises(ValueError, match="y contains one class"):
        rule().fit(X, np.full(len(y), "ill"), groups=patients)
    with pytest.raises(ValueError, match="groups has 3 values for"):
        rule().fit(X, y, groups=patients[:3])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        rule().fit(X[:-1], y, groups=patients)
    with pytest.raises(ValueError, match="a class has the name 'refer'"):
        rule().fit(X, np.where(y == "ill", "refer", y), groups=patients)
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    with pytest.raises(ValueError, match="'other' is not a class of the fitted estimator"):
        ReferralClassifier(frozen).fit(X, np.where(y == "ill", "other", y), groups=patients)
    with pytest.raises(ValueError, match="leaves no image of a class to fit"):
        rule().fit(X, np.where(patients == 0, "rare", y), groups=np.where(patients == 0, 0, 1))


def test_methods_need_a_fit():
    for method in (
        "predict",
        "predict_proba",
        "decide",
        "refers",
        "predict_set",
        "confidence_scores",
    ):
        with pytest.raises(NotFittedError):
            getattr(rule(), method)([[0.0]])
    with pytest.raises(NotFittedError):
        rule().clinic_table()


def test_labels_may_be_numbers():
    X, y, patients = labelled_numbers(1500, 0)
    model = rule().fit(X, (y == "ill").astype(int), groups=patients)
    assert set(model.decide([[-3.0], [0.0], [3.0]])) == {0, 1, "refer"}


# -- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", ["max_probability", "margin", "entropy"])
def test_scores_rank_two_classes_alike(confidence, numbers):
    X, y, patients = numbers
    model = rule(confidence=confidence).fit(X, y, groups=patients)
    reference = rule().fit(X, y, groups=patients)
    some = np.linspace(-3, 3, 101)[:, None]
    same_order = np.argsort(model.confidence_scores(some)) == np.argsort(
        reference.confidence_scores(some)
    )
    assert same_order.mean() > 0.9
    assert (model.refers(some) == reference.refers(some)).mean() > 0.95


def test_a_function_may_be_the_score(numbers):
    X, y, patients = numbers

    def distance(model, X):
        return np.abs(model.decision_function(X))

    model = rule(confidence=distance).fit(X, y, groups=patients)
    np.testing.assert_allclose(
        model.confidence_scores([[2.0]]), distance(model.estimator_, [[2.0]])
    )
    assert model.certificate_.is_certified


@not_certified
@pytest.mark.parametrize("wrapped", [False, True])
def test_pairs_that_contradict_each_other_are_referred(wrapped, phantoms):
    """The residual of the coupling is a score, also inside a pipeline."""
    X, y = phantoms
    inner = ResNetOvO(**TOY)
    estimator = make_pipeline(StandardScaler(), inner) if wrapped else inner
    if wrapped:
        X = X.astype(np.float32)
    model = ReferralClassifier(estimator, confidence="pair_agreement", unit="image", random_state=0)
    model.fit(X, y)
    scores = model.confidence_scores(X)
    assert (scores <= 1e-12).all()
    assert np.ptp(scores) > 0


@not_certified
def test_other_models_have_no_residual(phantoms):
    X, y = phantoms
    model = ReferralClassifier(
        ResNetClassifier(**TOY), confidence="pair_agreement", unit="image", random_state=0
    )
    with pytest.raises(ValueError, match="needs a ResNetOvO, and the estimator is a ResNetClas"):
        model.fit(X, y)


@not_certified
def test_two_classes_have_no_residual(phantoms):
    X, y = phantoms
    two = y != "Normal"
    model = ReferralClassifier(ResNetOvO(**TOY), confidence="pair_agreement", unit="image")
    with pytest.raises(ValueError, match="needs three classes"):
        model.fit(X[two], y[two])


# -- sets, comparison, tables ---------------------------------------------------------------------


def test_sets_contain_the_class(fitted):
    X, y, _ = labelled_numbers(20_000, 1)
    sets = fitted.predict_set(X)
    assert sets.shape == (len(X), 2)
    assert sets.dtype == bool
    for code, label in enumerate(fitted.classes_):
        assert 0.86 < sets[y == label, code].mean() < 0.95


def test_images_of_another_place_are_warned_of_once(numbers):
    X, y, patients = numbers
    model = rule().fit(X, y, groups=patients)
    X_new, _, _ = labelled_numbers(200, 5)
    assert model.check_exchangeability(X_new).p_value > 0.01
    model.decide(X_new)  # no warning: it would be an error here
    with pytest.warns(ExchangeabilityWarning, match="unlike the calibration images") as caught:
        model.decide(X_new + 2)
    assert "feature 1" in str(caught[0].message)
    model.decide(X_new + 2)
    assert model.check_exchangeability(X_new + 2, n_permutations=99).p_value == 0.01
    with pytest.raises(ValueError, match="expected images of 2 patients or more"):
        model.check_exchangeability(X_new[:1])


def test_few_images_are_not_compared(fitted):
    fitted.decide(np.full((19, 1), 10.0))
    fitted.decide(np.full((40, 1), 10.0), groups=np.arange(40) // 4)
    with pytest.raises(ValueError, match="groups has 2 values for 40 images"):
        fitted.decide(np.full((40, 1), 10.0), groups=["a", "b"])


@pytest.mark.parametrize("n", [0, -1, "a"])
def test_numbers_of_patients_and_permutations_are_checked(n, fitted):
    with pytest.raises((ValueError, TypeError), match="per"):
        fitted.clinic_table(per=n)
    with pytest.raises((ValueError, TypeError), match="n_permutations"):
        fitted.check_exchangeability(np.zeros((30, 1)), n_permutations=n)


@not_certified
@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
def test_brighter_radiographs_are_found(trainable):
    """The statistics of pixels name what changed, at every cut."""
    X, y = make_chest_phantoms(120, image_size=16, random_state=0)
    model = ReferralClassifier(
        ResNetClassifier(**{**TOY, "trainable": trainable, "max_epochs": 2}),
        unit="image",
        random_state=0,
    ).fit(X[:80], y[:80])
    assert model.check_exchangeability(X[80:]).p_value > 0.01
    brighter = (X[80:].astype(int) + 60).clip(0, 255).astype(np.uint8)
    found = model.check_exchangeability(brighter)
    assert found.p_value == 0.001
    assert {"brightness", "border"} & {name for name, _ in found.differences}


@not_certified
def test_files_are_compared_too(tmp_path):
    X, y = make_chest_phantoms(90, image_size=16, random_state=0)
    paths = np.array(write_images(tmp_path, X), dtype=object)[:, None]
    pipeline = make_pipeline(XRayLoader(image_size=16), ResNetClassifier(**TOY))
    model = ReferralClassifier(pipeline, unit="image", random_state=0).fit(paths[:60], y[:60])
    assert model.check_exchangeability(paths[60:]).p_value > 0.01
    assert len(model.decide(paths[60:])) == 30


def test_the_clinic_table_adds_up(fitted):
    table = fitted.clinic_table()
    patients = table["patients"]
    assert patients["errors avoided"] + patients["errors that remain"] == pytest.approx(
        patients["errors without referral"]
    )
    assert patients["to CT"] == pytest.approx(100 * fitted.referral_rate_.value)
    assert patients["to CT although the model was right"] + patients[
        "errors avoided"
    ] == pytest.approx(patients["to CT"])
    assert (table["low"] <= patients).all()
    assert (patients <= table["high"]).all()
    X, y, patients = labelled_numbers(3000, 1, most_images=4)
    test = fitted.clinic_table(X, y, groups=patients)
    assert test.loc["errors that remain", "patients"] <= 10
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = fitted.clinic_table(X[order], y[order], groups=patients[order])
    np.testing.assert_allclose(shuffled["patients"], test["patients"])
    per_thousand = fitted.clinic_table(per=1000)
    np.testing.assert_allclose(per_thousand, 10 * table)
    assert per_thousand.index.name == "of 1000 patients"


# -- scikit-learn ---------------------------------------------------------------------------------


def test_search_and_pipeline(numbers):
    X, y, patients = numbers
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            make_pipeline(StandardScaler(), rule()),
            {"referralclassifier__estimator__C": [0.1, 1.0]},
            cv=GroupKFold(3),
            error_score="raise",
        ).fit(X, y, groups=patients)
    best = search.best_estimator_[-1]
    assert best.certificate_.is_certified
    assert best.certificate_.test == "betting"


@not_certified
def test_patients_reach_the_model_inside(phantoms):
    """With and without metadata routing, early stopping of the model keeps patients together."""
    X, y = phantoms
    patients = np.arange(60) // 2
    for routing in (False, True):
        with config_context(enable_metadata_routing=routing):
            model = ReferralClassifier(
                ResNetClassifier(**TOY, early_stopping=True, validation_fraction=0.3),
                random_state=0,
            ).fit(X, y, groups=patients)
        training = np.setdiff1d(np.arange(60), model.calibration_indices_)
        held = training[model.estimator_.validation_indices_]
        rest = np.setdiff1d(training, held)
        assert len(held)
        assert not set(patients[held]) & set(patients[rest])


def test_weights_are_passed_on(numbers):
    X, y, patients = numbers
    weight = np.where(y == "ill", 1.0, 0.01)
    weighted = rule(max_risk=0.5).fit(X, y, groups=patients, sample_weight=weight)
    assert (weighted.predict(X) == "ill").mean() > 0.8


def test_images_of_weight_0_are_left_out(numbers):
    X, y, patients = numbers
    weight = (patients % 2).astype(float)
    model = rule().fit(X, y, groups=patients, sample_weight=weight)
    assert (patients[model.calibration_indices_] % 2 == 1).all()


def test_clone_and_joblib(fitted, tmp_path):
    copy = clone(fitted)
    assert not hasattr(copy, "threshold_")
    joblib.dump(fitted, tmp_path / "rule.joblib")
    loaded = joblib.load(tmp_path / "rule.joblib")
    X = np.linspace(-3, 3, 19)[:, None]
    assert (loaded.decide(X) == fitted.decide(X)).all()
    assert str(loaded.certificate_) == str(fitted.certificate_)


def test_a_failed_fit_leaves_the_rule_as_it_was(numbers):
    X, y, patients = numbers
    model = rule().fit(X, y, groups=patients)
    before = model.threshold_, model.estimator_
    model.set_params(confidence=lambda model, X: X[:, 0] * np.nan)
    with pytest.raises(ValueError, match="returned nan"):
        model.fit(X, y, groups=patients)
    assert (model.threshold_, model.estimator_) == before
