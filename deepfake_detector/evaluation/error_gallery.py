"""The videos with the largest errors and those nearest to the threshold, with their faces."""

from pathlib import Path

import pandas as pd

from deepfake_detector.evaluation.calibration import VERDICT_TEXTS
from deepfake_detector.faces.archive import archive_path, read_crops
from deepfake_detector.figures import figure_file, shorten

COUNT = 6  # videos in each row


def choose_videos(videos: pd.DataFrame, threshold: float) -> dict[str, pd.DataFrame]:
    """The worst of each class, and those nearest to `threshold`: row title -> at most COUNT of the scored `videos`."""
    real, fake = (videos[videos["label"] == label] for label in (0, 1))
    nearest = (videos["probability"] - threshold).abs().sort_values(kind="stable").index
    return {
        "Real videos with the\nhighest fake probability": real.sort_values(
            "probability", ascending=False, kind="stable"
        ).head(COUNT),
        "Fake videos with the\nlowest fake probability": fake.sort_values("probability", kind="stable").head(COUNT),
        "Videos nearest to\nthe threshold": videos.loc[nearest].head(COUNT),
    }


def draw_error_gallery(path: Path, videos: pd.DataFrame, faces: pd.DataFrame, folder: Path, threshold: float) -> None:
    """Write a PNG with one face, label, verdict and probability of each video of `choose_videos`.

    Args:
        videos: scored test videos, `video_id,label,track,probability,verdict`; `track` is the most suspicious person.
        faces: their faces, `video_id,track,member`, in order of time. The middle one of that person is shown.
        folder: of the archives that hold the crops.
    """
    rows = choose_videos(videos, threshold)
    with figure_file(path, (1.7 * COUNT + 1.2, 2.4 * len(rows)), len(rows), COUNT) as (figure, grid):
        for axes in grid.ravel():
            axes.set(xticks=[], yticks=[], frame_on=False)
        for line, (title, table) in zip(grid, rows.items(), strict=True):
            line[0].set_ylabel(title, fontsize=10)
            for axes, video in zip(line, table.itertuples(), strict=False):
                person = faces[(faces["video_id"] == video.video_id) & (faces["track"] == video.track)]
                member = person["member"].iloc[len(person) // 2]
                axes.imshow(read_crops(archive_path(folder, video.video_id), [member])[0][..., ::-1])
                label, verdict = "fake" if video.label else "real", VERDICT_TEXTS[video.verdict]
                score = f"fake probability {100 * video.probability:.0f} %"
                name = shorten(video.video_id, 28)
                axes.set_title(f"{name}\n{label} video: {verdict}\n{score}", fontsize=7)
        figure.suptitle(f"Test videos with the largest errors, and nearest to the threshold ({100 * threshold:.0f} %)")
