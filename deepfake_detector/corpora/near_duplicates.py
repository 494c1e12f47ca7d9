"""Near-duplicate clips: copies that were encoded, scaled or trimmed anew, found by perceptual hashes of their faces."""

import cv2
import numpy as np
import pandas as pd

BITS = 256
NEIGHBOURS = 50  # compared with each hash in a bucket of many equal ones


def perceptual_hash(crop: np.ndarray) -> np.ndarray:
    """Signs of the 16 × 16 lowest frequencies of a grey 64 × 64 picture against their median (Zauner 2010): uint64 (4,).

    `crop`: uint8 BGR (height, width, 3). The constant frequency, which is light alone, counts as 0.
    """
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:16, :16].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    return np.packbits(bits).view(np.uint64)


def near_duplicates(hashes: list[np.ndarray], limit: float, seed: int = 0) -> pd.DataFrame:
    """Pairs of clips whose faces look alike, as rows `a,b,distance` (positions in `hashes`, a < b; distance at most `limit`).

    Args:
        hashes: of each clip, those of some of its faces: uint64 (faces, 4).
        limit: share of the bits.
        seed: of which bits are looked at together when candidates are sought.

    The distance of two clips is the median, over the faces of one, of the distance to the nearest face of the other; the smaller
    of both ways. Candidates agree in some run of bits, as long as leaves few to agree by chance (locality-sensitive hashing,
    Indyk & Motwani 1998), so that a pair near the limit can be missed in a large corpus.
    """
    owner = np.repeat(np.arange(len(hashes)), [len(clip) for clip in hashes])
    pairs = [np.empty((0, 2), int)]
    if len(owner):
        bits = np.unpackbits(np.concatenate(hashes).view(np.uint8), axis=1)[:, 1:]
        width = int(np.ceil(np.log2(len(owner)))) + 1
        order = np.random.RandomState(seed).permutation(bits.shape[1])
        for start in range(0, bits.shape[1] - width + 1, width):
            pairs.append(_in_one_bucket(bits[:, order[start : start + width]], owner))
    candidates = np.unique(np.concatenate(pairs), axis=0)
    rows = [(a, b, clip_distance(hashes[a], hashes[b])) for a, b in candidates.tolist()]
    return pd.DataFrame([row for row in rows if row[2] <= limit], columns=["a", "b", "distance"])


def clip_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of two clips by the hashes of their faces, (n, 4) and (m, 4): share of bits, 0-1."""
    apart = np.bitwise_count(one[:, None] ^ other[None]).sum(axis=2) / BITS
    return float(min(np.median(apart.min(axis=1)), np.median(apart.min(axis=0))))


def _in_one_bucket(bits: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Pairs of different owners whose bits (n, width) are all equal: int (pairs, 2), the lower first."""
    key = bits.astype(np.int64) @ (1 << np.arange(bits.shape[1], dtype=np.int64))
    order = np.argsort(key, kind="stable")
    key, owner = key[order], owner[order]
    found = []
    for step in range(1, NEIGHBOURS + 1):
        same = key[step:] == key[:-step]
        if not same.any():
            break
        two = np.stack([owner[:-step][same], owner[step:][same]], axis=1)
        found.append(np.unique(np.sort(two[two[:, 0] != two[:, 1]], axis=1), axis=0))
    return np.concatenate(found) if found else np.empty((0, 2), int)
