"""The audit of a split: links that cross partitions, counted from the rows and not from the groups of the split."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.identity_graph import Links

DIGEST_LENGTH = 12  # hex digits: long enough to recognise a token, and it does not reveal the token
LEAK_COLUMNS = ["kind", "token", "pairs", "example"]


def find_leaks(partition: pd.Series, links: Links) -> pd.DataFrame:
    """Every link that crosses partitions, as rows `kind,token,pairs,example`.

    Args:
        partition: the partition of each video, indexed by `video_id`, in the row order of `links`. Excluded videos do
            not leak.
        links: as `identity_graph.links` returns them.

    `pairs` counts the pairs of videos that share the token and are in different partitions. Pairs that show one person
    count under `person` and not again under `donor`.
    """
    side = pd.Categorical(partition, PARTITIONS).codes.astype(np.int64)  # -1: excluded
    videos = partition.index.to_numpy()
    tables = {kind: _crossing_tokens(tokens, side, videos) for kind, tokens in links.items()}
    if "person" in tables and "donor" in tables:
        persons = tables["person"][["token", "pairs"]]
        table = tables["donor"].merge(persons, on="token", how="left", suffixes=("", "_person"))
        table["pairs"] -= table.pop("pairs_person").fillna(0).astype(int)
        tables["donor"] = table[table["pairs"] > 0]
    filled = [table.assign(kind=kind)[LEAK_COLUMNS] for kind, table in tables.items() if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=LEAK_COLUMNS)


def _crossing_tokens(tokens: pd.Series, side: np.ndarray, videos: np.ndarray) -> pd.DataFrame:
    """Tokens of one kind that occur on more than one side, as rows `token,pairs,example`.

    `tokens` is indexed by row position. `side`, int (rows,), indexes PARTITIONS or is -1. `videos` (rows,) are ids.
    """
    rows = tokens.index.to_numpy()
    codes, names = pd.factorize(tokens)
    inside = side[rows] >= 0
    rows, codes = rows[inside], codes[inside]
    counts = np.bincount(codes * len(PARTITIONS) + side[rows], minlength=len(names) * len(PARTITIONS)).reshape(
        -1, len(PARTITIONS)
    )
    pairs = (counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)) // 2
    leaking = np.flatnonzero(pairs).tolist()
    examples: dict[int, dict[str, str]] = {code: {} for code in leaking}  # the first video of each side
    selected = np.isin(codes, leaking)
    for row, code in zip(rows[selected].tolist(), codes[selected].tolist(), strict=True):
        examples[code].setdefault(PARTITIONS[side[row]], videos[row])
    words = [" and ".join(f"{video} ({name})" for name, video in examples[code].items()) for code in leaking]
    return pd.DataFrame({"token": np.asarray(names)[leaking], "pairs": pairs[leaking], "example": words})


def count_leaks(leaks: pd.DataFrame, kinds: Iterable[str]) -> dict[str, int]:
    """Pairs of videos across partitions for each kind of link, from the table that `find_leaks` returns."""
    return {kind: int(leaks.loc[leaks["kind"] == kind, "pairs"].sum()) for kind in kinds}


def link_digests(links: Links) -> dict[str, list[str]]:
    """Sorted digests of the tokens by kind. A detector carries those of its training and validation videos."""
    return {kind: sorted(_digests(kind, tokens.unique())) for kind, tokens in links.items()}


def already_seen(links: Links, seen: dict[str, list[str]]) -> dict[str, list[str]]:
    """Tokens by kind whose digests are in `seen`, as `link_digests` returns them.

    Tokens are names. A video under another name is not found, and one name may be of two people. Who is found under
    `person` is not named again under `donor`.
    """
    found: dict[str, list[str]] = {}
    for kind, tokens in links.items():
        digests = _digests(kind, tokens.unique())
        named = found.get("person", []) if kind == "donor" else []
        found[kind] = sorted({digests[digest] for digest in set(digests) & set(seen.get(kind, []))} - set(named))
    return found


def _digests(kind: str, tokens: Iterable[str]) -> dict[str, str]:
    """Start of the SHA-256 of each token -> token."""
    return {hashlib.sha256(f"{kind}:{token}".encode()).hexdigest()[:DIGEST_LENGTH]: token for token in tokens}
