"""From logits to probabilities and verdicts, learnt on validation videos alone."""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

UNCERTAIN_ERROR = 0.1  # outside the uncertain band, at most this share of validation videos of either kind is judged wrongly


class Calibration(BaseModel):
    """What turns the logit of a video into a probability and a verdict. Fitted by `fit_calibration`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scale: float = Field(gt=0)
    bias: float
    threshold: float = Field(ge=0, le=1)  # probability from which a video counts as fake
    low: float = Field(ge=0, le=1)  # from here
    high: float = Field(ge=0, le=1)  # to here the verdict is "uncertain"

    def probability(self, logit: ArrayLike) -> np.ndarray:
        """Calibrated probability of being fake, of the shape of `logit`."""
        return 1 / (1 + np.exp(-np.clip(self.scale * np.asarray(logit, float) + self.bias, -30, 30)))

    def verdict(self, probability: ArrayLike) -> np.ndarray:
        """real, uncertain or fake for each probability."""
        p = np.asarray(probability, float)
        judged = np.where(p >= self.threshold, "fake", "real")
        return np.where((p >= self.low) & (p < self.high), "uncertain", judged)


def fit_calibration(label: np.ndarray, logit: np.ndarray) -> Calibration:
    """Platt scaling with Platt's smoothed targets (1999), so that a separable set gives no certainty; threshold at equal error.

    Args:
        label: 0 or 1 for each validation video; both must occur.
        logit: float, same length.

    Raises:
        ValueError: if only one kind of video is there.
    """
    from sklearn.linear_model import LogisticRegression  # here: judging needs none of it, and it takes seconds to import

    label, logit = np.asarray(label), np.asarray(logit, float)
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    if not real or not fake:
        raise ValueError(f"calibration needs real and fake validation videos; there are {real} real and {fake} fake")
    target = np.where(label == 1, (fake + 1) / (fake + 2), 1 / (real + 2))
    balance = np.where(label == 1, 0.5 / fake, 0.5 / real) * len(label)  # probabilities for real and fake being equally likely
    platt = LogisticRegression(C=1e6).fit(
        np.tile(logit, 2)[:, None],
        np.repeat([1, 0], len(logit)),
        sample_weight=np.concatenate([target, 1 - target]) * np.tile(balance, 2),
    )
    scale, bias = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if scale <= 0:  # a detector that ranks validation the wrong way round knows nothing: say one half of everything
        scale, bias = 1e-6, 0.0
    draft = Calibration(scale=scale, bias=bias, threshold=0.5, low=0.5, high=0.5)
    probability = draft.probability(logit)
    threshold = equal_error_threshold(label, probability)
    low = min(threshold, float(np.quantile(probability[label == 1], UNCERTAIN_ERROR)))
    high = max(threshold, float(np.quantile(probability[label == 0], 1 - UNCERTAIN_ERROR)))
    return Calibration(scale=scale, bias=bias, threshold=threshold, low=low, high=high)


def equal_error_threshold(label: np.ndarray, probability: np.ndarray) -> float:
    """The probability at which as large a share of reals as of fakes is misjudged: midway between neighbouring scores."""
    from sklearn.metrics import roc_curve

    false_alarm, hit, thresholds = roc_curve(label, probability, drop_intermediate=False)
    at = int(np.argmin(np.abs(false_alarm - (1 - hit))))
    upper = thresholds[at] if np.isfinite(thresholds[at]) else 1.0
    lower = probability[probability < upper].max(initial=0.0)
    return float((upper + lower) / 2)
