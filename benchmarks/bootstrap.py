"""Do the 95 % intervals contain the true value in 95 % of trials? On simulated videos whose true metrics are known.

    python -m benchmarks.bootstrap
    python -m benchmarks.bootstrap 4 8

The score of a video is the sum of its person's level (normal, standard deviation PERSON_SD), of a shift if it is fake,
and of normal noise of its own (standard deviation 1). SHIFTS give a true AUC of 0.84, 0.96 and 0.99. Each trial draws
new people, and has a bootstrap of its own. Arguments are numbers of people.
"""

import itertools
from collections.abc import Callable

import numpy as np
from scipy.stats import norm
from tqdm import tqdm

from benchmarks.command import command_line
from deepfake_detector.evaluation.intervals import bootstrap, interval
from deepfake_detector.evaluation.metrics import METRICS, WeightedScores

PERSON_SD, SHIFTS, VIDEOS = 1.0, (2.0, 3.5, 4.5), 10  # VIDEOS: of each person on average; half of them are fake
PEOPLE = (4, 8, 20, 40, 100)
TRIALS, DRAWS = 500, 1000
TOTAL_SD = np.hypot(PERSON_SD, 1)


def true_values(shift: float) -> dict[str, float]:
    """Of some metrics: all of them would take minutes more and show the same."""
    error = norm.sf(shift / 2 / TOTAL_SD)
    auc = norm.cdf(shift / (np.sqrt(2) * TOTAL_SD))
    return {"auc": float(auc), "recall": 1 - float(error), "fpr": float(error), "accuracy": 1 - float(error)}


def simulate(people: int, shift: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and persons of the videos of `people` people, who have 2 to 18 videos each: (n,) each."""
    person = np.repeat(np.arange(people), rng.integers(2, 2 * VIDEOS - 1, people))
    label = rng.permuted(np.arange(len(person)) % 2)
    score = rng.normal(0, PERSON_SD, people)[person] + shift * label + rng.normal(0, 1, len(person))
    return label, score, person


def coverage(people: int, shift: float, to_groups: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Fraction of trials in which the interval of each metric, over `to_groups(person)`, contains the true value."""
    truth = true_values(shift)
    counts = dict.fromkeys(truth, 0)
    for trial in tqdm(range(TRIALS), f"{people} people", leave=False):
        label, score, person = simulate(people, shift, np.random.default_rng([people, trial]))
        groups = to_groups(person)

        def metrics(weights: np.ndarray, label: np.ndarray = label, score: np.ndarray = score) -> dict[str, np.ndarray]:
            scores = WeightedScores(label, score, weights, shift / 2)
            return {name: METRICS[name].function(scores) for name in truth}

        values = bootstrap(metrics, groups, DRAWS, trial)
        samples = {"all": len(label), "real": int((label == 0).sum()), "fake": int(label.sum())}
        for name, true in truth.items():
            metric = METRICS[name]
            low, high = interval(values[name], len(np.unique(groups)), metric.scale, samples[metric.counted])
            counts[name] += low is not None and high is not None and low <= true <= high
    return {name: count / TRIALS for name, count in counts.items()}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("people", type=int, nargs="*", default=PEOPLE, help="numbers of people")
    options = parser.parse_args()
    print(f"{TRIALS} trials of {DRAWS} draws; fraction of the intervals that contain the true value\n")
    names = true_values(1.0)
    print("| AUC | people | drawn by | " + " | ".join(names) + " |\n|---|---|---|" + "---|" * len(names))
    for shift, people in itertools.product(SHIFTS, options.people):
        for unit, to_groups in (("person", lambda person: person), ("video", lambda person: np.arange(len(person)))):
            cells = " | ".join(f"{fraction:.1%}" for fraction in coverage(people, shift, to_groups).values())
            print(f"| {true_values(shift)['auc']:.2f} | {people} | {unit} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
