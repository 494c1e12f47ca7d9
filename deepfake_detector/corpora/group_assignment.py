"""Folds and partitions of whole groups, or, where one group swallows the corpus, of people."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
import pymetis
from scipy.sparse import coo_matrix, csr_matrix, triu

from deepfake_detector.corpora.identity_graph import IdentityGraph, Links

FEW = 2000  # groups, up to which a greedy placing is worth improving; with more, the last and smallest even it out


@dataclass(frozen=True)
class Units:
    """What is placed as a whole: a group of videos or, where a group is divided, a person with the person's real videos."""

    home: np.ndarray  # of each row, the unit that it counts for: int (rows,)
    touches: csr_matrix  # which units a row shows or was made from, 1 or 0: int8 (rows, units)
    divided: np.ndarray  # units that are a part of a group: bool (units,)

    @property
    def count(self) -> int:
        return self.touches.shape[1]

    def side(self, place: np.ndarray) -> np.ndarray:
        """Of each row, where all the units that it touches are placed, or -1 where they are not together: int (rows,)."""
        places = place[self.touches.indices]
        start = self.touches.indptr[:-1]
        low, high = np.minimum.reduceat(places, start), np.maximum.reduceat(places, start)
        return np.where(low == high, low, -1)

    def majority(self, place: np.ndarray, places: int) -> np.ndarray:
        """Of each unit, the place (below `places`) of most of the rows that count for it, the lowest of equals, or -1: none."""
        rows = np.arange(len(self.home))
        return _most(csr_matrix((np.ones(len(rows), np.int8), (rows, self.home)), self.touches.shape), place, places)

    def company(self, place: np.ndarray, places: int) -> np.ndarray:
        """The same by all rows that touch a unit: for someone whom only fakes show, and for whom no row counts."""
        return _most(self.touches, place, places)


def _most(members: csr_matrix, place: np.ndarray, places: int) -> np.ndarray:
    told = place >= 0
    votes = members[told].T.astype(int) @ np.eye(places, dtype=int)[place[told]]
    return np.where(votes.any(axis=1), votes.argmax(axis=1), -1)


def first_assigned(*places: np.ndarray) -> np.ndarray:
    """Of each unit, the first of several places that is not -1."""
    return reduce(lambda known, more: np.where(known < 0, more, known), places)


def make_units(labels: pd.DataFrame, kinds: Links, largest: float, kept: np.ndarray | None = None) -> Units:
    """Units of all rows. A group with more than the share `largest` of the videos is divided: its fakes join nothing.

    So is a group that new videos have joined out of videos that stay in different places: `kept` holds the place of each such
    row, any int, and -1 for the new; neither new videos nor fakes join anything there.
    """
    graph = IdentityGraph(len(labels), kinds)
    group = pd.factorize(graph.components()[: graph.rows])[0]
    fake = labels["label"].to_numpy() == 1
    divided = (np.bincount(group) > largest * len(labels))[group]
    loose = divided & fake
    if kept is not None:
        places = pd.Series(kept[kept >= 0]).groupby(group[kept >= 0]).nunique()
        joined = np.isin(group, places.index[places > 1])
        divided |= joined
        loose |= joined & (fake | (kept < 0))
    nodes = graph.components(through=~loose)
    shared = np.bincount(graph.node, minlength=graph.size)[graph.node] > 1
    ties_of_loose = loose[graph.row] & shared
    row = np.concatenate([np.flatnonzero(~loose), graph.row[ties_of_loose]])
    node = np.concatenate([nodes[: graph.rows][~loose], nodes[graph.node[ties_of_loose]]])
    first = np.unique(row, return_index=True)[1]  # a fake counts for the person on screen, whose tie comes first
    unit, names = pd.factorize(np.concatenate([node[first], node]))
    home, unit = unit[: len(first)], unit[len(first) :]
    touches = coo_matrix((np.ones(len(row), np.int8), (row, unit)), shape=(graph.rows, len(names))).tocsr()
    touches.data[:] = 1  # the same unit by two ties is touched once
    parts = np.zeros(len(names), bool)
    parts[touches[divided].indices] = True
    return Units(home, touches, parts)


def features(labels: pd.DataFrame) -> np.ndarray:
    """What partitions are to have equal shares of, as 0 or 1: videos at all, each label, method and quality. float (rows, n)."""
    columns = [name for name in ("label", "method", "quality") if name in labels and labels[name].nunique() > 1]
    told = [
        pd.get_dummies(labels[name]).loc[:, lambda table: table.columns != ""].to_numpy(np.float32) for name in columns
    ]
    return np.hstack([np.ones((len(labels), 1), np.float32), *told])


