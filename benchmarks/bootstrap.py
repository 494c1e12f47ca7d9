"""Do the 95 % intervals contain the true value in 95 % of trials? On simulated videos whose true metrics are known.

    python -m benchmarks.bootstrap
    python -m benchmarks.bootstrap 4 8

The score of a video is the sum of its person's level (normal, standard deviation PERSON_SD), of SHIFT if it is fake,
and of normal noise of its own (standard deviation 1). Each trial draws new people, and has a bootstrap of its own.
Arguments are numbers of people.
"""

import sys
from collections.abc import Callable

import numpy as np
from scipy.stats import norm
from tqdm import tqdm

from deepfake_detector.evaluation.intervals import bootstrap, interval
from deepfake_detector.evaluation.metrics import METRICS, WeightedScores

PERSON_SD, SHIFT, VIDEOS = 1.0, 2.0, 10  # VIDEOS: of each person on average; half of them are fake
PEOPLE = (4, 8, 20, 40, 100)
TRIALS, DRAWS = 500, 2000
THRESHOLD = SHIFT / 2
TOTAL_SD = np.hypot(PERSON_SD, 1)
TRUTH = {  # of some metrics: all of them would take minutes more and show the same
    "auc": norm.cdf(SHIFT / (np.sqrt(2) * TOTAL_SD)),
    "recall": norm.cdf(THRESHOLD / TOTAL_SD),
    "fpr": norm.sf(THRESHOLD / TOTAL_SD),
    "accuracy": norm.cdf(THRESHOLD / TOTAL_SD),
}


def simulate(people: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and persons of the videos of `people` people, who have 2 to 18 videos each: (n,) each."""
    person = np.repeat(np.arange(people), rng.integers(2, 2 * VIDEOS - 1, people))
    label = rng.permuted(np.arange(len(person)) % 2)
    score = rng.normal(0, PERSON_SD, people)[person] + SHIFT * label + rng.normal(0, 1, len(person))
    return label, score, person


def coverage(people: int, to_groups: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Fraction of trials in which the interval of each metric, over `to_groups(person)`, contains the true value."""
    counts = dict.fromkeys(TRUTH, 0)
    for trial in tqdm(range(TRIALS), f"{people} people", leave=False):
        label, score, person = simulate(people, np.random.default_rng([people, trial]))
        groups = to_groups(person)

        def metrics(weights: np.ndarray, label: np.ndarray = label, score: np.ndarray = score) -> dict[str, np.ndarray]:
            scores = WeightedScores(label, score, weights, THRESHOLD)
            return {name: METRICS[name].function(scores) for name in TRUTH}

        values = bootstrap(metrics, groups, DRAWS, trial)
        for name, truth in TRUTH.items():
            low, high = interval(values[name], len(np.unique(groups)), METRICS[name].scale)
            counts[name] += low is not None and high is not None and low <= truth <= high
    return {name: count / TRIALS for name, count in counts.items()}


def main() -> None:
    print(f"{TRIALS} trials of {DRAWS} draws; fraction of the intervals that contain the true value\n")
    print("| people | drawn by | " + " | ".join(TRUTH) + " |\n|---|---|" + "---|" * len(TRUTH))
    for people in map(int, sys.argv[1:] or PEOPLE):
        for unit, to_groups in (("person", lambda person: person), ("video", lambda person: np.arange(len(person)))):
            cells = " | ".join(f"{fraction:.1%}" for fraction in coverage(people, to_groups).values())
            print(f"| {people} | {unit} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
