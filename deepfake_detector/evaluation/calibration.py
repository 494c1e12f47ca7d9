"""From logits to probabilities and verdicts, fitted on validation videos alone."""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

DECIMALS = 6  # of probabilities and thresholds: what files hold is what verdicts are based on
PRIOR_DECIMALS = 3  # more under another prior than one half, which may make odds a thousand times smaller
UNCERTAIN_ERROR = 0.1  # largest fraction of validation videos of either class on the wrong side of the uncertain band
VERDICT_TEXTS = {"fake": "flagged", "real": "not flagged", "uncertain": "uncertain"}


class Calibration(BaseModel):
    """Turns the logit of a video into a probability and a verdict. `fit_calibration` makes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    scale: float = Field(ge=1e-9, le=1e9)
    bias: float = Field(ge=-1e6, le=1e6)
    threshold: float = Field(ge=0, le=1)  # probability from which a video counts as fake
    low: float = Field(ge=0, le=1)  # probability from which the verdict is "uncertain"
    high: float = Field(ge=0, le=1)  # probability from which it no longer is
    method: str = "platt"  # files of detectors have it; nothing reads it
    aggregation: str = "mean_logit"  # how the logits of a video's faces become one: a name in AGGREGATORS
    operating_point: str = "eer"  # how the threshold was chosen: see choose_threshold
    face_scale: float | None = Field(
        default=None, ge=1e-9, le=1e9
    )  # of single faces; None: they are calibrated like videos
    face_bias: float = Field(default=0.0, ge=-1e6, le=1e6)
    prior: float = Field(default=0.5, gt=0, lt=1)  # share of fakes among all videos that every probability assumes

    def log_odds(self, logit: float) -> float:
        """Log-odds of being fake, where the share of fakes among all videos is `prior`."""
        return self.scale * logit + self.bias

    def probability_of(self, log_odds: ArrayLike) -> np.ndarray:
        """Probability of the shape of `log_odds`, rounded to 6 decimals, or to 9 if the prior is not one half."""
        return sigmoid(log_odds).round(DECIMALS + PRIOR_DECIMALS * (self.prior != 0.5))

    def probability(self, logit: ArrayLike) -> np.ndarray:
        """Calibrated probability of being fake, as `probability_of` rounds it."""
        return self.probability_of(self.scale * np.asarray(logit, float) + self.bias)

    def face_probability(self, logit: ArrayLike) -> np.ndarray:
        """Calibrated probability that a single face is manipulated, as `probability_of` rounds it."""
        scale, bias = (self.scale, self.bias) if self.face_scale is None else (self.face_scale, self.face_bias)
        return self.probability_of(scale * np.asarray(logit, float) + bias)

    def with_prior(self, prior: float) -> "Calibration":
        """The same with probabilities for another share of fakes among all videos, from 0.001 to 0.999.

        No verdict changes, but perhaps that of a probability within 0.000002 of a threshold.
        """
        shift = float(logit_of(prior) - logit_of(self.prior))
        biases = {"bias": self.bias + shift, "face_bias": self.face_bias + shift}
        moved = self.model_copy(update=biases | {"prior": prior})
        limits = ("threshold", "low", "high")
        return moved.model_copy(
            update={name: float(moved.probability_of(logit_of(getattr(self, name)) + shift)) for name in limits}
        )

    def verdict(self, probability: ArrayLike) -> np.ndarray:
        """`real`, `uncertain` or `fake` for each value of `probability`. Nothing else decides a verdict."""
        p = np.asarray(probability, float)
        decided = np.where(p >= self.threshold, "fake", "real")
        return np.where((p >= self.low) & (p < self.high), "uncertain", decided)


UNINFORMATIVE = 1e-6, 0.0  # scale and bias with which every probability is one half
LEAST_SPREAD = 1e-5  # relative to the logits, which are float32: below it their differences are errors of rounding


def sigmoid(logit: ArrayLike) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(logit, float), -30, 30))))


def logit_of(probability: ArrayLike) -> np.ndarray:
    """Log-odds of probabilities, between -30 and 30."""
    p = np.asarray(probability, float)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -30, 30)


def fit_calibration(
    label: ArrayLike,
    logit: ArrayLike,
    operating_point: str = "eer",
    aggregation: str = "mean_logit",
    videos: ArrayLike | None = None,
) -> Calibration:
    """Fit Platt scaling (2000) to validation videos, then threshold and uncertain band.

    It is fitted with Firth's penalty (see `_fit`), so a separable set does not give certainty. Real and fake are
    weighted as equally likely.

    Args:
        label: 0 or 1 for each validation video; both must occur.
        logit: float, same length.
        operating_point: `eer`, `youden` or `fpr=0.05` (any rate): see `choose_threshold`.
        aggregation: how `logit` was made from the logits of faces; recorded in the result.
        videos: the video of each sample, if these are single faces or people: the samples of a video count as one,
            because they are much alike.

    Raises:
        ValueError: if one class is missing.
    """
    label, logit = np.asarray(label, int), np.asarray(logit, float)
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    if not real or not fake:
        raise ValueError(f"calibration needs real and fake validation videos; there are {real} real and {fake} fake")
    share = _share_of_video(np.arange(len(label)) if videos is None else np.asarray(videos))
    scale, bias = _fit(label, logit, _balance(label, share))
    probability = sigmoid(scale * logit + bias).round(DECIMALS)
    threshold = choose_threshold(label, probability, operating_point)
    # The band in which validation videos of both classes lie or, if they do not overlap, in which none lies.
    edges = [
        round(float(np.quantile(probability[label == 1], UNCERTAIN_ERROR)), DECIMALS),
        round(float(np.quantile(probability[label == 0], 1 - UNCERTAIN_ERROR)), DECIMALS),
    ]
    return Calibration(
        scale=scale,
        bias=bias,
        threshold=threshold,
        low=min(threshold, *edges),
        high=max(threshold, *edges),
        aggregation=aggregation,
        operating_point=operating_point,
    )


def _fit(label: np.ndarray, logit: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Scale and bias of a logistic regression with Firth's penalty (1993; Heinze & Schemper 2002).

    The penalty is Jeffreys' prior: half the logarithm of the determinant of the information. It keeps the scale finite
    where the classes do not overlap, and has no constant to choose.
    """
    from scipy.optimize import minimize  # here: inference does not need it

    centre, spread = logit.mean(), logit.std()
    if spread <= LEAST_SPREAD * max(1.0, np.abs(logit).max()):
        return UNINFORMATIVE
    design = np.stack([(logit - centre) / spread, np.ones_like(logit)], axis=1)

    def loss(coefficients: np.ndarray) -> float:
        z = np.clip(design @ coefficients, -30, 30)
        p = sigmoid(z)
        information = (design * (weight * p * (1 - p))[:, None]).T @ design
        return float((weight * (np.logaddexp(0, z) - label * z)).sum() - np.linalg.slogdet(information)[1] / 2)

    scale, bias = minimize(loss, [1.0, 0.0]).x
    # A detector that ranks validation videos the wrong way round says nothing.
    return (float(scale / spread), float(bias - scale / spread * centre)) if scale > 0 else UNINFORMATIVE


