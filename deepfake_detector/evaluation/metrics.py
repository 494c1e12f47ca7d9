"""Classification metrics, each computed for many weightings of the samples at once, as a bootstrap needs them.

To add a metric, write a function of `WeightedScores` and add one line to METRICS, with scale="linear" if the metric can
be negative. tests/test_metrics.py wants a reference for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

ECE_BINS = 10
MAX_FPR = 0.1  # end of the partial AUC

# Scale on which the interval of a metric is symmetric: logit for proportions, log for positive numbers. See
# intervals.interval.
Scale = Literal["linear", "log", "logit"]


@dataclass(frozen=True)
class WeightedScores:
    """Scores of n samples under several weightings, and what more than one metric needs, computed once.

    Attributes:
        label: 0 (real) or 1 (fake), float (n,).
        probability: of being fake, float (n,). Only calibration metrics and log loss need it to be a probability.
        weights: float (draws, n), not negative.
        threshold: probability from which a sample counts as flagged; chosen on other data.
    """

    label: np.ndarray
    probability: np.ndarray
    weights: np.ndarray
    threshold: float = 0.5

    def total(self, values: np.ndarray) -> np.ndarray:
        """Weighted sum of `values` (n,) over the samples: (draws,)."""
        result: np.ndarray = self.weights @ values
        return result

    @cached_property
    def positives(self) -> np.ndarray:
        """Weight of the fakes, (draws,)."""
        return self.total(self.label)

    @cached_property
    def negatives(self) -> np.ndarray:
        """Weight of the reals, (draws,)."""
        return self.total(1 - self.label)

    @cached_property
    def _flagged(self) -> np.ndarray:
        return self.probability >= self.threshold

    @cached_property
    def true_positives(self) -> np.ndarray:
        """Weight of the flagged fakes, (draws,)."""
        return self.total(self.label * self._flagged)

    @cached_property
    def false_positives(self) -> np.ndarray:
        """Weight of the flagged reals, (draws,)."""
        return self.total((1 - self.label) * self._flagged)

    @cached_property
    def _curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the fakes and of the reals at or above each distinct score, (draws, 1 + scores) each."""
        order = np.argsort(-self.probability, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(self.probability[order]) != 0, True))  # equal scores enter together
        label, weights, start = self.label[order], self.weights[:, order], np.zeros((len(self.weights), 1))
        fakes, reals = (np.cumsum(weights * kind, axis=1)[:, ends] for kind in (label, 1 - label))
        return np.hstack([start, fakes]), np.hstack([start, reals])

    @cached_property
    def tpr(self) -> np.ndarray:
        """True-positive rate along the ROC curve from (0, 0) on, (draws, points); nan if a class has no weight."""
        return ratio(self._curve[0], self._defined(self.positives)[:, None])

    @cached_property
    def fpr(self) -> np.ndarray:
        """False-positive rate along the ROC curve, likewise."""
        return ratio(self._curve[1], self._defined(self.negatives)[:, None])

    @cached_property
    def precision(self) -> np.ndarray:
        """Precision along the ROC curve, 0 at (0, 0), (draws, points)."""
        fakes, reals = self._curve
        return np.asarray(np.nan_to_num(ratio(fakes, fakes + reals)))

    def balanced_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over reals and fakes of the weighted mean of `values` (n,) in each, (draws,); of one class if alone.

        Probabilities assume that half of all videos are fakes. So they are judged with both kinds weighing alike,
        whatever the mix of the test set: right probabilities would otherwise look wrong.
        """
        parts = np.stack([ratio(self.total(values * kind), self.total(kind)) for kind in (self.label, 1 - self.label)])
        present = ~np.isnan(parts)
        return ratio(np.where(present, parts, 0).sum(axis=0), present.sum(axis=0).astype(float))

    def _defined(self, total: np.ndarray) -> np.ndarray:
        return np.where((self.positives > 0) & (self.negatives > 0), total, 0)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, nan where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.asarray(np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0))


def _sum_rows(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.sum(axis=1))


def auc(scores: WeightedScores) -> np.ndarray:
    """Area under the ROC curve, by the trapezoidal rule."""
    return _sum_rows(np.diff(scores.fpr) * (scores.tpr[:, 1:] + scores.tpr[:, :-1]) / 2)


def partial_auc(scores: WeightedScores) -> np.ndarray:
    """Area under the ROC curve up to MAX_FPR, scaled so that chance is 0.5 and the best value 1 (McClish 1989)."""
    fpr, tpr = scores.fpr, scores.tpr
    width = np.clip(np.minimum(fpr[:, 1:], MAX_FPR) - fpr[:, :-1], 0, None)
    step = np.diff(fpr)
    slope = np.divide(np.diff(tpr), step, out=np.zeros_like(step), where=step > 0)
    area = _sum_rows(width * (tpr[:, :-1] + slope * width / 2))
    chance = MAX_FPR**2 / 2
    return np.asarray((1 + (area - chance) / (MAX_FPR - chance)) / 2)


def recall_at_fpr(scores: WeightedScores, limit: float) -> np.ndarray:
    """Highest recall at a false-positive rate of at most `limit`."""
    return np.asarray(np.where(scores.fpr > limit, 0, scores.tpr).max(axis=1))


def average_precision(scores: WeightedScores) -> np.ndarray:
    """Precision averaged over the steps of recall, without interpolation, as scikit-learn computes it."""
    return _sum_rows(np.diff(scores.tpr) * scores.precision[:, 1:])


def equal_error_rate(scores: WeightedScores) -> np.ndarray:
    """Rate at which false positives equal false negatives, linear between points of the ROC curve."""
    fpr = scores.fpr
    gap = fpr + scores.tpr - 1  # false-positive rate less false-negative rate: rises from -1 to 1
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    gap_before, gap_after = gap[rows, after - 1], gap[rows, after]
    fraction = np.where(gap_after > gap_before, ratio(-gap_before, gap_after - gap_before), 0)
    return np.asarray(fpr[rows, after - 1] + fraction * (fpr[rows, after] - fpr[rows, after - 1]))


def accuracy(scores: WeightedScores) -> np.ndarray:
    true_negatives = scores.negatives - scores.false_positives
    return ratio(scores.true_positives + true_negatives, scores.positives + scores.negatives)


def balanced_accuracy(scores: WeightedScores) -> np.ndarray:
    return np.asarray((recall(scores) + 1 - false_positive_rate(scores)) / 2)


def precision(scores: WeightedScores) -> np.ndarray:
    return ratio(scores.true_positives, scores.true_positives + scores.false_positives)


def recall(scores: WeightedScores) -> np.ndarray:
    return ratio(scores.true_positives, scores.positives)


def false_positive_rate(scores: WeightedScores) -> np.ndarray:
    return ratio(scores.false_positives, scores.negatives)


def f1(scores: WeightedScores) -> np.ndarray:
    return ratio(2 * scores.true_positives, scores.positives + scores.true_positives + scores.false_positives)


def log_loss(scores: WeightedScores) -> np.ndarray:
    """Mean negative log-likelihood, both kinds weighing alike; probabilities are clipped to 1e-7 from 0 and 1."""
    probability = np.clip(scores.probability, 1e-7, 1 - 1e-7)
    losses = -(scores.label * np.log(probability) + (1 - scores.label) * np.log(1 - probability))
    return scores.balanced_mean(losses)


def brier(scores: WeightedScores) -> np.ndarray:
    """Mean squared error of the probability, both kinds weighing alike."""
    return scores.balanced_mean((scores.probability - scores.label) ** 2)


def equal_mass_bins(probability: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each sample, int (n,), from 0: bins hold equally many samples, and equal probabilities share one."""
    size = len(probability)
    return np.asarray(np.floor((rankdata(probability) - 0.5) * min(bins, size) / size), int)


