"""Aggregation, calibration, metrics and their intervals."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from stages.scoring.aggregate import aggregate
from stages.scoring.calibrate import Calibration, fit_calibration
from stages.scoring.metrics import group_weights, measure, summarise


def test_the_most_suspicious_person_decides_by_the_mean_of_their_logits():
    faces = pd.DataFrame(
        {"video_id": ["b", "b", "b", "a"], "track": [0, 0, 1, 0], "logit": [-1.0, 3.0, 0.5, -2.0]}, index=[5, 6, 7, 8]
    )
    videos = aggregate(faces)
    assert videos.index.tolist() == ["b", "a"]
    assert videos.loc["b"].to_dict() == {"logit": 1.0, "track": 0, "frames": 2, "faces": 3}


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 200))
    label = np.append(rng.integers(0, 2, n), [0, 1])
    probability = np.clip(rng.normal(0.4 + 0.2 * label, 0.3), 0, 1).round(int(rng.integers(1, 6)))  # some have many ties
    return label, probability, float(rng.uniform(0.2, 0.8)), rng.integers(0, 4, n + 2).astype(float)


@pytest.mark.parametrize("seed", range(30))
def test_metrics_equal_scikit_learn_weighted_and_not(seed):
    label, probability, threshold, weights = random_case(seed)
    weights[label == 0], weights[label == 1] = np.maximum(weights[label == 0], 1), np.maximum(weights[label == 1], 1)
    ours = measure(label, probability, threshold, np.stack([np.ones(len(label)), weights]))
    for row, w in enumerate((None, weights)):
        called = probability >= threshold
        safe = np.clip(probability, 1e-7, 1 - 1e-7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = {
                "auc": reference.roc_auc_score(label, probability, sample_weight=w),
                "ap": reference.average_precision_score(label, probability, sample_weight=w),
                "accuracy": reference.accuracy_score(label, called, sample_weight=w),
                "precision": reference.precision_score(label, called, sample_weight=w, zero_division=np.nan),
                "recall": reference.recall_score(label, called, sample_weight=w),
                "f1": reference.f1_score(label, called, sample_weight=w),
                "log_loss": reference.log_loss(label, safe, sample_weight=w),
                "brier": reference.brier_score_loss(label, probability, sample_weight=w),
            }
        assert {name: ours[name][row] for name in theirs} == pytest.approx(theirs, nan_ok=True)


def test_equal_error_rate_of_a_worked_case():
    """Of four reals and four fakes one each is on the wrong side."""
    label = [0, 0, 0, 1, 0, 1, 1, 1]
    probability = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert measure(label, probability, 0.5, np.ones((1, 8)))["eer"][0] == pytest.approx(0.25)


def test_calibration_error_of_a_worked_case():
    """Twenty samples at 0.3 of which half are fake, in equal bins: off by 0.2 everywhere."""
    label = np.tile([0, 1], 10)
    assert measure(label, np.full(20, 0.3), 0.5, np.ones((1, 20)))["ece"][0] == pytest.approx(0.2)


def test_bootstrap_takes_groups_whole():
    groups = np.array(["a", "a", "b", "c", "c", "c"])
    weights = group_weights(groups, 200, 0)
    assert (weights[0] == 1).all()
    for rows in (np.flatnonzero(groups == name) for name in "abc"):
        assert (weights[:, rows] == weights[:, rows[:1]]).all()
    assert len(np.unique(weights[1:, 0])) > 2


def test_interval_holds_the_value_and_repeats():
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1], 100)
    probability = np.clip(rng.normal(0.3 + 0.3 * label, 0.2), 0, 1)
    groups = np.tile(np.arange(20), 10)
    one, two = (summarise(label, probability, 0.5, groups, 500, 7) for _ in range(2))
    assert one == two
    for name in ("auc", "accuracy", "brier"):
        assert one[f"{name}_low"] < one[name] < one[f"{name}_high"]


@pytest.mark.parametrize(
    ("label", "probability", "groups"),
    [
        ([], [], []),
        ([1, 1], [0.2, 0.9], ["a", "b"]),
        ([0, 1], [0.5, 0.5], ["a", "a"]),
        ([0, 1, 1], [0.0, 1.0, 0.5], ["a", "b", "b"]),
    ],
)
def test_degenerate_cases_are_strict_json(label, probability, groups):
    result = summarise(np.array(label), np.array(probability), 0.5, np.array(groups), 50, 0)
    json.dumps(result, allow_nan=False)
    if len(set(label)) == 1:
        assert result["auc"] is None


def test_calibration_keeps_order_and_lowers_log_loss():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    logit = 6 * rng.normal(label - 0.5, 1) + 4
    calibration = fit_calibration(label, logit)
    probability = calibration.probability(logit)
    assert (np.diff(probability[np.argsort(logit)]) >= 0).all()
    assert reference.log_loss(label, probability) < reference.log_loss(label, 1 / (1 + np.exp(-logit)))
    assert calibration.low <= calibration.threshold <= calibration.high


def test_separable_validation_gives_no_certainty():
    calibration = fit_calibration(np.array([0, 0, 1, 1]), np.array([-3.0, -2, 2, 3]))
    assert 0.01 < calibration.probability(-3.0) < 0.4 and 0.6 < calibration.probability(3.0) < 0.99


def test_detector_that_ranks_the_wrong_way_round_says_one_half():
    calibration = fit_calibration(np.array([0, 0, 1, 1]), np.array([3.0, 2, -2, -3]))
    assert calibration.probability(np.array([-3.0, 3.0])) == pytest.approx(0.5, abs=1e-4)


def test_one_class_cannot_be_calibrated():
    with pytest.raises(ValueError, match="0 fake"):
        fit_calibration(np.zeros(3), np.arange(3.0))


def test_verdicts_have_a_band_of_doubt():
    calibration = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.7)
    assert calibration.verdict([0.1, 0.4, 0.6, 0.7, 0.9]).tolist() == ["real", "uncertain", "uncertain", "fake", "fake"]
