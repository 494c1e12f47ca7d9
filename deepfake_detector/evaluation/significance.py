"""Significance of a difference: is one set of scores better than another for the same videos? Paired AUC, p-value."""

import numpy as np
import pandas as pd
from scipy import stats

from deepfake_detector.evaluation.intervals import CHUNK, bootstrap
from deepfake_detector.evaluation.metrics import WeightedScores, auc

EXACT_GROUPS = 12  # with no more groups of people, all 2^groups exchanges are tried


def paired_auc_difference(table: pd.DataFrame, before: str, after: str, draws: int, seed: int) -> np.ndarray:
    """AUC of the scores in `after` less that of `before`, on the data and then for each bootstrap draw: (draws + 1,).

    A draw takes the same groups of people for both columns, so what makes their videos hard cancels out.

    Args:
        table: one row for each video, with `label` (0 or 1), `group` and both columns.
    """
    label = table["label"].to_numpy(float)

    def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
        old, new = (auc(WeightedScores(label, table[column].to_numpy(), weights)) for column in (before, after))
        return {"auc": new - old}

    return bootstrap(difference, table["group"], draws, seed)["auc"]


def permutation_test(table: pd.DataFrame, before: str, after: str, draws: int, seed: int) -> float:
    """Two-sided p-value of the difference in AUC between two detectors' scores of the same videos.

    If neither detector is better, it makes no difference which of them gave a person's videos their scores. So the test
    exchanges the scores for whole groups of people (paired permutation test; Bandos et al. 2005), as ranks, because the
    two may score on different scales. The p-value is the fraction of exchanges with at least the observed absolute
    difference. It is exact for up to EXACT_GROUPS groups and cannot fall below 2 / 2^groups: four groups cannot show a
    difference at 5 %.
    """
    label = table["label"].to_numpy() == 1
    ranks = np.stack([stats.rankdata(table[column]) for column in (before, after)])
    codes = np.unique(table["group"], return_inverse=True)[1]
    groups = int(codes.max()) + 1
    if groups < 2:
        return 1.0  # the only exchange gives the same absolute difference

    def difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        """Absolute difference in AUC, from which column, 0 or 1, each group has on either side: (..., groups)."""
        one, two = (np.where(np.take(side, codes, axis) == 1, ranks[1], ranks[0]) for side in (first, second))
        return np.asarray(np.abs(rank_auc(label, two) - rank_auc(label, one)))

    result = stats.permutation_test(
        (np.zeros(groups), np.ones(groups)),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**groups if groups <= EXACT_GROUPS else draws,
        batch=max(1, CHUNK // len(label)),
        alternative="greater",  # of the absolute difference, hence two-sided
        axis=-1,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def rank_auc(label: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUC of scores (..., n) for a boolean label (n,), by the Mann-Whitney statistic. scikit-learn takes one row."""
    fakes = int(label.sum())
    ranks = stats.rankdata(scores, axis=-1)[..., label].sum(axis=-1)
    return np.asarray((ranks - fakes * (fakes + 1) / 2) / (fakes * (len(label) - fakes)))
