"""What stands on two sides of a split, counted from the rows anew: no group is trusted."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from deepfake_detector.corpora.identity_graph import Links

SIDES = ("train", "val", "test")


def find_leaks(partition: pd.Series, kinds: Links) -> pd.DataFrame:
    """Every tie that crosses partitions, as rows `kind,token,pairs,example`; excluded videos are on no side.

    Args:
        partition: of each video, indexed by `video_id`, in the order of the rows that `kinds` speaks of.
        kinds: ties as `deepfake_detector.corpora.identity_graph.ties` gives them.

    `pairs` counts pairs of videos in two partitions that share the token; those that show one person are counted under
    `person` and not again under `donor`.
    """
    side = pd.Categorical(partition, SIDES).codes.astype(np.int64)  # -1: excluded
    videos = partition.index.to_numpy()
    tables = {kind: _crossing(tokens, side, videos) for kind, tokens in kinds.items()}
    if "person" in tables and "donor" in tables:
        table = tables["donor"].merge(
            tables["person"][["token", "pairs"]], on="token", how="left", suffixes=("", "_seen")
        )
        table["pairs"] -= table.pop("pairs_seen").fillna(0).astype(int)
        tables["donor"] = table[table["pairs"] > 0]
    columns = ["kind", "token", "pairs", "example"]
    filled = [table.assign(kind=kind)[columns] for kind, table in tables.items() if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _crossing(tokens: pd.Series, side: np.ndarray, videos: np.ndarray) -> pd.DataFrame:
    rows = tokens.index.to_numpy()
    codes, names = pd.factorize(tokens)
    inside = side[rows] >= 0
    rows, codes = rows[inside], codes[inside]
    counts = np.bincount(codes * len(SIDES) + side[rows], minlength=len(names) * len(SIDES)).reshape(-1, len(SIDES))
    pairs = (counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)) // 2
    leaking = np.flatnonzero(pairs).tolist()
    examples: dict[int, dict[str, str]] = {code: {} for code in leaking}
    at = np.isin(codes, leaking)
    for row, code in zip(rows[at].tolist(), codes[at].tolist(), strict=True):
        examples[code].setdefault(SIDES[side[row]], videos[row])
    words = [" and ".join(f"{video} ({name})" for name, video in examples[code].items()) for code in leaking]
    return pd.DataFrame({"token": np.asarray(names)[leaking], "pairs": pairs[leaking], "example": words})


def count_leaks(crossing: pd.DataFrame, kinds: Iterable[str]) -> dict[str, int]:
    """Pairs of videos across partitions for each kind of tie."""
    return {kind: int(crossing.loc[crossing["kind"] == kind, "pairs"].sum()) for kind in kinds}


def link_digests(kinds: Links) -> dict[str, list[str]]:
    """What the rows are tied by, by kind, as the first 12 hex digits of SHA-256: enough to know it again, not to read it."""
    return {kind: sorted(_digest(kind, tokens.unique())) for kind, tokens in kinds.items()}


def already_seen(kinds: Links, seen: dict[str, list[str]]) -> dict[str, list[str]]:
    """By kind, the tokens of ties whose digest is in `seen`: what a detector was trained on."""
    found = {kind: _digest(kind, tokens.unique()) for kind, tokens in kinds.items()}
    return {
        kind: sorted(found[kind][digest] for digest in set(found[kind]) & set(seen.get(kind, []))) for kind in found
    }


def _digest(kind: str, tokens: Iterable[str]) -> dict[str, str]:
    return {hashlib.sha256(f"{kind}:{token}".encode()).hexdigest()[:12]: token for token in tokens}
