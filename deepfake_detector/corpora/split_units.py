"""The units of a split: groups of videos or, where a group is too large, people. A unit is never divided."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix, csr_matrix

from deepfake_detector.corpora.identity_graph import IdentityGraph, Links


@dataclass(frozen=True)
class Units:
    """Units of the rows of a labels table.

    An undivided group is one unit. In a divided group each person, with the real videos of this person, is a unit; a
    fake belongs to the unit of the person on screen, and is also incident to the unit of its donor.

    A "part" below is a fold or a partition, numbered from 0; -1 means none.

    Attributes:
        unit: the unit that each row belongs to: int (rows,).
        incidence: 1 where a row shows a unit or was made from it, else 0: int8 (rows, units).
        divided: whether a unit is a piece of a divided group: bool (units,).
    """

    unit: np.ndarray
    incidence: csr_matrix
    divided: np.ndarray

    @property
    def count(self) -> int:
        return int(self.incidence.shape[1])

    def row_parts(self, unit_parts: np.ndarray) -> np.ndarray:
        """The part of each row, int (rows,), from those of the units, int (units,); -1 if its units are in several."""
        parts = unit_parts[self.incidence.indices]
        start = self.incidence.indptr[:-1]
        low, high = np.minimum.reduceat(parts, start), np.maximum.reduceat(parts, start)
        return np.where(low == high, low, -1)

    def majority_of_own_rows(self, row_parts: np.ndarray, parts: int) -> np.ndarray:
        """For each unit, the part (below `parts`) of most rows that belong to it: int (units,).

        Of equal ones the lowest; -1 if none of its rows has a part.
        """
        rows = np.arange(len(self.unit))
        own = csr_matrix((np.ones(len(rows), np.int8), (rows, self.unit)), self.incidence.shape)
        return _majority(own, row_parts, parts)

    def majority_of_incident_rows(self, row_parts: np.ndarray, parts: int) -> np.ndarray:
        """The same over all incident rows: for donors who are never on screen, and so have no rows of their own."""
        return _majority(self.incidence, row_parts, parts)


def _majority(members: csr_matrix, row_parts: np.ndarray, parts: int) -> np.ndarray:
    known = row_parts >= 0
    votes = members[known].T.astype(int) @ np.eye(parts, dtype=int)[row_parts[known]]
    return np.where(votes.any(axis=1), votes.argmax(axis=1), -1)


def first_known(*unit_parts: np.ndarray) -> np.ndarray:
    """For each unit, the first of several parts that is not -1."""
    return reduce(lambda known, more: np.where(known < 0, more, known), unit_parts)


def make_units(labels: pd.DataFrame, links: Links, max_group_share: float, previous_parts: np.ndarray) -> Units:
    """The units of all rows.

    A group with more than the fraction `max_group_share` of the videos is divided: its fakes connect nothing. A group
    is also divided if new videos connect previous videos of different parts: `previous_parts`, int (rows,), holds the
    part of each previous row and -1 for new rows. In such a group neither new videos nor fakes connect anything.
    """
    graph = IdentityGraph(len(labels), links)
    group = pd.factorize(graph.components()[: graph.rows])[0]
    fake = labels["label"].to_numpy() == 1
    divided = (np.bincount(group) > max_group_share * len(labels))[group]
    loose = divided & fake  # rows that connect nothing
    previous = previous_parts >= 0
    counts = pd.Series(previous_parts[previous]).groupby(group[previous]).nunique()
    joined = np.isin(group, counts.index[counts > 1])
    divided |= joined
    loose |= joined & (fake | ~previous)
    unit, incidence = _incidence(graph, loose)
    pieces = np.zeros(incidence.shape[1], bool)
    pieces[incidence[divided].indices] = True
    return Units(unit, incidence, pieces)


def _incidence(graph: IdentityGraph, loose: np.ndarray) -> tuple[np.ndarray, csr_matrix]:
    """`Units.unit` and `Units.incidence`, if the rows `loose`, bool (rows,), connect nothing.

    A loose row is incident to the units of those of its tokens that other rows share. If there are none, it is its own
    unit.
    """
    shared = np.bincount(graph.node, minlength=graph.size)[graph.node] > 1
    loose = loose & (np.bincount(graph.row[shared], minlength=graph.rows) > 0)
    component = graph.components(through=~loose)
    loose_edges = loose[graph.row] & shared
    row = np.concatenate([np.flatnonzero(~loose), graph.row[loose_edges]])
    node = np.concatenate([component[: graph.rows][~loose], component[graph.node[loose_edges]]])
    first = np.unique(row, return_index=True)[1]  # a fake belongs to the person on screen, whose link comes first
    units, names = pd.factorize(np.concatenate([node[first], node]))
    unit, columns = units[: len(first)], units[len(first) :]
    incidence = coo_matrix((np.ones(len(row), np.int8), (row, columns)), shape=(graph.rows, len(names))).tocsr()
    incidence.data[:] = 1  # two links to one unit count once
    return unit, incidence
