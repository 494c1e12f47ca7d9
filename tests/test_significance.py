"""Paired differences in AUC and their p-values."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_detector.evaluation.significance import paired_auc_difference, permutation_test, rank_auc
from tests.paired_scores import scores


def test_rank_auc_is_that_of_scikit_learn_with_ties():
    table = scores(1).round(0)
    both = np.stack([table["one"], table["two"]])
    expected = [roc_auc_score(table["label"], table[name]) for name in ("one", "two")]
    assert rank_auc(table["label"].to_numpy() == 1, both) == pytest.approx(expected)


@pytest.mark.parametrize("decimals", [6, 0])
def test_p_value_for_few_groups_counts_every_exchange(decimals):
    """Against loops over all exchanges, with scikit-learn's AUC."""
    table = scores(2, groups=5, gain=0.5).round(decimals)
    one, two = table["one"].rank(), table["two"].rank()
    observed = abs(roc_auc_score(table["label"], two) - roc_auc_score(table["label"], one))
    as_large = 0
    for swap in product([False, True], repeat=5):
        swapped = np.array(swap)[table["group"]]
        a, b = np.where(swapped, two, one), np.where(swapped, one, two)
        as_large += abs(roc_auc_score(table["label"], b) - roc_auc_score(table["label"], a)) >= observed - 1e-12
    assert permutation_test(table, "one", "two", 10, 0) == as_large / 32


def test_p_value_of_equal_scores_is_1():
    assert permutation_test(scores(1), "one", "one", 10, 0) == 1
    assert permutation_test(scores(1, 40), "one", "one", 10, 0) == 1


def test_p_value_is_small_if_and_only_if_there_is_a_difference():
    none = [permutation_test(scores(seed, 10), "one", "two", 500, 0) for seed in range(200)]
    assert np.mean(np.array(none) < 0.05) < 0.1
    assert permutation_test(scores(1, 40, gain=1), "one", "two", 500, 0) < 0.01


def test_p_value_of_random_exchanges_repeats_and_depends_on_the_seed():
    table = scores(3, 20)
    values = [permutation_test(table, "one", "two", 200, seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_paired_difference_varies_less_than_an_auc_alone():
    table = scores(3, 40, gain=0.3)
    difference = paired_auc_difference(table, "one", "two", 500, 0)
    expected = roc_auc_score(table["label"], table["two"]) - roc_auc_score(table["label"], table["one"])
    assert difference[0] == pytest.approx(expected)
    alone = paired_auc_difference(table.assign(none=0.0), "none", "two", 500, 0)
    assert difference[1:].std() < 0.7 * alone[1:].std()
