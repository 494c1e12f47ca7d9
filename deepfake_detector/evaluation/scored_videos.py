"""Videos with scores and verdicts, from their faces and a function that scores crops."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import DECIMALS, Calibration
from deepfake_detector.faces.archive import read_table_crops

# A detector: crops, uint8 BGR (size, size, 3), and the table of their faces (`video_id,track`) to logits, float (n,).
ScoreCrops = Callable[[Iterable[np.ndarray], pd.DataFrame], np.ndarray]

SCORE_COLUMNS = ("logit", "track", "frames", "faces", "probability", "verdict")  # what `add_verdicts` adds
PREDICTION_COLUMNS = ["video_id", "partition", "label", "probability", "logit", "verdict", "frames", "faces"]


@dataclass(frozen=True)
class ScoredVideos:
    """The scored videos of one corpus.

    Attributes:
        videos: one row for each video, as `add_verdicts` returns them.
        faces: one row for each face, `video_id,track,member,label,group,partition,logit`.
        folder: of the archives that hold the crops.
        report: of the extraction, `video_id,status`.
    """

    videos: pd.DataFrame
    faces: pd.DataFrame
    folder: Path
    report: pd.DataFrame

    def all_of(self, partition: str) -> pd.DataFrame:
        """The videos of a partition, with and without a score."""
        return self.videos[self.videos["partition"] == partition]

    def scored(self, partition: str) -> pd.DataFrame:
        """The videos of a partition that have a score."""
        videos = self.all_of(partition)
        return videos[videos["verdict"] != "no_face"]


def score_videos(
    videos: pd.DataFrame,
    faces: pd.DataFrame,
    folder: Path,
    report: pd.DataFrame,
    score: ScoreCrops,
    calibration: Calibration,
) -> ScoredVideos:
    """Score the faces of `videos`; arguments as for ScoredVideos, without scores."""
    faces = faces.reset_index(drop=True)
    faces["logit"] = score(read_table_crops(faces, folder), faces)
    return ScoredVideos(add_verdicts(faces, videos, calibration), faces, folder, report)


def add_verdicts(faces: pd.DataFrame, videos: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """The scores and verdicts of videos.

    Args:
        faces: `video_id,track,logit`.
        videos: `video_id` and any other columns.

    Returns:
        `videos` with SCORE_COLUMNS. A video without a face has verdict `no_face`, no score, and 0 frames and faces.
    """
    scores = aggregate_videos(faces, calibration.aggregation, calibration.scale)
    videos = videos.drop(columns=list(SCORE_COLUMNS), errors="ignore")
    videos = videos.merge(scores, left_on="video_id", right_index=True, how="left")
    logit = videos["logit"].astype(float)
    videos["probability"] = calibration.probability(logit)
    videos["verdict"] = np.where(logit.notna(), calibration.verdict(videos["probability"]), "no_face")
    videos["logit"] = logit.round(DECIMALS)
    videos[["frames", "faces"]] = videos[["frames", "faces"]].fillna(0).astype(int)
    return videos
