"""Numbers with intervals: every metric is computed for the data and for many bootstrap draws of its groups at once."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

ECE_BINS = 10


def group_weights(groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Weights (draws + 1, n) of samples: row 0 all ones, the others how often a draw with replacement took a sample's group.

    Resampling whole groups of people, not videos, keeps what videos of one person have in common (cluster bootstrap; Field &
    Welsh 2007).
    """
    codes = np.unique(groups, return_inverse=True)[1]
    total = int(codes.max()) + 1
    counts = np.random.default_rng(seed).multinomial(total, np.full(total, 1 / total), size=draws)
    return np.vstack([np.ones(len(codes)), counts[:, codes]])


def measure(label: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric for every row of weights.

    Args:
        label: 0 or 1, (n,).
        probability: of being fake, (n,).
        threshold: from which a sample counts as fake; learnt elsewhere.
        weights: (draws, n), not negative.

    Returns:
        Name to (draws,); nan where a draw leaves a metric undefined (one class missing, nothing called fake).
    """
    label, probability = np.asarray(label, float), np.asarray(probability, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _curve_metrics(label, probability, weights) | _point_metrics(label, probability, threshold, weights)


def _curve_metrics(label: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """AUC (trapezoid), average precision (step) and equal error rate (linear between points of the ROC curve)."""
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))  # ties enter together
    hits = np.cumsum(weights[:, order] * label[order], axis=1)[:, ends]
    alarms = np.cumsum(weights[:, order] * (1 - label[order]), axis=1)[:, ends]
    start = np.zeros((len(weights), 1))
    tpr = np.hstack([start, hits / hits[:, -1:]])
    fpr = np.hstack([start, alarms / alarms[:, -1:]])
    auc = (np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(axis=1)
    precision = np.where(hits + alarms > 0, hits / (hits + alarms), 0)
    ap = (np.diff(tpr) * precision).sum(axis=1)
    undefined = (hits[:, -1] == 0) | (alarms[:, -1] == 0)
    ap[undefined] = np.nan
    return {"auc": auc, "ap": ap, "eer": _equal_error(fpr, tpr)}


def _equal_error(fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    gap = fpr + tpr - 1  # false alarms less misses: rises from -1 to 1
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    g0, g1 = gap[rows, after - 1], gap[rows, after]
    share = np.where(g1 > g0, -g0 / (g1 - g0), 0)
    eer = fpr[rows, after - 1] + share * (fpr[rows, after] - fpr[rows, after - 1])
    return np.where(np.isnan(gap).any(axis=1), np.nan, eer)


def _point_metrics(label: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
    called = probability >= threshold
    total = weights.sum(axis=1)
    tp, fp = weights @ (label * called), weights @ ((1 - label) * called)
    positives = weights @ label
    tn = total - positives - fp
    precision, recall = tp / (tp + fp), tp / positives
    safe = np.clip(probability, 1e-7, 1 - 1e-7)
    surprise = -(label * np.log(safe) + (1 - label) * np.log(1 - safe))
    return {
        "accuracy": (tp + tn) / total,
        "precision": precision,
        "recall": recall,
        "f1": 2 * tp / (positives + tp + fp),
        "log_loss": weights @ surprise / total,
        "brier": weights @ (probability - label) ** 2 / total,
        "ece": _calibration_error(label, probability, weights),
    }


def _calibration_error(label: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over bins that hold equally many samples (Nixon et al. 2019)."""
    gap = np.zeros(len(weights))
    for members in np.array_split(np.argsort(probability, kind="stable"), min(ECE_BINS, len(label))):
        gap += np.abs(weights[:, members] @ (probability[members] - label[members]))
    return gap / weights.sum(axis=1)


def summarise(
    label: np.ndarray, probability: np.ndarray, threshold: float, groups: np.ndarray, draws: int, seed: int
) -> dict[str, float | int | None]:
    """Each metric with `_low` and `_high`, its 95 % percentile interval from a bootstrap over `groups`; None where undefined.

    `n`, `real`, `fake` and `groups` say what the numbers rest on.
    """
    label = np.asarray(label)
    people = len(np.unique(groups))
    result: dict[str, float | int | None] = {
        "n": len(label),
        "real": int((label == 0).sum()),
        "fake": int((label == 1).sum()),
        "groups": people,
    }
    if not len(label):
        return result
    for name, values in measure(label, probability, threshold, group_weights(groups, draws, seed)).items():
        result[name] = _number(values[0])
        drawn = values[1:][~np.isnan(values[1:])]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) and people > 1 else (np.nan, np.nan)
        result[f"{name}_low"], result[f"{name}_high"] = _number(low), _number(high)
    return result


def _number(value: float) -> float | None:
    """Rounded to what can be told apart, so that the last bits of a sum do not show in metrics; None for nan (strict JSON)."""
    return None if np.isnan(value) else round(float(value), 6)


def video_auc(label: ArrayLike, logit: ArrayLike) -> float:
    """AUC, or one half where only one class is there (early stopping needs a number)."""
    return float(roc_auc_score(label, logit)) if len(np.unique(label)) == 2 else 0.5
