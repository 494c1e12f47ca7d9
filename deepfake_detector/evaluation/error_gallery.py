"""The videos that a detector got most wrong, and those that it was least sure of, with their faces."""

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib import pyplot as plt

from deepfake_detector.faces.archive import read_crops

matplotlib.use("Agg")
SHOWN = 6


def worst_videos(videos: pd.DataFrame, threshold: float) -> dict[str, pd.DataFrame]:
    """Of scored `videos`: reals that look most fake, fakes that look most real, and those nearest to the threshold."""
    real, fake = (videos[videos["label"] == label] for label in (0, 1))
    nearest = (videos["probability"] - threshold).abs().sort_values(kind="stable").index
    return {
        "Real videos that look\nmost like fakes": real.sort_values("probability", ascending=False, kind="stable").head(
            SHOWN
        ),
        "Fake videos that look\nmost like reals": fake.sort_values("probability", kind="stable").head(SHOWN),
        "Videos nearest to\nthe threshold": videos.loc[nearest].head(SHOWN),
    }


def draw_error_gallery(path: Path, videos: pd.DataFrame, faces: pd.DataFrame, folder: Path, threshold: float) -> None:
    """A sheet with the middle face of the deciding person of each, the truth and the probability given."""
    rows = worst_videos(videos, threshold)
    figure, grid = plt.subplots(
        len(rows), SHOWN, figsize=(1.7 * SHOWN + 1.2, 2.3 * len(rows)), layout="constrained", squeeze=False
    )
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[], frame_on=False)
    for line, (words, table) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(words, fontsize=10)
        for axes, video in zip(line, table.itertuples(), strict=False):
            theirs = faces[(faces["video_id"] == video.video_id) & (faces["track"] == video.track)]
            crop = read_crops(folder / f"{video.video_id}.zip", [theirs["member"].iloc[len(theirs) // 2]])[0]
            axes.imshow(crop[..., ::-1])
            truth = "fake" if video.label else "real"
            axes.set_title(f"{video.video_id}\n{truth}, judged {video.probability:.0%} fake", fontsize=7)
    figure.suptitle("Where the detector errs and doubts, among test videos")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
