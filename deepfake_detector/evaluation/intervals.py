"""95 % intervals from a bootstrap that draws whole groups of people."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from deepfake_detector.evaluation.metrics import METRICS, Scale, measure

MIN_RELIABLE = 10  # with fewer groups of people, or fewer videos of a class, a summary is marked as a small sample
CHUNK = 4_000_000  # weights held at once: bounds memory whatever the number of samples

Number = float | int | None


def group_draws(groups: ArrayLike, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of groups with replacement.

    Whole groups of people are drawn, not videos, because videos of one person are correlated (cluster bootstrap; Field
    & Welsh 2007).

    Returns:
        How often each draw took each group, float (draws + 1, groups), the first row all ones; the group of each
        sample, int (n,).
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    total = int(codes.max()) + 1
    counts = np.random.default_rng(seed).multinomial(total, np.full(total, 1 / total), size=draws)
    return np.vstack([np.ones(total), counts]), codes


def bootstrap(
    statistic: Callable[[np.ndarray], dict[str, np.ndarray]], groups: ArrayLike, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Values of statistics on the data and on bootstrap draws of groups.

    Args:
        statistic: takes sample weights (some draws, n) to a value for each draw, by name.
        groups: group of each sample, (n,).

    Returns:
        Name to (draws + 1,), the value on the data first.
    """
    counts, codes = group_draws(groups, draws, seed)
    rows = max(1, CHUNK // len(codes))
    parts = [statistic(counts[start : start + rows, codes]) for start in range(0, len(counts), rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def effective_groups(label: ArrayLike, groups: ArrayLike) -> float:
    """How many groups a statistic of both classes rests on: all, or fewer where a class is of few.

    The draws show how groups of each class differ with the degrees of freedom of Welch (1947). A class of a single
    group does not show it: then the number is 1, and there is no interval.
    """
    label, groups = np.asarray(label), np.asarray(groups)
    total = len(np.unique(groups))
    counts = np.array([len(np.unique(groups[label == kind])) for kind in np.unique(label)])
    if len(counts) < 2:
        return total
    if counts.min() < 2:
        return 1
    return min(total, 1 + (1 / counts).sum() ** 2 / (1 / (counts**2 * (counts - 1))).sum())


def interval(values: np.ndarray, groups: float, scale: Scale = "linear", samples: int = 0) -> tuple[Number, Number]:
    """95 % interval of a statistic; (None, None) if it has none.

    A proportion (`logit`) has the exact interval (Clopper & Pearson 1934) for as many independent trials as would vary
    as much as the draws do, corrected for few groups (Korn & Graubard 1998). They are at most as many as the samples:
    near 0 and 1 few samples are on the wrong side, and draws of them vary too little. If it is 0 or 1, there are as
    many trials as groups: three people without an error prove little.

    Any other statistic has Student's t times the standard deviation of the draws, on its logarithm for `log`. If it is
    the same on every draw it has no interval. Percentiles of the draws miss the true value too often if groups are few
    (Hesterberg 2015; benchmarks/bootstrap.py).

    Args:
        values: value on the data, then on each draw, (draws + 1,); nan where undefined.
        groups: how many groups the statistic rests on.
        samples: how many samples a proportion is one of; 0: not known, then it needs draws that vary.
    """
    value = round(float(values[0]), 12)  # a sum of rates may miss 0 or 1 by a rounding error
    drawn = values[1:][~np.isnan(values[1:])]
    if groups < 2 or len(drawn) < 2 or np.isnan(value):
        return None, None
    factor = float(stats.t.ppf(0.975, groups - 1)) * np.sqrt(groups / (groups - 1))
    width = factor * float(drawn.std(ddof=1))
    if scale == "logit":
        return _proportion_interval(value, width, groups, samples)
    if width < 1e-12:
        return None, None
    if scale == "log":
        return number(value * np.exp(-width / value)), number(value * np.exp(width / value))
    return number(value - width), number(value + width)


def _proportion_interval(value: float, width: float, groups: float, samples: int) -> tuple[Number, Number]:
    """`width`: half of the interval, if the proportion were normal."""
    trials = groups
    if 0 < value < 1:
        if width < 1e-12 and not samples:
            return None, None
        trials = value * (1 - value) * (stats.norm.ppf(0.975) / width) ** 2 if width >= 1e-12 else np.inf
        trials = min(trials, samples or np.inf)
    found, missed = value * trials, (1 - value) * trials
    low = stats.beta.ppf(0.025, found, missed + 1) if value > 0 else 0.0
    high = stats.beta.ppf(0.975, found + 1, missed) if value < 1 else 1.0
    return number(low), number(high)


def summarise(
    label: ArrayLike, probability: ArrayLike, threshold: float, groups: ArrayLike, draws: int, seed: int
) -> dict[str, Number]:
    """Each metric with its 95 % interval from a bootstrap over `groups`.

    Returns:
        `n`, `real`, `fake`, `groups`: the number of samples, of those of each class, and of groups. Then each name in
        METRICS with `<name>_low` and `<name>_high`; None where undefined.
    """
    label, probability = np.asarray(label), np.asarray(probability, float)
    total = len(np.unique(groups))
    real, fake = (int((label == kind).sum()) for kind in (0, 1))
    result: dict[str, Number] = {"n": len(label), "real": real, "fake": fake, "groups": total}
    if not len(label):
        return result | {f"{name}{end}": None for name in METRICS for end in ("", "_low", "_high")}
    values = bootstrap(lambda weights: measure(label, probability, threshold, weights), groups, draws, seed)
    groups = np.asarray(groups)
    real_groups, fake_groups = (len(np.unique(groups[label == kind])) for kind in (0, 1))
    rests_on = {
        "all": (effective_groups(label, groups), len(label)),
        "real": (real_groups, real),
        "fake": (fake_groups, fake),
    }
    for name, drawn in values.items():
        result[name] = number(drawn[0])
        number_of_groups, samples = rests_on[METRICS[name].counted]
        result[f"{name}_low"], result[f"{name}_high"] = interval(drawn, number_of_groups, METRICS[name].scale, samples)
    return result


def is_small_sample(summary: dict[str, Number]) -> bool:
    """Whether a summary rests on few groups of people, or on few videos of a class that it has at all."""
    counts = [summary["groups"], *(summary[kind] for kind in ("real", "fake") if summary[kind])]
    return any(count is not None and count < MIN_RELIABLE for count in counts)


def number(value: float) -> float | None:
    """Rounded to 6 decimals; None for nan, which strict JSON lacks."""
    return None if np.isnan(value) else round(float(value), 6)


def format_interval(row: Mapping[str, Number], name: str) -> str:
    """`0.836 (0.729 to 0.961)`; without the interval if there is none; a dash if there is no number."""
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")
