"""Metrics, against scikit-learn and worked cases."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from sklearn import metrics as reference
from sklearn.utils.class_weight import compute_sample_weight

from deepfake_detector.evaluation.curves import reliability
from deepfake_detector.evaluation.metrics import METRICS, measure
from deepfake_detector.evaluation.tables import cox_regression


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 200))
    label = np.append(rng.integers(0, 2, n), [0, 1])
    decimals = int(rng.integers(1, 6))  # few decimals give many ties
    probability = np.clip(rng.normal(0.4 + 0.2 * label, 0.3), 0, 1).round(decimals)
    return label, probability, float(rng.uniform(0.2, 0.8)), rng.integers(0, 4, n + 2).astype(float)


@pytest.mark.parametrize("seed", range(30))
def test_metrics_equal_scikit_learn_with_and_without_weights(seed):
    label, probability, threshold, weights = random_case(seed)
    weights[label == 0], weights[label == 1] = np.maximum(weights[label == 0], 1), np.maximum(weights[label == 1], 1)
    ours = measure(label, probability, threshold, np.stack([np.ones(len(label)), weights]))
    for row, w in enumerate((None, weights)):
        flagged = probability >= threshold
        safe = np.clip(probability, 1e-7, 1 - 1e-7)
        alike = compute_sample_weight("balanced", label) if w is None else balance(label, w)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = {
                "auc": reference.roc_auc_score(label, probability, sample_weight=w),
                "pauc": reference.roc_auc_score(label, probability, sample_weight=w, max_fpr=0.1),
                "balanced_accuracy": reference.balanced_accuracy_score(label, flagged, sample_weight=w),
                "fpr": 1 - reference.recall_score(label, flagged, sample_weight=w, pos_label=0),
                "ap": reference.average_precision_score(label, probability, sample_weight=w),
                "accuracy": reference.accuracy_score(label, flagged, sample_weight=w),
                "precision": reference.precision_score(label, flagged, sample_weight=w, zero_division=np.nan),
                "recall": reference.recall_score(label, flagged, sample_weight=w),
                "f1": reference.f1_score(label, flagged, sample_weight=w),
                "log_loss": reference.log_loss(label, safe, sample_weight=alike),
                "brier": reference.brier_score_loss(label, probability, sample_weight=alike),
            }
        fpr, tpr, _ = reference.roc_curve(label, probability, sample_weight=w, drop_intermediate=False)
        theirs |= {"tpr_at_fpr_1": tpr[fpr <= 0.01].max(), "tpr_at_fpr_5": tpr[fpr <= 0.05].max()}
        theirs["eer"] = brentq(lambda x, fpr=fpr, tpr=tpr: 1 - x - np.interp(x, fpr, tpr), 0, 1)
        assert {name: ours[name][row] for name in theirs} == pytest.approx(theirs, nan_ok=True, abs=1e-9)
        assert set(METRICS) - set(theirs) == {"ece"} and set(ours) == set(METRICS)


def balance(label, weights):
    """Weights under which both classes have the same total."""
    return weights * np.where(label == 1, 1 / weights[label == 1].sum(), 1 / weights[label == 0].sum())


def test_curve_metrics_are_undefined_for_a_weighting_that_leaves_out_a_class():
    weights = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]])
    values = measure([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], 0.5, weights)
    for name in ("auc", "pauc", "tpr_at_fpr_1", "tpr_at_fpr_5", "ap", "eer", "balanced_accuracy"):
        assert np.isnan(values[name]).tolist() == [False, True, True], name
    assert np.isnan(values["recall"]).tolist() == [False, True, False]
    assert np.isnan(values["fpr"]).tolist() == [False, False, True]
    assert values["accuracy"].tolist() == [0.5, 0.5, 0.5]


def test_equal_error_rate_of_a_worked_case():
    """One of four reals and one of four fakes is on the wrong side."""
    label = [0, 0, 0, 1, 0, 1, 1, 1]
    probability = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert measure(label, probability, 0.5, np.ones((1, 8)))["eer"][0] == pytest.approx(0.25)


def test_calibration_error_of_a_worked_case():
    """Twenty samples at 0.3, half of them fake: every bin is off by 0.2, whatever their order."""
    label = np.tile([0, 1], 10)
    for order in (label, np.sort(label)):
        assert measure(order, np.full(20, 0.3), 0.5, np.ones((1, 20)))["ece"][0] == pytest.approx(0.2)


def test_calibration_error_is_that_of_equal_mass_bins():
    rng = np.random.default_rng(3)
    probability, label = rng.random(60), rng.integers(0, 2, 60)
    bins = pd.qcut(probability, 10)  # six samples each
    error = (probability - label) * compute_sample_weight("balanced", label)
    expected = pd.Series(error).groupby(bins, observed=True).sum().abs().sum() / 60
    assert measure(label, probability, 0.5, np.ones((1, 60)))["ece"][0] == pytest.approx(expected)


def test_right_probabilities_are_right_whatever_the_mix_of_the_test_set():
    """Calibrated for half and half; five fakes to one real are tested."""
    rng = np.random.default_rng(1)
    log_odds = np.concatenate([rng.normal(1, np.sqrt(2), 50_000), rng.normal(-1, np.sqrt(2), 10_000)])
    label = np.repeat([1, 0], [50_000, 10_000])
    table = pd.DataFrame({"label": label, "probability": 1 / (1 + np.exp(-log_odds))})
    measured = measure(label, table["probability"], 0.5, np.ones((1, len(label))))
    assert measured["ece"][0] < 0.01
    assert cox_regression(table) == {"slope": pytest.approx(1, abs=0.03), "intercept": pytest.approx(0, abs=0.03)}
    predicted, observed = reliability(label, table["probability"])
    assert observed == pytest.approx(predicted, abs=0.02)
