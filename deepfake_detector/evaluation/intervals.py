"""95 % intervals from a bootstrap that draws whole groups of people."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import expit, logit

from deepfake_detector.evaluation.metrics import METRICS, measure

FEW_GROUPS = 10  # with fewer groups of people, or fewer videos of a kind, a number is marked as resting on little
CHUNK = 4_000_000  # weights held at once: bounds memory whatever the number of samples

Number = float | int | None


def group_draws(groups: ArrayLike, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each draw with replacement took each group (draws + 1, groups), row 0 all ones; and each sample's group (n,).

    Resampling whole groups of people, not videos, keeps what videos of one person have in common (cluster bootstrap; Field &
    Welsh 2007).
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    total = int(codes.max()) + 1
    counts = np.random.default_rng(seed).multinomial(total, np.full(total, 1 / total), size=draws)
    return np.vstack([np.ones(total), counts]), codes


def bootstrap(
    statistic: Callable[[np.ndarray], dict[str, np.ndarray]], groups: ArrayLike, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """`statistic` of weights (some draws, n) for the data (first) and all draws over `groups` (n,): name to (draws + 1,)."""
    counts, codes = group_draws(groups, draws, seed)
    rows = max(1, CHUNK // len(codes))
    parts = [statistic(counts[start : start + rows, codes]) for start in range(0, len(counts), rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values: np.ndarray, groups: int, scale: str = "linear") -> tuple[Number, Number]:
    """95 % interval of a statistic from its value on the data (first) and its draws; None, None where it has none.

    Student's t times the draws' standard deviation, on the log-odds for a `scale` of `share` (a number from 0 to 1), on the
    logarithm for `positive`, as it is for `linear`: percentiles of draws miss the truth too often where groups are few or a
    share is near its end (Hesterberg 2015; benchmarks/bootstrap.py). Of a share of 0 or 1 that no draw moves, the exact
    interval for as many trials as there are groups (Clopper & Pearson 1934): three people without an error prove little. Whatever
    else no draw moves has no interval.
    """
    value, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
    if groups < 2 or len(drawn) < 2 or np.isnan(value):
        return None, None
    if drawn.std() < 1e-12 and not (scale == "share" and value in (0, 1)):
        return None, None
    reach = float(stats.t.ppf(0.975, groups - 1)) * np.sqrt(groups / (groups - 1))
    if scale == "linear":
        reach *= drawn.std(ddof=1)
        return number(value - reach), number(value + reach)
    if scale == "positive" and value > 0:
        reach *= drawn.std(ddof=1) / value
        return number(value * np.exp(-reach)), number(value * np.exp(reach))
    if 0 < value < 1:
        edge = min(
            0.5 / (groups + 1), min(value, 1 - value) / 2
        )  # of a drawn share of 0 or 1 the log-odds are infinite
        reach *= logit(np.clip(drawn, edge, 1 - edge)).std(ddof=1)
        return number(expit(logit(value) - reach)), number(expit(logit(value) + reach))
    beyond = max(1 - 0.025 ** (1 / groups), float(np.quantile(np.abs(drawn - value), 0.975)))
    return (0.0, number(beyond)) if value == 0 else (number(1 - beyond), 1.0)


def summarise(
    label: ArrayLike, probability: ArrayLike, threshold: float, groups: ArrayLike, draws: int, seed: int
) -> dict[str, Number]:
    """Each metric with `_low` and `_high`, its 95 % interval from a bootstrap over `groups`; None where undefined.

    `n`, `real`, `fake` and `groups` say what the numbers rest on.
    """
    label, probability = np.asarray(label), np.asarray(probability, float)
    people = len(np.unique(groups))
    result: dict[str, Number] = {
        "n": len(label),
        "real": int((label == 0).sum()),
        "fake": int((label == 1).sum()),
        "groups": people,
    }
    if not len(label):
        return result | {f"{name}{end}": None for name in METRICS for end in ("", "_low", "_high")}
    values = bootstrap(lambda weights: measure(label, probability, threshold, weights), groups, draws, seed)
    for name, drawn in values.items():
        result[name] = number(drawn[0])
        result[f"{name}_low"], result[f"{name}_high"] = interval(
            drawn, people, "positive" if name == "log_loss" else "share"
        )
    return result


def rests_on_little(summary: dict[str, Number]) -> bool:
    """Whether a `summarise`d table has few groups of people, or few videos of a kind that it has at all."""
    counts = [summary["groups"], *(summary[kind] for kind in ("real", "fake") if summary[kind])]
    return any(count is not None and count < FEW_GROUPS for count in counts)


def number(value: float) -> float | None:
    """Rounded for a strict JSON; None for nan."""
    return None if np.isnan(value) else round(float(value), 6)
