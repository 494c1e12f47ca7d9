"""Which faces are scored together. Light, so that ONNX inference loads neither torch nor pandas."""

from collections.abc import Hashable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CLIP_LENGTH = 16  # faces of one person, in order of time, that a temporal head takes at once


def track_ids(faces: "pd.DataFrame") -> list[Hashable]:
    """The person of each face in a table with the columns `video_id,track`."""
    return list(zip(faces["video_id"], faces["track"], strict=True))


def batch_lengths(tracks: Iterable[Hashable], batch_size: int, temporal: str) -> list[int]:
    """How many faces, taken in order, make up each batch.

    Args:
        tracks: the person of each face. The faces of a person are consecutive, in order of time.
        batch_size: most faces in a batch.
        temporal: `model.temporal`. Any head but `mean` needs a batch for each person, of at most CLIP_LENGTH faces.
    """
    if temporal == "mean":
        runs = [len(list(tracks))]
    else:
        runs, batch_size = [len(list(faces)) for _, faces in groupby(tracks)], CLIP_LENGTH
    return [min(batch_size, run - start) for run in runs for start in range(0, run, batch_size)]
