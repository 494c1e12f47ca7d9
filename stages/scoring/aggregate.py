"""From faces to people to videos: a person's logits become one; the most suspicious person decides."""

import pandas as pd

from stages.scoring.pooling import POOLING


def aggregate_tracks(faces: pd.DataFrame, how: str = "mean_logit") -> pd.DataFrame:
    """One row for each person of each video in a table of faces with `video_id,track,logit`: `video_id,track,logit,frames`.

    `how` is a name in POOLING. In order of first appearance.
    """
    tracks = faces.groupby(["video_id", "track"], sort=False)["logit"]
    logit = tracks.agg(lambda values: POOLING[how](values.to_numpy()))
    return pd.DataFrame({"logit": logit, "frames": tracks.size()}).reset_index()


def aggregate(faces: pd.DataFrame, how: str = "mean_logit") -> pd.DataFrame:
    """One row for each video of a table of faces with columns `video_id,track,logit`.

    Returns:
        Indexed by `video_id` in order of first appearance: `logit` and `track` of the deciding person, `frames` on which that
        person was scored, `faces` scored of all people.
    """
    tracks = aggregate_tracks(faces, how)
    decisive = tracks.loc[tracks.groupby("video_id", sort=False)["logit"].idxmax()].set_index("video_id")
    return decisive[["logit", "track", "frames"]].assign(faces=faces.groupby("video_id", sort=False).size())
