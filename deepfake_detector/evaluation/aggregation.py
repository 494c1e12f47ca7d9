"""From the logits of single faces to one logit for each person, and one for each video: the most suspicious person
decides.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TOP_FRACTION = 0.25  # share of a person's faces that top_k averages


def mean_logit(logits: np.ndarray) -> float:
    return float(np.mean(logits, dtype=float))


def median(logits: np.ndarray) -> float:
    return float(np.median(np.asarray(logits, float)))


def top_k(logits: np.ndarray) -> float:
    """Mean of the highest quarter: finds fakes that show in some moments only."""
    k = max(1, round(TOP_FRACTION * len(logits)))
    return float(np.sort(np.asarray(logits, float))[-k:].mean())


def vote(logits: np.ndarray) -> float:
    """Each face votes real or fake.

    The result is the log-odds of the votes with half a vote added to each side (Haldane 1956).
    """
    fake = float((np.asarray(logits) >= 0).sum())
    return float(np.log((fake + 0.5) / (len(logits) - fake + 0.5)))


# Functions from the logits (n,), n > 0, of one person's faces to one logit. To add one, name it here.
AGGREGATORS = {"mean_logit": mean_logit, "median": median, "top_k": top_k, "vote": vote}


def aggregate_tracks(faces: "pd.DataFrame", how: str = "mean_logit") -> "pd.DataFrame":
    """One row for each person in each video of a table of faces with the columns `video_id,track,logit`.

    Args:
        how: a name in AGGREGATORS.

    Returns:
        `video_id,track,logit,frames`, in order of first appearance.
    """
    tracks = faces.groupby(["video_id", "track"], sort=False)["logit"]
    logit = tracks.agg(lambda values: AGGREGATORS[how](values.to_numpy()))
    return logit.to_frame().assign(frames=tracks.size()).reset_index()


def aggregate_videos(faces: "pd.DataFrame", how: str = "mean_logit") -> "pd.DataFrame":
    """One row for each video of a table of faces with the columns `video_id,track,logit`.

    Returns:
        Indexed by `video_id` in order of first appearance: `logit` and `track` of the most suspicious person,
        `frames` on which that person was scored, `faces` scored of all people.
    """
    tracks = aggregate_tracks(faces, how)
    decisive = tracks.loc[tracks.groupby("video_id", sort=False)["logit"].idxmax()].set_index("video_id")
    return decisive[["logit", "track", "frames"]].assign(faces=faces.groupby("video_id", sort=False).size())
