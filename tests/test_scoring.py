"""Aggregation, calibration, metrics and their intervals."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import beta
from sklearn import metrics as reference

from deepfake_detector.evaluation.aggregation import AGGREGATORS, aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration, calibrated_loss, choose_threshold, fit_calibration
from deepfake_detector.evaluation.intervals import group_draws, interval, summarise
from deepfake_detector.evaluation.metrics import METRICS, measure


def test_calibrated_loss_tells_what_answers_are_worth_not_their_scale_bias_or_share():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 500)
    logit = rng.normal(0, 1, 1000) + 2 * label
    people = np.arange(1000) % 100

    def loss_of(logit, rows=slice(None)):
        return calibrated_loss(label[rows], logit[rows], people[rows])[0]

    loss = loss_of(logit)
    assert loss_of(7 * logit - 20) == pytest.approx(loss, abs=1e-4)
    more_fakes = np.concatenate([np.arange(1000), np.tile(np.arange(500, 1000), 4)])
    assert loss_of(logit, more_fakes) == pytest.approx(loss, abs=0.01)
    assert loss_of(logit + label) < loss < loss_of(rng.permutation(logit))
    assert loss_of(-logit) == pytest.approx(np.log(2), abs=0.01)


def test_error_of_the_calibrated_loss_is_that_of_other_people():
    rng = np.random.default_rng(0)
    losses, errors = [], []
    for _ in range(60):
        people, label = np.repeat(np.arange(40), 10), np.tile([0, 1], 200)
        logit = rng.normal(0, 1, 400) + 2 * label + np.where(label == 1, 1, -1) * np.repeat(rng.normal(0, 2, 40), 10)
        loss, error = calibrated_loss(label, logit, people)
        losses.append(loss)
        errors.append(error)
    assert np.std(losses) == pytest.approx(np.mean(errors), rel=0.3)
    assert calibrated_loss(label, logit, np.arange(400))[1] < 0.6 * error  # as if every face were somebody else


def test_the_most_suspicious_person_decides_by_the_mean_of_their_logits():
    faces = pd.DataFrame(
        {"video_id": ["b", "b", "b", "a"], "track": [0, 0, 1, 0], "logit": [-1.0, 3.0, 0.5, -2.0]}, index=[5, 6, 7, 8]
    )
    videos = aggregate_videos(faces)
    assert videos.index.tolist() == ["b", "a"]
    assert videos.loc["b"].to_dict() == {"logit": 1.0, "track": 0, "frames": 2, "faces": 3}


def test_ways_to_make_one_logit_of_many():
    logits = np.array([4, -2, 1, -1, 0.5, 2, -3, -6], np.float32)
    expected = {"mean_logit": -0.5625, "median": -0.25, "top_k": 3.0, "vote": 0.0}  # four of eight say fake
    assert {name: pool(logits) for name, pool in AGGREGATORS.items()} == pytest.approx(expected)
    faces = pd.DataFrame({"video_id": ["a"] * 8 + ["b"], "track": 0, "logit": [*logits, 7.0]})
    for name in AGGREGATORS:
        assert aggregate_videos(faces, name).loc["a", "logit"] == pytest.approx(expected[name])


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 200))
    label = np.append(rng.integers(0, 2, n), [0, 1])
    probability = np.clip(rng.normal(0.4 + 0.2 * label, 0.3), 0, 1).round(
        int(rng.integers(1, 6))
    )  # some have many ties
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
                "pauc": reference.roc_auc_score(label, probability, sample_weight=w, max_fpr=0.1),
                "balanced_accuracy": reference.balanced_accuracy_score(label, called, sample_weight=w),
                "fpr": 1 - reference.recall_score(label, called, sample_weight=w, pos_label=0),
                "ap": reference.average_precision_score(label, probability, sample_weight=w),
                "accuracy": reference.accuracy_score(label, called, sample_weight=w),
                "precision": reference.precision_score(label, called, sample_weight=w, zero_division=np.nan),
                "recall": reference.recall_score(label, called, sample_weight=w),
                "f1": reference.f1_score(label, called, sample_weight=w),
                "log_loss": reference.log_loss(label, safe, sample_weight=w),
                "brier": reference.brier_score_loss(label, probability, sample_weight=w),
            }
        fpr, tpr, _ = reference.roc_curve(label, probability, sample_weight=w, drop_intermediate=False)
        theirs |= {"tpr_at_fpr_1": tpr[fpr <= 0.01].max(), "tpr_at_fpr_5": tpr[fpr <= 0.05].max()}
        theirs["eer"] = brentq(lambda x, fpr=fpr, tpr=tpr: 1 - x - np.interp(x, fpr, tpr), 0, 1)
        assert {name: ours[name][row] for name in theirs} == pytest.approx(theirs, nan_ok=True, abs=1e-9)
        assert set(METRICS) - set(theirs) == {"ece"} and set(ours) == set(METRICS)


def test_equal_error_rate_of_a_worked_case():
    """Of four reals and four fakes one each is on the wrong side."""
    label = [0, 0, 0, 1, 0, 1, 1, 1]
    probability = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert measure(label, probability, 0.5, np.ones((1, 8)))["eer"][0] == pytest.approx(0.25)


def test_calibration_error_of_a_worked_case():
    """Twenty samples at 0.3 of which half are fake, in equal bins: off by 0.2 everywhere."""
    label = np.tile([0, 1], 10)
    for order in (label, np.sort(label)):
        assert measure(order, np.full(20, 0.3), 0.5, np.ones((1, 20)))["ece"][0] == pytest.approx(0.2)


def test_calibration_error_is_that_of_equal_bins():
    rng = np.random.default_rng(3)
    probability, label = rng.random(60), rng.integers(0, 2, 60)
    bins = pd.qcut(probability, 10)  # six samples each
    gaps = pd.DataFrame({"p": probability, "y": label}).groupby(bins, observed=True).mean()
    expected = (gaps["p"] - gaps["y"]).abs().mean()
    assert measure(label, probability, 0.5, np.ones((1, 60)))["ece"][0] == pytest.approx(expected)


def test_what_no_draw_moves_has_no_interval_but_a_share_at_its_end():
    for scale in ("linear", "positive", "share"):
        assert interval(np.full(50, 0.4), 5, scale) == (None, None)
    assert interval(np.ones(50), 5, "share") == (pytest.approx(0.478, abs=1e-3), 1.0)


def test_bootstrap_takes_groups_whole():
    counts, codes = group_draws(np.array(["a", "a", "b", "c", "c", "c"]), 200, 0)
    assert codes.tolist() == [0, 0, 1, 2, 2, 2] and (counts[0] == 1).all()
    assert (counts[1:].sum(axis=1) == 3).all() and len(np.unique(counts[1:, 0])) > 2


def test_memory_chunks_change_nothing(monkeypatch):
    label, probability, threshold, _ = random_case(3)
    groups = np.arange(len(label)) // 3
    whole = summarise(label, probability, threshold, groups, 50, 1)
    monkeypatch.setattr("deepfake_detector.evaluation.intervals.CHUNK", 7 * len(label))
    assert summarise(label, probability, threshold, groups, 50, 1) == whole


def test_interval_of_a_rate_without_any_error_is_the_exact_one_for_the_groups():
    """Clopper-Pearson for 12 of 12: the 2.5 % quantile of Beta(12, 1)."""
    low, high = interval(np.ones(100), 12, "share")
    assert (low, high) == (pytest.approx(beta.ppf(0.025, 12, 1), abs=1e-6), 1.0)
    assert interval(np.zeros(100), 12, "share") == (0.0, pytest.approx(beta.ppf(0.975, 1, 12), abs=1e-6))
    assert interval(np.ones(100), 1, "share") == (None, None)


def test_interval_of_many_independent_videos_is_that_of_delong():
    """Standard error of AUC after DeLong et al. (1988), which holds where every video is a group of its own."""
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], 300)
    score = rng.normal(label, 1)
    fake, real = score[label == 1], score[label == 0]
    above = (fake[:, None] > real[None]).astype(float)
    error = np.sqrt(above.mean(axis=1).var(ddof=1) / len(fake) + above.mean(axis=0).var(ddof=1) / len(real))
    ours = summarise(label, 1 / (1 + np.exp(-score)), 0.5, np.arange(600), 2000, 0)
    assert (ours["auc_high"] - ours["auc_low"]) / 2 == pytest.approx(1.96 * error, rel=0.08)


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
    assert {f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")} <= set(result)
    if len(set(label)) < 2:
        assert result["auc"] is None and result["eer"] is None
    if len(set(groups)) < 2:
        assert result["brier_low"] is None


def validation_videos(shift=4.0):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    return label, 6 * rng.normal(label - 0.5, 1) + shift, np.arange(400) // 10


def test_calibration_keeps_order_and_lowers_log_loss():
    label, logit, groups = validation_videos()
    calibration = fit_calibration(label, logit, groups)
    probability = calibration.probability(logit)
    assert (np.diff(probability[np.argsort(logit)]) >= 0).all()
    assert reference.log_loss(label, probability) < reference.log_loss(label, 1 / (1 + np.exp(-logit)))
    assert calibration.low <= calibration.threshold <= calibration.high
    assert calibration.method == "platt"  # the logits are far from centred


def test_centred_logits_are_only_scaled():
    label, logit, groups = validation_videos(shift=0.0)
    flipped = np.concatenate([logit, -logit]), np.concatenate([label, 1 - label]), np.tile(groups, 2)
    calibration = fit_calibration(flipped[1], flipped[0], flipped[2])
    assert calibration.method == "temperature" and calibration.bias == 0 and 0 < calibration.scale < 1


@pytest.mark.parametrize("point", ["eer", "youden", "fpr=0.05"])
def test_threshold_serves_its_operating_point(point):
    label, logit, _ = validation_videos()
    threshold = choose_threshold(label, probability := 1 / (1 + np.exp(-logit / 4)), point)
    fpr = lambda t: np.mean(probability[label == 0] >= t)  # noqa: E731
    fnr = lambda t: np.mean(probability[label == 1] < t)  # noqa: E731
    everywhere = np.unique(np.append(probability, 1.0))
    if point == "eer":
        assert abs(fpr(threshold) - fnr(threshold)) <= 0.01
    elif point == "youden":
        assert fpr(threshold) + fnr(threshold) == pytest.approx(min(fpr(t) + fnr(t) for t in everywhere))
    else:
        assert fpr(threshold) <= 0.05
        assert fnr(threshold) == min(fnr(t) for t in everywhere if fpr(t) <= 0.05)


def test_separable_validation_gives_no_certainty_and_doubts_what_lies_between():
    calibration = fit_calibration(np.array([0, 0, 1, 1]), np.array([-3.0, -2, 2, 3]), np.array([0, 1, 0, 1]))
    assert 0.01 < calibration.probability(-3.0) < 0.4 and 0.6 < calibration.probability(3.0) < 0.99
    assert calibration.verdict(calibration.probability([-3.0, -1.0, 1.0, 3.0])).tolist() == [
        "real",
        "uncertain",
        "uncertain",
        "fake",
    ]


def test_detector_that_ranks_the_wrong_way_round_says_one_half():
    calibration = fit_calibration(np.array([0, 0, 1, 1]), np.array([3.0, 2, -2, -3]), np.arange(4))
    assert calibration.probability(np.array([-3.0, 3.0])) == pytest.approx(0.5, abs=1e-4)


def test_one_class_cannot_be_calibrated():
    with pytest.raises(ValueError, match="0 fake"):
        fit_calibration(np.zeros(3), np.arange(3.0), np.arange(3))


def test_verdicts_have_a_band_of_doubt():
    calibration = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.7)
    assert calibration.verdict([0.1, 0.4, 0.6, 0.7, 0.9]).tolist() == ["real", "uncertain", "uncertain", "fake", "fake"]
