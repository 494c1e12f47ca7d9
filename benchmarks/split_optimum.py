"""How many fakes are excluded where everybody is swapped with everybody, and how many an optimum would exclude.

    python -m benchmarks.split_optimum

Made-up corpora: a dozen people, where every division is tried, and a Celeb-DF of the true size (59 people, 590 real and 5,639 fake
videos), where simulated annealing (Kirkpatrick et al. 1983) looks for the least cut, from several starts. Both references have
as many people in each partition as the split has, but no folds to keep: the split's test set is one of five, all of which have to
serve, and so it can lose more, the more so the fewer people there are.
"""

from itertools import product

import numpy as np
import pandas as pd

from deepfake_detector.corpora.identity_graph import links
from deepfake_detector.corpora.split_strategies import SplitAssignment
from stages.params import parse

STARTS, STEPS = 5, 60_000


def made_up(people: int, real: int, fakes: int, seed: int) -> pd.DataFrame:
    """Everybody swapped with anybody; who is swapped with whom how often is drawn unevenly, as in real corpora."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(1.0, size=(people, people)) * (1 - np.eye(people))
    pairs = rng.choice(people**2, size=fakes, p=(weight / weight.sum()).ravel())
    rows = [(f"r{i}", 0, f"p{i % people}", "", "") for i in range(real)]
    rows += [
        (f"f{i}", 1, f"p{pair // people}", f"p{pair % people}", f"r{pair // people}") for i, pair in enumerate(pairs)
    ]
    return pd.DataFrame(rows, columns=["video_id", "label", "identity", "donor", "source_video"])


def joins(labels: pd.DataFrame, people: int) -> np.ndarray:
    """Fakes between each two people: float (people, people), symmetric."""
    fakes = labels[labels["label"] == 1]
    table = np.zeros((people, people))
    np.add.at(table, (fakes["identity"].str[1:].astype(int), fakes["donor"].str[1:].astype(int)), 1)
    return table + table.T


def cut(table: np.ndarray, place: np.ndarray) -> float:
    return float((table * (place[:, None] != place[None])).sum() / 2)


def exhaustive(table: np.ndarray, place: np.ndarray) -> float:
    """The least cut of all divisions with as many people in each place as `place` has."""
    counts = np.bincount(place, minlength=3)
    every = np.array(list(product(range(3), repeat=len(place))), np.int8)
    every = every[np.all([(every == p).sum(axis=1) == counts[p] for p in range(3)], axis=0)]
    kept = sum(((every == p).astype(float) @ table * (every == p)).sum(axis=1) for p in range(3))
    return float((table.sum() - kept.max()) / 2)


def anneal(table: np.ndarray, place: np.ndarray, seed: int) -> float:
    """The least cut found by swapping two people at a time, from a random start."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(place)
    value, heat = cut(table, place), float(table.max()) * 4
    for _ in range(STEPS):
        a, b = rng.integers(len(place), size=2)
        p, q = place[a], place[b]
        if p != q:
            change = (
                table[a] @ (1.0 * (place == p) - (place == q))
                + table[b] @ (1.0 * (place == q) - (place == p))
                + 2 * table[a, b]
            )
            if change < 0 or rng.random() < np.exp(-change / heat):
                place[a], place[b] = q, p
                value += change
        heat = max(0.1, heat * 0.9998)
    return value


def main() -> None:
    settings = parse("split", "", []).split
    print("people  fakes  seed  excluded by split  least found")
    for people, real, fakes, seeds in ((12, 60, 400, range(5)), (59, 590, 5639, range(3))):
        for seed in seeds:
            labels = made_up(people, real, fakes, seed)
            division = SplitAssignment(labels, links(labels), settings)
            sides = pd.Series(division.side[:real]).groupby(labels["identity"][:real]).first()
            place = sides[[f"p{i}" for i in range(people)]].to_numpy()
            table = joins(labels, people)
            least = (
                exhaustive(table, place) if people < 15 else min(anneal(table, place, start) for start in range(STARTS))
            )
            print(
                f"{people:6} {fakes:6} {seed:5} {(division.side < 0).sum() / fakes:18.1%} {least / fakes:12.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
