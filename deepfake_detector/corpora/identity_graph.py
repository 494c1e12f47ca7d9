"""Links between videos (a person, a face donor, an original, an upload), and the groups of videos that they connect."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Links = dict[str, pd.Series]  # kind of link (one of LINK_KINDS) -> token of each linked row, indexed by row position


def links(labels: pd.DataFrame, visual: pd.DataFrame | None = None) -> Links:
    """The links between the rows of a labels table, by kind. Rows that share a token of one kind are linked.

    `person`: the person on screen. `donor`: a person whose face was put into a video, together with every video that
    shows this person or has the same donor. `original`: an original and all fakes made from it. `upload`: the recording
    that clips were cut from. `visual`, a table `video_id,kind,token`, adds the kinds that come from the faces
    themselves: `near_duplicate` and `embedding` (see visual_links).

    Returns a Series of tokens for each kind. Its index holds row positions in `labels`; empty cells give no link.
    """
    labels = labels.reset_index(drop=True)
    empty = pd.Series("", index=labels.index)
    identity, donor = labels.get("identity", empty), labels.get("donor", empty)
    video, source = labels["video_id"], labels.get("source_video", empty)
    between = video[(source != "") & (source != video) & video.isin(source)]  # made from one, and the source of another
    columns = {
        "person": identity,
        "donor": pd.concat([identity, donor[donor != identity]]),
        "original": pd.concat([source.where(source != "", video), between]),
        "upload": labels.get("upload", empty),
    }
    result = {kind: tokens[tokens != ""] for kind, tokens in columns.items()}
    if visual is not None:
        rows = pd.Series(labels.index, index=labels["video_id"])
        for kind, table in visual[visual["video_id"].isin(rows.index)].groupby("kind"):
            result[str(kind)] = pd.Series(table["token"].to_numpy(), index=rows[table["video_id"]].to_numpy())
    return result


class IdentityGraph:
    """The bipartite graph of the rows of a labels table and the tokens of their links.

    Nodes 0 to `rows` - 1 are the rows, the others tokens. Edge i joins row `row[i]` and token node `node[i]`, both int
    (edges,).
    """

    def __init__(self, rows: int, links: Links) -> None:
        self.rows = rows
        self.size = rows
        row, node = [np.empty(0, int)], [np.empty(0, int)]
        for kind, tokens in links.items():
            if kind == "person" and "donor" in links:
                continue  # the links of donors include them
            codes, names = pd.factorize(tokens)
            row.append(tokens.index.to_numpy())
            node.append(codes + self.size)
            self.size += len(names)
        self.row, self.node = np.concatenate(row), np.concatenate(node)

    def components(self, through: np.ndarray | None = None) -> np.ndarray:
        """The connected component of each node: int (size,). Only edges of the rows `through`, bool (rows,), count."""
        used = slice(None) if through is None else through[self.row]
        row, node = self.row[used], self.node[used]
        graph = coo_matrix((np.ones(len(row), np.int8), (row, node)), shape=(self.size, self.size))
        return np.asarray(connected_components(graph, directed=False)[1])


def identity_groups(labels: pd.DataFrame, visual: pd.DataFrame | None = None) -> np.ndarray:
    """The group of each row, int (rows,): rows are in one group if they are linked, directly or through others.

    Groups are numbered in the order of the rows. `visual` adds links as in `links`.
    """
    components = IdentityGraph(len(labels), links(labels, visual)).components()
    return np.asarray(pd.factorize(components[: len(labels)])[0])