def calibration_error(scores: WeightedScores) -> np.ndarray:
    """Expected calibration error (ECE) over bins that hold equally many samples (Nixon et al. 2019).

    Both kinds weigh alike. Samples of equal probability share a bin, so their order does not matter.
    """
    bin_of = equal_mass_bins(scores.probability, ECE_BINS)
    error = scores.probability - scores.label
    parts = (scores.balanced_mean(error * (bin_of == number)) for number in np.unique(bin_of))
    return np.asarray(sum(np.abs(part) for part in parts))


@dataclass(frozen=True)
class Metric:
    """How a metric is computed for each weighting, (draws,), and reported. nan stands where it is undefined."""

    function: Callable[[WeightedScores], np.ndarray]
    title: str
    scale: Scale = "logit"
    counted: Literal["all", "real", "fake"] = "all"  # the samples that a proportion is one of


METRICS = {
    "auc": Metric(auc, "AUC"),
    "pauc": Metric(partial_auc, "partial AUC, FPR ≤ 10 % (0.5 is chance)"),
    "tpr_at_fpr_1": Metric(partial(recall_at_fpr, limit=0.01), "TPR at FPR 1 %", counted="fake"),
    "tpr_at_fpr_5": Metric(partial(recall_at_fpr, limit=0.05), "TPR at FPR 5 %", counted="fake"),
    "ap": Metric(average_precision, "average precision"),
    "eer": Metric(equal_error_rate, "equal error rate"),
    "accuracy": Metric(accuracy, "accuracy"),
    "balanced_accuracy": Metric(balanced_accuracy, "balanced accuracy"),
    "precision": Metric(precision, "precision"),
    "recall": Metric(recall, "recall (TPR)", counted="fake"),
    "fpr": Metric(false_positive_rate, "false-positive rate", counted="real"),
    "f1": Metric(f1, "F1"),
    "log_loss": Metric(log_loss, "log loss", "log"),
    "brier": Metric(brier, "Brier score"),
    "ece": Metric(calibration_error, "ECE, equal-mass bins"),
}


def measure(label: ArrayLike, probability: ArrayLike, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric for every row of weights: name to (draws,). Arguments as for `WeightedScores`."""
    scores = WeightedScores(np.asarray(label, float), np.asarray(probability, float), weights, threshold)
    return {name: metric.function(scores) for name, metric in METRICS.items()}


def roc_auc(label: ArrayLike, logit: ArrayLike) -> float:
    """AUC, or 0.5 if only one class is present (early stopping needs a number)."""
    return float(roc_auc_score(label, logit)) if len(np.unique(label)) == 2 else 0.5
