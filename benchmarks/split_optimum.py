"""How many fakes a split excludes if everybody is swapped with everybody, and how many an optimal cut would exclude.

    python -m benchmarks.split_optimum

The corpora are invented: a dozen people, for whom every assignment is tried, and a Celeb-DF of the true size (59
people, 590 real and 5,639 fake videos), for which simulated annealing (Kirkpatrick et al. 1983) searches for the least
cut from several starts. Both references have as many people in each partition as the split has, but no folds. The test
set of the split is one of five folds that must all be usable, so the split can exclude more, and does so if there are
few people.
"""

from itertools import product

import numpy as np
import pandas as pd

from benchmarks.command import command_line
from deepfake_detector.corpora.identity_graph import links
from deepfake_detector.corpora.split_strategies import SplitError, assign_splits
from stages.params import parse

STARTS, STEPS = 5, 60_000


def random_corpus(people: int, real: int, fakes: int, seed: int) -> pd.DataFrame:
    """Everybody may be swapped with anybody. How often two people are swapped is drawn unevenly, as in real corpora."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(1.0, size=(people, people)) * (1 - np.eye(people))
    pairs = rng.choice(people**2, size=fakes, p=(weight / weight.sum()).ravel())
    rows = [(f"r{i}", 0, f"p{i % people}", "", "") for i in range(real)]
    rows += [
        (f"f{i}", 1, f"p{pair // people}", f"p{pair % people}", f"r{pair // people}") for i, pair in enumerate(pairs)
    ]
    return pd.DataFrame(rows, columns=["video_id", "label", "identity", "donor", "source_video"])


def swap_counts(labels: pd.DataFrame, people: int) -> np.ndarray:
    """Fakes between each two people: float (people, people), symmetric."""
    fakes = labels[labels["label"] == 1]
    counts = np.zeros((people, people))
    np.add.at(counts, (fakes["identity"].str[1:].astype(int), fakes["donor"].str[1:].astype(int)), 1)
    return counts + counts.T


def cut_size(counts: np.ndarray, side: np.ndarray) -> float:
    """Fakes between people on different sides; `side`: int (people,)."""
    return float((counts * (side[:, None] != side[None])).sum() / 2)


def exhaustive_minimum(counts: np.ndarray, side: np.ndarray) -> float:
    """The least cut of all assignments with as many people on each side as in `side`."""
    people = np.bincount(side, minlength=3)
    every = np.array(list(product(range(3), repeat=len(side))), np.int8)
    every = every[np.all([(every == s).sum(axis=1) == people[s] for s in range(3)], axis=0)]
    kept = sum(((every == s).astype(float) @ counts * (every == s)).sum(axis=1) for s in range(3))
    return float((counts.sum() - kept.max()) / 2)


def annealed_minimum(counts: np.ndarray, side: np.ndarray, seed: int) -> float:
    """The least cut found by exchanging two people at a time, from a random start."""
    rng = np.random.default_rng(seed)
    side = rng.permutation(side)
    value, temperature = cut_size(counts, side), float(counts.max()) * 4
    for _ in range(STEPS):
        a, b = rng.integers(len(side), size=2)
        p, q = side[a], side[b]
        if p != q:
            change = (
                counts[a] @ (1.0 * (side == p) - (side == q))
                + counts[b] @ (1.0 * (side == q) - (side == p))
                + 2 * counts[a, b]
            )
            if change < 0 or rng.random() < np.exp(-change / temperature):
                side[a], side[b] = q, p
                value += change
        temperature = max(0.1, temperature * 0.9998)
    return value


def compare(people: int, real: int, fakes: int, seed: int) -> str:
    """Two cells of the table: the fractions of the fakes that the split excludes, and that the least cut excludes."""
    settings = parse("split", "", []).split
    labels = random_corpus(people, real, fakes, seed)
    try:
        assignment = assign_splits(
            labels,
            links(labels),
            strategy="grouped",
            seed=settings.seed,
            folds=settings.folds,
            fold=settings.fold,
            val_fraction=settings.val_fraction,
            max_group_share=settings.max_group_share,
            previous=None,
        )
    except SplitError as error:
        return f"no split: {str(error).split(';')[0]} | –"
    sides = pd.Series(assignment.side[:real]).groupby(labels["identity"][:real]).first()
    side = sides[[f"p{i}" for i in range(people)]].to_numpy()
    counts = swap_counts(labels, people)
    if people < 15:
        least = exhaustive_minimum(counts, side)
    else:
        least = min(annealed_minimum(counts, side, start) for start in range(STARTS))
    return f"{(assignment.side < 0).sum() / fakes:.1%} | {least / fakes:.1%}"


def main() -> None:
    command_line(__doc__).parse_args()
    print("| people | fakes | seed | fakes that the split excludes | least found |\n|---|---|---|---|---|")
    for people, real, fakes, seeds in ((12, 60, 400, range(5)), (59, 590, 5639, range(3))):
        for seed in seeds:
            print(f"| {people} | {fakes:,} | {seed} | {compare(people, real, fakes, seed)} |", flush=True)


if __name__ == "__main__":
    main()
