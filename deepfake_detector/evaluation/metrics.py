"""What scores are worth: every metric for many weightings of the samples at once, as a bootstrap needs them."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

ECE_BINS = 10
LOW_FPR = 0.1  # up to which false alarms the partial AUC counts
METRICS = [
    "auc",
    "pauc",
    "tpr_at_fpr_1",
    "tpr_at_fpr_5",
    "ap",
    "eer",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "fpr",
    "f1",
    "log_loss",
    "brier",
    "ece",
]


def measure(label: ArrayLike, probability: ArrayLike, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
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


def roc_points(
    label: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits and false alarms (draws, 1 + scores) as more and more is called fake, and the sums of fakes and reals (draws, 2)."""
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))  # ties enter together
    start = np.zeros((len(weights), 1))
    hits = np.hstack([start, np.cumsum(weights[:, order] * label[order], axis=1)[:, ends]])
    alarms = np.hstack([start, np.cumsum(weights[:, order] * (1 - label[order]), axis=1)[:, ends]])
    return hits, alarms, np.stack([hits[:, -1], alarms[:, -1]], axis=1)


def auc(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for each row of weights, (draws,); nan where a kind is missing."""
    hits, alarms, totals = roc_points(label, score, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.diff(alarms) * (hits[:, 1:] + hits[:, :-1]) / 2).sum(axis=1) / totals.prod(axis=1)


def _curve_metrics(label: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """AUC and partial AUC (trapezoid), recall at low false-positive rates, average precision (step), equal error rate."""
    hits, alarms, totals = roc_points(label, probability, weights)
    tpr, fpr = hits / totals[:, :1], alarms / totals[:, 1:]
    precision = np.where(hits + alarms > 0, hits / (hits + alarms), 0)
    result = {
        "auc": (np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(axis=1),
        "pauc": _partial_area(fpr, tpr, LOW_FPR),
        "tpr_at_fpr_1": np.where(fpr <= 0.01, tpr, 0).max(axis=1),
        "tpr_at_fpr_5": np.where(fpr <= 0.05, tpr, 0).max(axis=1),
        "ap": (np.diff(tpr) * precision[:, 1:]).sum(axis=1),
        "eer": _equal_error(fpr, tpr),
    }
    undefined = (totals == 0).any(axis=1)
    return {name: np.where(undefined, np.nan, values) for name, values in result.items()}


def _partial_area(fpr: np.ndarray, tpr: np.ndarray, limit: float) -> np.ndarray:
    """Area under the ROC curve up to `limit`, scaled so that chance is 0.5 and the best 1 (McClish 1989)."""
    width = np.clip(np.minimum(fpr[:, 1:], limit) - fpr[:, :-1], 0, None)
    step = np.diff(fpr)
    slope = np.divide(np.diff(tpr), step, out=np.zeros_like(step), where=step > 0)
    area = (width * (tpr[:, :-1] + slope * width / 2)).sum(axis=1)
    chance = limit**2 / 2
    return (1 + (area - chance) / (limit - chance)) / 2


def _equal_error(fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """Where misses equal false alarms, linear between points of the ROC curve."""
    gap = fpr + tpr - 1  # false alarms less misses: rises from -1 to 1
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    g0, g1 = gap[rows, after - 1], gap[rows, after]
    share = np.where(g1 > g0, -g0 / (g1 - g0), 0)
    return fpr[rows, after - 1] + share * (fpr[rows, after] - fpr[rows, after - 1])


def _point_metrics(
    label: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    called = probability >= threshold
    safe = np.clip(probability, 1e-7, 1 - 1e-7)
    surprise = -(label * np.log(safe) + (1 - label) * np.log(1 - safe))
    columns = [np.ones_like(label), label, label * called, (1 - label) * called, surprise, (probability - label) ** 2]
    total, positives, tp, fp, log_loss, brier = (weights @ np.stack(columns, axis=1)).T
    negatives = total - positives
    recall, fpr = tp / positives, fp / negatives
    return {
        "accuracy": (tp + negatives - fp) / total,
        "balanced_accuracy": (recall + 1 - fpr) / 2,
        "precision": tp / (tp + fp),
        "recall": recall,
        "fpr": fpr,
        "f1": 2 * tp / (positives + tp + fp),
        "log_loss": log_loss / total,
        "brier": brier / total,
        "ece": calibration_error(label, probability, weights),
    }


def calibration_error(label: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over bins that hold equally many samples (Nixon et al. 2019), (draws,).

    Samples of one probability share a bin, so that their order says nothing.
    """
    bins = min(ECE_BINS, len(label))
    bin_of = np.floor((rankdata(probability) - 0.5) * bins / len(label)).astype(int)
    gap = np.zeros(len(weights))
    for members in (np.flatnonzero(bin_of == number) for number in np.unique(bin_of)):
        gap += np.abs(weights[:, members] @ (probability[members] - label[members]))
    return gap / weights.sum(axis=1)


def video_auc(label: ArrayLike, logit: ArrayLike) -> float:
    """AUC, or one half where only one class is there (early stopping needs a number)."""
    return float(roc_auc_score(label, logit)) if len(np.unique(label)) == 2 else 0.5
