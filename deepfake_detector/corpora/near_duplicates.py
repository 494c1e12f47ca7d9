"""Near-duplicate clips: re-encoded, rescaled or trimmed copies, found by perceptual hashes of their faces."""

import cv2
import imagehash
import numpy as np
import pandas as pd
from PIL import Image

HASH_SIZE = 16  # lowest frequencies per axis of a hash
BITS = HASH_SIZE**2
NEIGHBOURS = 50  # hashes in a bucket that each hash is compared with, at most: bounds the work where many are equal


def perceptual_hash(crop: np.ndarray) -> np.ndarray:
    """pHash of a face crop (Zauner 2010): uint64 (4,), 256 signs of the lowest DCT frequencies against their median.

    `crop`: uint8 BGR (height, width, 3).
    """
    gray = Image.fromarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY))
    return np.packbits(imagehash.phash(gray, hash_size=HASH_SIZE).hash).view(np.uint64)


def near_duplicates(hashes: list[np.ndarray], limit: float, seed: int = 0) -> pd.DataFrame:
    """Pairs of clips whose faces look alike, as rows `a,b,distance`, where a < b are positions in `hashes`.

    Args:
        hashes: for each clip, the hashes of some of its faces: uint64 (faces, 4).
        limit: largest distance of a pair, a fraction of the bits, 0-1.
        seed: random seed of the bits that are compared together in the search for candidates.

    The distance is that of `clip_distance`. Candidates are clips with two hashes that agree in some run of bits, a run
    so long that few agree by chance (locality-sensitive hashing, Indyk & Motwani 1998). A pair near the limit can
    therefore be missed in a large corpus.
    """
    owner = np.repeat(np.arange(len(hashes)), [len(clip) for clip in hashes])
    pairs = [np.empty((0, 2), int)]
    if len(owner):
        bits = np.unpackbits(np.concatenate(hashes).view(np.uint8), axis=1)[:, 1:]  # the first is the mean brightness
        width = int(np.ceil(np.log2(len(owner)))) + 1
        order = np.random.RandomState(seed).permutation(bits.shape[1])
        for start in range(0, bits.shape[1] - width + 1, width):
            pairs.append(_bucket_pairs(bits[:, order[start : start + width]], owner))
    candidates = np.unique(np.concatenate(pairs), axis=0)
    rows = [(a, b, clip_distance(hashes[a], hashes[b])) for a, b in candidates.tolist()]
    return pd.DataFrame([row for row in rows if row[2] <= limit], columns=["a", "b", "distance"])


def clip_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two clips by the hashes of their faces, uint64 (n, 4) and (m, 4): a fraction of the bits, 0-1.

    For each face of one clip, the distance to the nearest face of the other; the median over the faces; the smaller of
    both directions.
    """
    distances = np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2) / BITS
    return float(min(np.median(distances.min(axis=1)), np.median(distances.min(axis=0))))


def _bucket_pairs(bits: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Pairs of different owners whose bits (hashes, width) are all equal: int (pairs, 2), the lower owner first."""
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
