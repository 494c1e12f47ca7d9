"""Who shares a face with whom, and a division of videos that keeps them together."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

PARTITIONS = ("train", "val", "test")


def ties(labels: pd.DataFrame) -> dict[str, pd.Series]:
    """For each kind of tie a Series of tokens (index: position of the row): rows with one token belong together.

    A person is one whether seen (`identity`) or put in (`donor`). A row without a token of a kind is not tied by that kind.
    """
    labels = labels.reset_index(drop=True)
    empty = pd.Series("", index=labels.index)
    people = pd.concat([labels.get("identity", empty), labels.get("donor", empty)])
    originals = labels.get("source_video", empty).where(lambda s: s != "", labels["video_id"])
    return {"person": people[people != ""], "original": originals}


def identity_groups(labels: pd.DataFrame) -> np.ndarray:
    """Connected components of the graph of `ties`: one int for each row, counted in the order of the rows."""
    rows, tokens = [], []
    offset = len(labels)
    for kind in ties(labels).values():
        codes, names = pd.factorize(kind)
        rows.append(kind.index.to_numpy())
        tokens.append(codes + offset)
        offset += len(names)
    row, token = np.concatenate(rows), np.concatenate(tokens)
    graph = coo_matrix((np.ones(len(row), np.int8), (row, token)), shape=(offset, offset))
    components = connected_components(graph, directed=False)[1][: len(labels)]
    return pd.factorize(components)[0]


def _strata(labels: pd.DataFrame) -> np.ndarray:
    return pd.factorize(labels["label"].astype(str) + labels.get("method", ""))[0]


def assign_folds(labels: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Fold of each row, 0 to `folds` - 1: whole groups, with shares of label and method as equal as groups allow."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    result = np.empty(len(labels), int)
    for fold, (_, rows) in enumerate(splitter.split(labels, _strata(labels), labels["group"])):
        result[rows] = fold
    return result


def partition(labels: pd.DataFrame, fold: int, val: float, seed: int) -> np.ndarray:
    """train, val or test for each row: fold `fold` tests, about `val` of the other groups validate, the rest train."""
    result = np.where(labels["fold"] == fold, "test", "train").astype(object)
    rest = labels[labels["fold"] != fold]
    parts = max(2, min(round(1 / val), rest["group"].nunique()))
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    _, rows = next(splitter.split(rest, _strata(rest), rest["group"]))
    result[np.flatnonzero(labels["fold"] != fold)[rows]] = "val"
    return result


def audit(labels: pd.DataFrame) -> dict[str, list[str]]:
    """For each kind of tie, what is seen in more than one partition: it looks at the rows anew and trusts no group."""
    side = labels["partition"].reset_index(drop=True)
    leaks = {}
    for kind, tokens in ties(labels).items():
        sides = side[tokens.index].groupby(tokens.to_numpy()).unique()
        leaks[kind] = [f"{token} is in {' and '.join(sorted(names))}" for token, names in sides.items() if len(names) > 1]
    return leaks
