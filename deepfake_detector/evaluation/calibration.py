"""From logits to probabilities and verdicts, learnt on validation videos alone."""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

UNCERTAIN_ERROR = (
    0.1  # outside the uncertain band, at most this share of validation videos of either kind is judged wrongly
)
FOLDS = 10  # in which groups of people are left out in turn, to choose how to calibrate
EARNED = 1e-3  # share of the log loss by which Platt's second number must pay for itself


class Calibration(BaseModel):
    """What turns the logit of a video into a probability and a verdict. Fitted by `fit_calibration`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scale: float = Field(gt=0)
    bias: float
    threshold: float = Field(ge=0, le=1)  # probability from which a video counts as fake
    low: float = Field(ge=0, le=1)  # from here
    high: float = Field(ge=0, le=1)  # to here the verdict is "uncertain"
    method: str = "platt"  # or temperature
    aggregate: str = "mean_logit"  # how the logit of a video came from those of its faces
    operating_point: str = "eer"  # what the threshold was chosen for

    def probability(self, logit: ArrayLike) -> np.ndarray:
        """Calibrated probability of being fake, of the shape of `logit`."""
        return sigmoid(self.scale * np.asarray(logit, float) + self.bias)

    def verdict(self, probability: ArrayLike) -> np.ndarray:
        """real, uncertain or fake for each probability."""
        p = np.asarray(probability, float)
        judged = np.where(p >= self.threshold, "fake", "real")
        return np.where((p >= self.low) & (p < self.high), "uncertain", judged)


def sigmoid(logit: ArrayLike) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(np.asarray(logit, float), -30, 30)))


def fit_calibration(
    label: ArrayLike, logit: ArrayLike, groups: ArrayLike, operating_point: str = "eer", aggregate: str = "mean_logit"
) -> Calibration:
    """Temperature or Platt scaling, whichever predicts unseen groups of people better; then threshold and uncertain band.

    Both are fitted to Platt's smoothed targets (1999), so that a separable set gives no certainty, with real and fake weighted
    as equally likely. Platt's has one number more to learn; which is better is judged by the log loss of each group of people
    under the fit to the others.

    Args:
        label: 0 or 1 for each validation video; both must occur.
        logit: float, same length.
        groups: of people, same length.
        operating_point: `eer`, `youden` or `fpr=0.05` (any share): see `choose_threshold`.
        aggregate: how `logit` came from the faces' logits; remembered only.

    Raises:
        ValueError: if only one kind of video is there.
    """
    label, logit, groups = np.asarray(label), np.asarray(logit, float), np.asarray(groups)
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    if not real or not fake:
        raise ValueError(f"calibration needs real and fake validation videos; there are {real} real and {fake} fake")
    platt, temperature = (_unseen_loss(method, label, logit, groups) for method in ("platt", "temperature"))
    method = "temperature" if temperature <= platt * (1 + EARNED) < np.inf else "platt"
    scale, bias = _fit(method, label, logit)
    probability = sigmoid(scale * logit + bias)
    threshold = choose_threshold(label, probability, operating_point)
    # Where validation videos of both kinds overlap, or, if they do not, where there are none to learn from.
    edges = (
        np.quantile(probability[label == 1], UNCERTAIN_ERROR),
        np.quantile(probability[label == 0], 1 - UNCERTAIN_ERROR),
    )
    return Calibration(
        scale=scale,
        bias=bias,
        threshold=threshold,
        low=min(threshold, *map(float, edges)),
        high=max(threshold, *map(float, edges)),
        method=method,
        aggregate=aggregate,
        operating_point=operating_point,
    )


def _fit(method: str, label: np.ndarray, logit: np.ndarray) -> tuple[float, float]:
    """Scale and bias; temperature scaling (Guo et al. 2017) leaves the bias at 0."""
    from sklearn.linear_model import (
        LogisticRegression,
    )  # here: judging needs none of it, and it takes seconds to import

    target, balance = _targets(label)
    model = LogisticRegression(C=1e6, fit_intercept=method == "platt").fit(
        np.tile(logit, 2)[:, None],
        np.repeat([1, 0], len(logit)),
        sample_weight=np.concatenate([target, 1 - target]) * np.tile(balance, 2),
    )
    scale, bias = float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0])
    # A detector that ranks validation the wrong way round knows nothing: say one half of everything.
    return (scale, bias) if scale > 0 else (1e-6, 0.0)


def _targets(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Platt's targets, and weights with which both kinds weigh the same."""
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    target = np.where(label == 1, (fake + 1) / (fake + 2), 1 / (real + 2))
    return target, np.where(label == 1, 0.5 / max(fake, 1), 0.5 / max(real, 1)) * len(label)


def _unseen_loss(method: str, label: np.ndarray, logit: np.ndarray, groups: np.ndarray) -> float:
    """Log loss of the videos of each fold of groups under the fit to the other folds; infinite where those lack a kind."""
    loss, (target, balance) = 0.0, _targets(label)
    folds = np.unique(groups, return_inverse=True)[1] % FOLDS
    for fold in np.unique(folds):
        out = folds == fold
        if len(np.unique(label[~out])) < 2:
            return np.inf
        p = sigmoid(np.polyval(_fit(method, label[~out], logit[~out]), logit[out]))
        loss += float((balance[out] * _log_loss(target[out], p)).sum())
    return loss


def _log_loss(target: np.ndarray, p: np.ndarray) -> np.ndarray:
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def calibrated_loss(label: ArrayLike, logit: ArrayLike, groups: ArrayLike) -> tuple[float, float]:
    """Log loss of `logit` after Platt scaling on the same data, with real and fake weighted as equally likely.

    What answers are worth, whatever their scale and bias and whatever share of `label` (0 or 1; both must occur) is fake. And its
    standard error, over `groups` of people: the faces of one say much the same.
    """
    label, logit = np.asarray(label), np.asarray(logit, float)
    target, balance = _targets(label)
    losses = balance * _log_loss(target, sigmoid(np.polyval(_fit("platt", label, logit), logit)))
    sums = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1], losses - losses.mean())
    error = np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1)) / len(losses)
    return float(losses.mean()), float(error)


def choose_threshold(label: np.ndarray, probability: np.ndarray, operating_point: str) -> float:
    """The probability from which to say fake, midway between neighbouring scores.

    `eer`: as large a share of reals as of fakes is misjudged. `youden`: the two shares together are smallest (Youden 1950).
    `fpr=x`: most fakes are found with at most a share x of reals called fake.
    """
    from sklearn.metrics import roc_curve

    fpr, tpr, thresholds = roc_curve(label, probability, drop_intermediate=False)
    if operating_point == "eer":
        at = int(np.argmin(np.abs(fpr - (1 - tpr))))
    elif operating_point == "youden":
        at = int(np.argmax(tpr - fpr))
    else:
        limit = float(operating_point.removeprefix("fpr="))
        at = int(np.flatnonzero(fpr <= limit)[-1])
        at = int(np.argmax(tpr >= tpr[at]))  # of equals the one with the fewest false alarms
    upper = thresholds[at] if np.isfinite(thresholds[at]) else 1.0
    lower = probability[probability < upper].max(initial=0.0)
    return float((upper + lower) / 2)
