"""Is one set of scores better than another, of the same videos?"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from deepfake_detector.evaluation.intervals import CHUNK, bootstrap
from deepfake_detector.evaluation.metrics import auc

EXACT_GROUPS = 12  # with no more groups of people, all 2^groups exchanges are tried


def paired_auc_difference(table: pd.DataFrame, before: str, after: str, draws: int, seed: int) -> np.ndarray:
    """AUC of the scores in column `after` less that of `before`, on the data and then for each draw of whole groups.

    `table` has `label,group` and both columns; a draw takes the same videos for both, so that what makes them hard cancels out.
    """
    label = table["label"].to_numpy(float)

    def change(weights: np.ndarray) -> dict[str, np.ndarray]:
        old, new = (auc(label, table[column].to_numpy(), weights) for column in (before, after))
        return {"auc": new - old}

    return bootstrap(change, table["group"], draws, seed)["auc"]


def permutation_test(table: pd.DataFrame, before: str, after: str, draws: int, seed: int) -> float:
    """Two-sided p-value of the difference in AUC: how often is it as large when the two exchange scores at random?

    If neither is better, which of them gave a person's videos their scores makes no difference, so scores are exchanged for whole
    groups of people (paired randomisation, Bandos et al. 2005; as ranks, since the two may score on different scales). Exact for
    few groups, where it cannot fall below 2 / 2^groups: four people cannot show a difference at 5 %.
    """
    label = table["label"].to_numpy() == 1
    first, second = (rankdata(table[column]) for column in (before, after))
    codes = np.unique(table["group"], return_inverse=True)[1]
    groups = int(codes.max()) + 1
    exact = groups <= EXACT_GROUPS
    if exact:
        exchanged = np.arange(2**groups)[:, None] >> np.arange(groups) & 1 == 1
    else:
        exchanged = np.random.default_rng(seed).random((draws, groups)) < 0.5
    observed = abs(rank_auc(label, second[None]) - rank_auc(label, first[None]))[0]
    rows = max(1, CHUNK // len(label))
    changes = []
    for start in range(0, len(exchanged), rows):
        swap = exchanged[start : start + rows, codes]
        one, two = np.where(swap, second, first), np.where(swap, first, second)
        changes.append(np.abs(rank_auc(label, two) - rank_auc(label, one)))
    as_large = int((np.concatenate(changes) >= observed - 1e-12).sum())
    return as_large / len(exchanged) if exact else (as_large + 1) / (len(exchanged) + 1)


def rank_auc(label: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUC (draws,) of scores (draws, n) for a boolean label (n,), by the Mann-Whitney statistic."""
    fake = int(label.sum())
    ranks = rankdata(scores, axis=1)[:, label].sum(axis=1)
    return (ranks - fake * (fake + 1) / 2) / (fake * (len(label) - fake))
