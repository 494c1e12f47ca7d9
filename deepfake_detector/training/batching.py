"""Which faces are scored together; light, so that judging with ONNX Runtime need not load torch."""

from collections.abc import Hashable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CLIP_LENGTH = 16  # faces of one person, in order of time, that a temporal head sees together


def track_ids(faces: "pd.DataFrame") -> list[Hashable]:
    """Whose each face of a table with `video_id,track` is."""
    return list(zip(faces["video_id"], faces["track"], strict=True))


def batch_lengths(people: Iterable[Hashable], size: int, temporal: str) -> list[int]:
    """How many faces, taken in their order, go into each batch.

    Args:
        people: for each face whose it is; those of one person lie together, in order of time.
        size: most faces in a batch.
        temporal: `model.temporal`; any head but `mean` needs the faces of one person alone, STRETCH at a time.
    """
    if temporal == "mean":
        runs = [len(list(people))]
    else:
        runs, size = [len(list(faces)) for _, faces in groupby(people)], CLIP_LENGTH
    return [min(size, run - start) for run in runs for start in range(0, run, size)]