def _share_of_video(videos: np.ndarray) -> np.ndarray:
    """The part of its video that each sample is, (n,)."""
    codes = np.unique(videos, return_inverse=True)[1]
    return np.asarray(1 / np.bincount(codes)[codes])


def _balance(label: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Weights in proportion to `share` that give both classes the same total, and together the number of videos."""
    total = np.bincount(label, share, minlength=2)
    return np.asarray(share * (total.sum() / 2 / total)[label])


def _log_loss(label: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(0, log_odds) - label * log_odds)


def calibrated_loss(label: ArrayLike, logit: ArrayLike, groups: ArrayLike) -> tuple[float, np.ndarray]:
    """Log loss of `logit` after Platt scaling on the same data, with real and fake weighted as equally likely.

    It does not depend on the scale and bias of `logit`, nor on the proportion of fakes.

    Args:
        label: 0 or 1, (n,); both must occur.
        logit: float, (n,).
        groups: group of people of each sample, (n,).

    Returns:
        The loss, and how much each group raises it above what all lose on average, float (groups,), in the order of
        their names. `standard_error` makes an error of it.
    """
    label, logit = np.asarray(label, int), np.asarray(logit, float)
    weight = _balance(label, np.ones(len(label)))
    losses = weight * _log_loss(label, np.polyval(_fit(label, logit, weight), logit))
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    return float(losses.mean()), np.bincount(codes, losses - losses.mean()) / len(losses)


def standard_error(deviations: np.ndarray) -> float:
    """Standard error of a mean over groups from `deviations` (groups,), as `calibrated_loss` gives them.

    The difference of two such arrays gives the error of the difference of two losses on the same samples. Samples of a
    group are correlated, groups are not.
    """
    return float(np.sqrt((deviations**2).sum() * len(deviations) / max(1, len(deviations) - 1)))


def choose_threshold(label: np.ndarray, probability: np.ndarray, operating_point: str) -> float:
    """Probability from which a video counts as fake: midway between neighbouring probabilities, rounded to 6 decimals.

    Args:
        label: 0 or 1, (n,); both must occur.
        probability: of being fake, float (n,).
        operating_point: `eer`: equal false-positive and false-negative rates. `youden`: smallest sum of the two (Youden
            1950). `fpr=x`: highest recall at a false-positive rate of at most x.
    """
    from sklearn.metrics import roc_curve

    fpr, tpr, thresholds = roc_curve(label, probability, drop_intermediate=False)
    if operating_point == "eer":
        gap = np.abs(fpr - (1 - tpr)).round(12)  # so that of equal gaps the highest threshold is taken
        at = int(np.argmin(gap))
    elif operating_point == "youden":
        at = int(np.argmax(tpr - fpr))
    else:
        limit = float(operating_point.removeprefix("fpr="))
        at = int(np.flatnonzero(fpr <= limit)[-1])
        at = int(np.argmax(tpr >= tpr[at]))  # of points with the same recall, the one with the fewest false positives
    upper = float(thresholds[at]) if np.isfinite(thresholds[at]) else 1.0
    lower = float(probability[probability < upper].max(initial=0.0))
    threshold = round((upper + lower) / 2, DECIMALS)
    return threshold if lower < threshold <= upper else upper  # rounding must not move a video to the other side
