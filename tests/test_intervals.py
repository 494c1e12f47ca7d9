"""Bootstrap over groups of people, and the intervals from it."""

import json

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks import bootstrap as benchmark
from deepfake_detector.evaluation.intervals import effective_groups, format_interval, group_draws, interval, summarise
from deepfake_detector.evaluation.metrics import METRICS


def random_videos(seed):
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1], 50)
    return label, np.clip(rng.normal(0.4 + 0.2 * label, 0.3), 0, 1), np.arange(100) // 3


def test_only_a_proportion_of_0_or_1_has_an_interval_if_no_draw_changes_it():
    for scale in ("linear", "log", "logit"):
        assert interval(np.full(50, 0.4), 5, scale) == (None, None)
    assert interval(np.ones(50), 5, "logit") == (pytest.approx(0.478, abs=1e-3), 1.0)
    low, high = interval(np.full(50, 0.4), 5, "logit", 20)  # but then it is as for 8 of 20 independent samples
    assert (low, high) == (
        pytest.approx(beta.ppf(0.025, 8, 13), abs=1e-6),
        pytest.approx(beta.ppf(0.975, 9, 12), abs=1e-6),
    )


def test_interval_is_never_narrower_than_of_independent_samples():
    draws = np.append(0.98, np.random.default_rng(1).normal(0.98, 0.001, 500))
    narrow, wide = interval(draws, 20, "logit"), interval(draws, 20, "logit", 100)
    assert wide == (pytest.approx(beta.ppf(0.025, 98, 3), abs=1e-6), pytest.approx(beta.ppf(0.975, 99, 2), abs=1e-6))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("shift", [2.0, 4.5])
def test_interval_of_auc_contains_the_true_value_as_often_as_it_should(shift, monkeypatch):
    """Near 1, too: AUC 0.84 and 0.99, 20 people with 200 correlated videos; 300 trials are uncertain by 2.5 points."""
    monkeypatch.setattr(benchmark, "TRIALS", 300)
    monkeypatch.setattr(benchmark, "DRAWS", 200)
    assert benchmark.coverage(20, shift, lambda person: person)["auc"] > 0.9


def test_proportion_that_misses_1_by_a_rounding_error_has_the_interval_of_1():
    assert interval(np.full(50, 1 - 1e-16), 5, "logit") == interval(np.ones(50), 5, "logit")


def test_class_of_few_groups_gives_a_wide_interval_and_one_of_a_single_group_none():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 10)
    score = 1 / (1 + np.exp(-rng.normal(0, 1, 300)))
    for real, rests_on in ((1, 1), (2, 2), (5, 5)):
        label = (groups >= real).astype(int)
        result = summarise(label, score, 0.5, groups, 100, 1)
        if real == 1:
            assert result["fpr_low"] is None and result["auc_low"] is None and result["recall_low"] is not None
        assert rests_on <= effective_groups(label, groups) < rests_on + 2
    none = summarise((groups >= 5).astype(int), score, 2, groups, 100, 1)
    assert none["fpr_high"] == pytest.approx(beta.ppf(0.975, 1, 5), abs=1e-6)  # 0 of 5 people, not of 30
    assert effective_groups(np.tile([0, 1], 150), groups) == 30  # each group has both
    assert effective_groups(np.ones(300), groups) == 30


@pytest.mark.parametrize("real", [2, 5])
def test_interval_contains_the_true_value_where_a_class_is_of_few_people(real):
    """Genuine videos of few people, fakes of twenty others; the true false-positive rate is one half."""
    rng, hits = np.random.default_rng(1), []
    groups = np.repeat(np.arange(real + 20), 10)
    label = (groups >= real).astype(int)
    for trial in range(100):
        score = rng.normal(0, 1, real + 20)[groups] + rng.normal(0, 1, len(groups))
        found = summarise(label, 1 / (1 + np.exp(-score)), 0.5, groups, 50, trial)
        hits.append([found[f"{name}_low"] <= 0.5 <= found[f"{name}_high"] for name in ("auc", "fpr")])
    assert (np.mean(hits, axis=0) > 0.9).all()


def test_bootstrap_draws_whole_groups():
    counts, codes = group_draws(np.array(["a", "a", "b", "c", "c", "c"]), 200, 0)
    assert codes.tolist() == [0, 0, 1, 2, 2, 2] and (counts[0] == 1).all()
    assert (counts[1:].sum(axis=1) == 3).all() and len(np.unique(counts[1:, 0])) > 2


def test_memory_chunks_change_nothing(monkeypatch):
    label, probability, groups = random_videos(3)
    whole = summarise(label, probability, 0.5, groups, 50, 1)
    monkeypatch.setattr("deepfake_detector.evaluation.intervals.CHUNK", 7 * len(label))
    assert summarise(label, probability, 0.5, groups, 50, 1) == whole


def test_interval_of_a_rate_without_any_error_is_exact_for_the_number_of_groups():
    """Clopper-Pearson for 12 of 12: the 2.5 % quantile of Beta(12, 1)."""
    low, high = interval(np.ones(100), 12, "logit")
    assert (low, high) == (pytest.approx(beta.ppf(0.025, 12, 1), abs=1e-6), 1.0)
    assert interval(np.zeros(100), 12, "logit") == (0.0, pytest.approx(beta.ppf(0.975, 1, 12), abs=1e-6))
    assert interval(np.ones(100), 1, "logit") == (None, None)


def test_interval_of_many_independent_videos_is_that_of_delong():
    """Standard error of AUC after DeLong et al. (1988), which holds if every video is a group of its own."""
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], 300)
    score = rng.normal(label, 1)
    fake, real = score[label == 1], score[label == 0]
    above = (fake[:, None] > real[None]).astype(float)
    error = np.sqrt(above.mean(axis=1).var(ddof=1) / len(fake) + above.mean(axis=0).var(ddof=1) / len(real))
    ours = summarise(label, 1 / (1 + np.exp(-score)), 0.5, np.arange(600), 2000, 0)
    assert (ours["auc_high"] - ours["auc_low"]) / 2 == pytest.approx(1.96 * error, rel=0.08)


def test_interval_contains_the_value_and_repeats():
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1], 100)
    probability = np.clip(rng.normal(0.3 + 0.3 * label, 0.2), 0, 1)
    groups = np.tile(np.arange(20), 10)
    one, two = (summarise(label, probability, 0.5, groups, 500, 7) for _ in range(2))
    assert one == two
    for name in ("auc", "accuracy", "brier", "log_loss"):
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


def test_text_of_an_interval_says_what_is_missing():
    row = {"auc": 0.8359, "auc_low": 0.7, "auc_high": 0.96, "fpr": 0.5, "fpr_low": None, "fpr_high": None, "eer": None}
    assert [format_interval(row, name) for name in ("auc", "fpr", "eer", "ap")] == [
        "0.836 (0.700 to 0.960)",
        "0.500",
        "–",
        "–",
    ]
