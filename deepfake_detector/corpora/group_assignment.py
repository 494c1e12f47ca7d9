"""Assignment of units (see split_units) to parts, that is folds or partitions, of given size and equal mixture."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix, csr_matrix, triu

from deepfake_detector.corpora.split_units import Units

EXCHANGE_LIMIT = 2000  # units up to which exchanges pay; among more, the last and smallest units even out the mixture


def stratification_features(labels: pd.DataFrame) -> np.ndarray:
    """What the parts shall hold equal fractions of: float32 (rows, features) of 0 and 1.

    The first feature is 1 throughout (the number of videos); then follow each label, method and quality, one-hot.
    """
    columns = [name for name in ("label", "method", "quality") if name in labels and labels[name].nunique() > 1]
    one_hot = [
        pd.get_dummies(labels[name]).loc[:, lambda table: table.columns != ""].to_numpy(np.float32) for name in columns
    ]
    return np.hstack([np.ones((len(labels), 1), np.float32), *one_hot])


def assign_groups(
    units: Units, features: np.ndarray, fractions: list[float], seed: int, assigned: np.ndarray, pool: np.ndarray
) -> np.ndarray:
    """A part for each unit of `pool`, so that each part gets its fraction of the videos and of each feature.

    Args:
        units: the units.
        features: float (rows, features), see `stratification_features`.
        fractions: of all videos, for each part; they add up to 1.
        seed: random seed.
        assigned: parts that units have already and keep, -1 for open ones: int (units,).
        pool: the units that get a part: bool (units,).

    Returns `assigned`, int (units,), with the open units of the pool filled in. The units of divided groups are
    assigned first, by the cut that the fewest fakes cross (METIS, Karypis & Kumar 1998); the others then even out the
    mixture.
    """
    result = assigned.copy()
    rows = pool[units.unit]
    divided = pool & units.divided
    if divided.any() and (assigned[divided] < 0).all():
        weight = np.bincount(units.unit, minlength=len(pool))[divided]
        result[divided] = _minimum_cut(units.incidence[:, divided], weight, fractions, seed)
    row_parts = units.row_parts(result)
    filled = np.array([features[rows & (row_parts == part)].sum(axis=0) for part in range(len(fractions))], float)
    open_units = np.flatnonzero(pool & (result < 0))
    new = rows & (result[units.unit] < 0)
    position = np.full(len(pool), -1)
    position[open_units] = np.arange(len(open_units))
    member = coo_matrix(
        (np.ones(new.sum(), np.float32), (position[units.unit[new]], np.arange(new.sum()))),
        (len(open_units), new.sum()),
    )
    result[open_units] = distribute(member.tocsr() @ features[new], filled, np.array(fractions), seed)
    return result


def distribute(sizes: np.ndarray, filled: np.ndarray, fractions: np.ndarray, seed: int) -> np.ndarray:
    """A part for each group, int (groups,): the largest first, each where it fits best; then exchanges between parts.

    Minimizes the sum over parts and features of (content - target)² / target, where each feature counts alike.

    Args:
        sizes: features of each group, (groups, features); the first feature is the number of videos.
        filled: features that each part holds already, (parts, features).
        fractions: of all videos that each part shall hold, (parts,); they add up to 1.
        seed: random seed of the order among groups of equal size.
    """
    total = np.maximum(filled.sum(axis=0) + sizes.sum(axis=0), 1)
    weight = 1 / (fractions[:, None] * total**2)
    gradient = 2 * filled * weight
    shuffled = np.random.RandomState(seed).permutation(len(sizes))
    result = np.empty(len(sizes), int)
    for group in shuffled[np.argsort(-sizes[shuffled, 0], kind="stable")]:
        size = sizes[group]
        best = int(np.argmin(gradient @ size + weight @ (size * size)))
        gradient[best] += 2 * size * weight[best]
        result[group] = best
    if len(sizes) > EXCHANGE_LIMIT:
        return result
    return _exchange(result, sizes, weight, gradient / 2 / weight - fractions[:, None] * total)


def _exchange(
    parts: np.ndarray, sizes: np.ndarray, weight: np.ndarray, excess: np.ndarray, rounds: int = 5
) -> np.ndarray:
    """Move a group, or swap two, wherever that brings the parts closer to their targets, until nothing does.

    `parts`: int (groups,). `sizes`: as for `distribute`. `weight`: 1 / target of each feature, scaled; `excess`:
    content - target; both (parts, features).
    """
    groups = len(parts)
    parts = np.append(parts, np.arange(len(weight)))  # an empty group in each part: to swap with it is to move
    sizes = np.vstack([sizes, np.zeros_like(excess)])
    for _ in range(rounds):
        before = parts.copy()
        for group in range(groups):
            here = parts[group]
            given = sizes[group] - sizes
            there_change = given * (given + 2 * excess[parts]) * weight[parts]
            here_change = given * (given - 2 * excess[here]) * weight[here]
            change = np.where(parts == here, 0, (there_change + here_change).sum(axis=1))
            other = int(np.argmin(change))
            if change[other] < -1e-9:
                excess[parts[other]] += given[other]
                excess[here] -= given[other]
                parts[group] = parts[other]
                parts[other] = here if other < groups else parts[other]
        if (parts == before).all():
            break
    return parts[:groups]


def _minimum_cut(incidence: csr_matrix, weight: np.ndarray, fractions: list[float], seed: int) -> np.ndarray:
    """A part for each unit, int (units,), so that few rows are incident to units of several parts.

    `incidence`: (rows, units). `weight`: rows that belong to each unit, int (units,).
    """
    edges = triu(incidence.T.astype(np.int32) @ incidence.astype(np.int32), 1)
    edges = (edges + edges.T).tocsr()
    if len(weight) <= len(fractions) or not edges.nnz:
        return np.arange(len(weight)) % len(fractions)
    try:
        import pymetis
    except ImportError as error:
        raise ImportError("split needs pymetis, which has no build for Windows: run it in WSL") from error
    tries = 100 if edges.nnz < 100_000 else 1  # METIS returns the best of them
    _, parts = pymetis.part_graph(
        len(fractions),
        xadj=edges.indptr,
        adjncy=edges.indices,
        eweights=edges.data,
        vweights=weight,
        tpwgts=fractions,
        recursive=True,
        options=pymetis.Options(seed=seed, ncuts=tries),
    )
    return np.array(parts)