def assign_groups(
    units: Units, values: np.ndarray, shares: list[float], seed: int, start: np.ndarray, pool: np.ndarray
) -> np.ndarray:
    """Place the units of `pool` (bool), so that each place gets its share of the videos and of each feature `values`.

    `start` holds the places of units that have one, -1 elsewhere; those of the pool that have one keep it. A divided group is
    cut where the fewest fakes join two places (METIS, Karypis & Kumar 1998); the rest evens out what that leaves.
    """
    result = start.copy()
    rows = pool[units.home]
    cut = pool & units.divided
    if cut.any() and (start[cut] < 0).all():
        result[cut] = _cut_with_metis(
            units.touches[:, cut], np.bincount(units.home, minlength=len(pool))[cut], shares, seed
        )
    side = units.side(result)
    have = np.array([values[rows & (side == p)].sum(axis=0) for p in range(len(shares))], float)
    free = np.flatnonzero(pool & (result < 0))
    new = rows & (result[units.home] < 0)
    index = np.full(len(pool), -1)
    index[free] = np.arange(len(free))
    member = coo_matrix(
        (np.ones(new.sum(), np.float32), (index[units.home[new]], np.arange(new.sum()))), (len(free), new.sum())
    )
    result[free] = distribute(member.tocsr() @ values[new], have, np.array(shares), seed)
    return result


def distribute(sizes: np.ndarray, have: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """A place for each group, int (groups,): the largest first, each to where the mixture then fits best; then exchanges.

    What is made small is the sum over places and features of (have - target)² / target, each feature counting alike.

    Args:
        sizes: features of each group, (groups, features); the first feature is the number of videos.
        have: features that each place has already, (places, features).
        shares: of all videos that each place is to have; they add up to 1.
        seed: of the order among groups of one size.
    """
    total = np.maximum(have.sum(axis=0) + sizes.sum(axis=0), 1)
    weight = 1 / (shares[:, None] * total**2)
    filled = 2 * have * weight
    shuffled = np.random.RandomState(seed).permutation(len(sizes))
    result = np.empty(len(sizes), int)
    for group in shuffled[np.argsort(-sizes[shuffled, 0], kind="stable")]:
        size = sizes[group]
        best = int(np.argmin(filled @ size + weight @ (size * size)))
        filled[best] += 2 * size * weight[best]
        result[group] = best
    return (
        _exchange(result, sizes, weight, filled / 2 / weight - shares[:, None] * total) if len(sizes) <= FEW else result
    )


def _exchange(
    result: np.ndarray, sizes: np.ndarray, weight: np.ndarray, excess: np.ndarray, rounds: int = 5
) -> np.ndarray:
    """Move a group, or swap two, wherever that brings the places nearer to their targets, until nothing does."""
    places = np.append(
        result, np.arange(len(weight))
    )  # beside the groups, nothing in each place: to swap with it is to move
    sizes = np.vstack([sizes, np.zeros_like(excess)])
    for _ in range(rounds):
        before = places.copy()
        for group in range(len(result)):
            here = places[group]
            gives = sizes[group] - sizes
            change = (gives * (gives + 2 * excess[places])) * weight[places] + gives * (
                gives - 2 * excess[here]
            ) * weight[here]
            gain = np.where(places == here, 0, change.sum(axis=1))
            other = int(np.argmin(gain))
            if gain[other] < -1e-9:
                excess[places[other]] += gives[other]
                excess[here] -= gives[other]
                places[group] = places[other]
                places[other] = here if other < len(result) else places[other]
        if (places == before).all():
            break
    return places[: len(result)]


def _cut_with_metis(touches: csr_matrix, weight: np.ndarray, shares: list[float], seed: int) -> np.ndarray:
    joins = triu(touches.T.astype(np.int32) @ touches.astype(np.int32), 1)
    joins = (joins + joins.T).tocsr()
    if len(weight) <= len(shares) or not joins.nnz:
        return np.arange(len(weight)) % len(shares)
    options = pymetis.Options(seed=seed, ncuts=100 if joins.nnz < 100_000 else 1)  # the best of so many tries
    _, parts = pymetis.part_graph(
        len(shares),
        xadj=joins.indptr,
        adjncy=joins.indices,
        eweights=joins.data,
        vweights=weight,
        tpwgts=shares,
        recursive=True,
        options=options,
    )
    return np.array(parts)
