"""Who and what two videos have in common: ties, and the groups of videos that they join."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Links = dict[str, pd.Series]


def links(labels: pd.DataFrame, found: pd.DataFrame | None = None) -> Links:
    """For each kind of tie a Series of tokens (index: position of the row): rows with one token belong together.

    `person`: the person on screen. `donor`: a person whose face was put in, wherever that person is on screen or a donor too.
    `original`: a fake's original with all that was made from it. `upload`: the recording that clips were cut from.
    `found` adds what was seen rather than told: a table `video_id,kind,token` of kinds `near_duplicate` and `embedding`.
    """
    labels = labels.reset_index(drop=True)
    empty = pd.Series("", index=labels.index)
    identity, donor = labels.get("identity", empty), labels.get("donor", empty)
    source = labels.get("source_video", empty)
    columns = {
        "person": identity,
        "donor": pd.concat([identity, donor[donor != identity]]),
        "original": source.where(source != "", labels["video_id"]),
        "upload": labels.get("upload", empty),
    }
    result = {kind: tokens[tokens != ""] for kind, tokens in columns.items()}
    if found is not None:
        rows = pd.Series(labels.index, index=labels["video_id"])
        for kind, table in found[found["video_id"].isin(rows.index)].groupby("kind"):
            result[str(kind)] = pd.Series(table["token"].to_numpy(), index=rows[table["video_id"]].to_numpy())
    return result


class IdentityGraph:
    """Rows of the labels and the tokens of their ties as nodes of one graph; a row's edges lead to its tokens."""

    def __init__(self, rows: int, kinds: Links) -> None:
        self.rows = rows
        self.size = rows
        row, node = [np.empty(0, int)], [np.empty(0, int)]
        for name, tokens in kinds.items():
            if name == "person" and "donor" in kinds:
                continue  # its ties are among those of the donors
            codes, names = pd.factorize(tokens)
            row.append(tokens.index.to_numpy())
            node.append(codes + self.size)
            self.size += len(names)
        self.row, self.node = np.concatenate(row), np.concatenate(node)

    def components(self, through: np.ndarray | None = None) -> np.ndarray:
        """The component of each node, int (size,). With `through`, bool (rows,), only those rows join their tokens."""
        used = slice(None) if through is None else through[self.row]
        row, node = self.row[used], self.node[used]
        graph = coo_matrix((np.ones(len(row), np.int8), (row, node)), shape=(self.size, self.size))
        return connected_components(graph, directed=False)[1]


def identity_groups(labels: pd.DataFrame, kinds: Links | None = None) -> np.ndarray:
    """Connected components of the graph of ties: one int for each row, counted in the order of the rows."""
    components = IdentityGraph(len(labels), links(labels) if kinds is None else kinds).components()
    return pd.factorize(components[: len(labels)])[0]
