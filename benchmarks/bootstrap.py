"""Do the 95 % intervals hold the truth in 95 % of trials? Simulated videos of people, of whom each has a way of their own.

    python -m benchmarks.bootstrap

The score of a video is its person's level (normal, spread `LEVEL`), plus `GAP` if it is fake, plus noise of its own (spread 1).
So what the metrics would be on endless data is known exactly. Each trial draws new people and a bootstrap of its own.
"""

import sys
from collections.abc import Callable

import numpy as np
from scipy.stats import norm
from tqdm import tqdm

from deepfake_detector.evaluation.intervals import bootstrap, interval
from deepfake_detector.evaluation.metrics import auc

LEVEL, GAP, VIDEOS = 1.0, 2.0, 10  # of each person on average half of the videos are fake
PEOPLE = (4, 8, 20, 40, 100)
TRIALS, DRAWS = 500, 2000
SPREAD = np.hypot(LEVEL, 1)
TRUTH = {
    "auc": norm.cdf(GAP / (np.sqrt(2) * SPREAD)),
    "recall": norm.cdf(GAP / 2 / SPREAD),
    "fpr": norm.sf(GAP / 2 / SPREAD),
    "accuracy": norm.cdf(GAP / 2 / SPREAD),
}


def simulate(people: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and persons of the videos of `people` people, 2 to 18 of each."""
    person = np.repeat(np.arange(people), rng.integers(2, 2 * VIDEOS - 1, people))
    label = rng.permuted(np.arange(len(person)) % 2)
    score = rng.normal(0, LEVEL, people)[person] + GAP * label + rng.normal(0, 1, len(person))
    return label, score, person


def statistics(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Some of the metrics for every row of weights: all of them would take minutes more and tell the same."""
    called = score >= GAP / 2
    recall, fpr = (
        weights @ (label * called) / (weights @ label),
        weights @ ((1 - label) * called) / (weights @ (1 - label)),
    )
    accuracy = weights @ (called == label) / weights.sum(axis=1)
    return {"auc": auc(label, score, weights), "recall": recall, "fpr": fpr, "accuracy": accuracy}


def held(people: int, grouping: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Share of trials in which the interval of each metric holds its true value."""
    counts = dict.fromkeys(TRUTH, 0)
    for trial in tqdm(range(TRIALS), f"{people} people", leave=False):
        label, score, person = simulate(people, np.random.default_rng([people, trial]))
        groups = grouping(person)
        draws = bootstrap(lambda weights, y=label, s=score: statistics(y, s, weights), groups, DRAWS, trial)
        for name, truth in TRUTH.items():
            low, high = interval(draws[name], len(np.unique(groups)), "share")
            counts[name] += low is not None and low <= truth <= high
    return {name: count / TRIALS for name, count in counts.items()}


def main() -> None:
    print(f"{TRIALS} trials of {DRAWS} draws; share of intervals that hold the truth\n")
    print("| people | drawn by | " + " | ".join(TRUTH) + " |\n|---|---|" + "---|" * len(TRUTH))
    for people in map(int, sys.argv[1:] or PEOPLE):
        for drawn, grouping in (("person", lambda person: person), ("video", lambda person: np.arange(len(person)))):
            shares = held(people, grouping)
            print(
                f"| {people} | {drawn} | " + " | ".join(f"{share:.1%}" for share in shares.values()) + " |", flush=True
            )


if __name__ == "__main__":
    main()
