"""From faces to videos: the mean logit of a person's faces; the most suspicious person decides."""

import pandas as pd


def aggregate(faces: pd.DataFrame) -> pd.DataFrame:
    """One row for each video of a table of faces with columns `video_id,track,logit`.

    Returns:
        Indexed by `video_id` in order of first appearance: `logit` and `track` of the deciding person, `frames` on which that
        person was scored, `faces` scored of all people.
    """
    tracks = faces.groupby(["video_id", "track"], sort=False)["logit"].agg(["mean", "size"]).reset_index()
    decisive = tracks.loc[tracks.groupby("video_id", sort=False)["mean"].idxmax()].set_index("video_id")
    return pd.DataFrame(
        {
            "logit": decisive["mean"],
            "track": decisive["track"],
            "frames": decisive["size"],
            "faces": faces.groupby("video_id", sort=False).size(),
        }
    )
