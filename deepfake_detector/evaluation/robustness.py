"""The test videos again, as the world hands them on: compressed, scaled, blurred, noisy, too dark or too bright.

H.264 and resolution act on videos: the file is decoded, written anew, and its faces are found and cropped again as any video's
are. JPEG, blur, noise and brightness act on the crops that extraction stored; their strengths are in pixels and grey levels of
the crop. Every strength is compared with the same videos and the same number of faces as they were.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.evaluation.intervals import interval, number
from deepfake_detector.evaluation.significance import paired_auc_difference
from deepfake_detector.evaluation.tables import Bootstrap, Row
from deepfake_detector.faces.archive import read_crops
from deepfake_detector.faces.detectors import create_detector
from deepfake_detector.faces.extraction import Face, Geometry, extract_faces
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.video_reader import VideoError, probe, read_frames
from deepfake_detector.faces.video_writer import VideoWriter

NEAR_LOSSLESS = 18  # CRF at which a video is written whose resolution alone is to change
PRESET = "veryfast"
BLOCK = 256  # videos whose faces are held at once


@dataclass(frozen=True)
class Plan:
    """What is tried. `videos` and `reencoded` bound the videos for crops and for whole files, `faces` those of each person."""

    crops: dict[str, tuple[float, ...]]
    files: dict[str, tuple[float, ...]]
    videos: int
    reencoded: int
    faces: int


UNITS = {
    "h264": "H.264, CRF",
    "resolution": "resolution, share of each side",
    "jpeg": "JPEG, quality",
    "blur": "Gaussian blur, pixels of the crop",
    "noise": "noise, grey levels of 255",
    "brightness": "brightness, factor",
}
PLANS = {
    "quick": Plan(
        crops={"jpeg": (50, 20), "blur": (1, 2), "noise": (5, 15), "brightness": (0.5, 1.5)},
        files={"h264": (32, 40), "resolution": (0.25,)},
        videos=200,
        reencoded=12,
        faces=3,
    ),
    "full": Plan(
        crops={
            "jpeg": tuple(range(100, 0, -10)),
            "blur": (0.5, 1, 1.5, 2, 3),
            "noise": (2, 5, 10, 15, 25),
            "brightness": (0.25, 0.5, 0.75, 1.25, 1.5, 2),
        },
        files={"h264": (23, 28, 32, 36, 40), "resolution": (0.5, 0.25)},
        videos=1_000_000_000,
        reencoded=1_000_000_000,
        faces=1_000_000,
    ),
}


def distort(crop: np.ndarray, family: str, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A crop, uint8 BGR (size, size, 3), after `family` of UNITS at `strength`."""
    if family == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(strength)])[1], cv2.IMREAD_COLOR)
    if family == "blur":
        return cv2.GaussianBlur(crop, (0, 0), strength)
    if family == "noise":
        return np.clip(crop + rng.normal(0, strength, crop.shape), 0, 255).round().astype(np.uint8)
    if family == "brightness":
        return np.clip(crop * strength, 0, 255).round().astype(np.uint8)
    raise ValueError(f"{family} does not act on crops")


def reencode(source: Path | str, target: Path, family: str, strength: float) -> None:
    """Write `source` anew as H.264 at CRF `strength`, or scaled by it. Raises VideoError as reading does."""
    share, crf = (strength, NEAR_LOSSLESS) if family == "resolution" else (1.0, int(strength))
    rate = probe(source).rate
    with ExitStack() as stack:
        writer = None
        for frame in read_frames(source):
            image = frame.image
            if share < 1:
                width, height = (max(16, round(side * share)) for side in image.shape[1::-1])
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            if writer is None:
                writer = stack.enter_context(VideoWriter(target, rate, (image.shape[1], image.shape[0]), crf, PRESET))
            writer.write(image, frame.time)


def faces_after(source: str, family: str, strength: float, geometry: Geometry, people: int | str) -> list[Face]:
    """What extraction finds in a video after it was written anew; nothing where it cannot be read or written."""
    detector = create_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "again.mp4"
        try:
            reencode(source, target, family, strength)
        except (VideoError, av.FFmpegError):
            return []
        return extract_faces(target, geometry, detector, people).faces


def draw_videos(videos: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most `count` of `videos`, as many of each label, of as many groups of people as can be; in their order."""
    shuffled = videos.sample(frac=1, random_state=seed)
    turn = shuffled.groupby(["label", "group"]).cumcount().sort_values(kind="stable")
    shuffled = shuffled.loc[turn.index]
    kept = pd.concat([part.head(-(-count // 2)) for _, part in shuffled.groupby("label")])
    return videos.loc[videos.index.isin(kept.index)]


def thin(faces: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` faces of each person, spread evenly over theirs."""
    rows = [
        indices[evenly_spread(len(indices), count)]
        for indices in faces.groupby(["video_id", "track"], sort=False).indices.values()
    ]
    return faces.iloc[np.sort(np.concatenate(rows))] if rows else faces


@dataclass(frozen=True)
class RobustnessStudy:
    """How faces become rows: `score` takes crops, uint8 BGR, and their table to logits (n,); `draws.seed` is that of all draws."""

    score: Callable[[Iterable[np.ndarray], pd.DataFrame], np.ndarray]
    calibration: Calibration
    draws: Bootstrap

    def score_videos(self, videos: pd.DataFrame, faces: pd.DataFrame) -> pd.DataFrame:
        """`videos` with the probability that `faces` (`video_id,track,logit`) give them; nan without a face."""
        judged = videos[["video_id", "label", "group"]].merge(
            aggregate_videos(faces, self.calibration.aggregate)[["logit"]],
            left_on="video_id",
            right_index=True,
            how="left",
        )
        return judged.assign(probability=self.calibration.probability(judged["logit"]))

    def row(self, family: str, strength: float | None, judged: pd.DataFrame, plain: pd.DataFrame) -> Row:
        """Metrics under a condition, and the change of AUC from `plain` on the videos that could be scored both times."""
        scored = judged[judged["logit"].notna()]
        row: Row = {"family": family, "strength": strength, "coverage": round(len(scored) / max(1, len(judged)), 6)}
        row |= self.draws.summary(scored, self.calibration.threshold) | {"auc_change": None}
        pair = scored.merge(plain[plain["logit"].notna()], on="video_id", suffixes=("", "_plain"))
        if pair["label"].nunique() == 2:
            change = paired_auc_difference(pair, "probability_plain", "probability", self.draws.count, self.draws.seed)
            row["auc_change"] = number(change[0])
            row["auc_change_low"], row["auc_change_high"] = interval(change, pair["group"].nunique())
        return row


def crop_rows(plan: Plan, bench: RobustnessStudy, videos: pd.DataFrame, faces: pd.DataFrame, folder: Path) -> list[Row]:
    """Rows of the families that act on crops, in each first the crops as they were.

    Args:
        videos: `video_id,label,group`.
        faces: those that extraction stored of them in `folder`.
    """
    videos = draw_videos(videos, plan.videos, bench.draws.seed)
    faces = thin(faces[faces["video_id"].isin(videos["video_id"])], plan.faces)
    plain = bench.score_videos(videos, faces.assign(logit=bench.score(stored_crops(faces, folder), faces)))
    rows = []
    bar = tqdm(total=sum(map(len, plan.crops.values())), desc="robustness: crops", unit="condition")
    for family, strengths in plan.crops.items():
        rows.append(bench.row(family, None, plain, plain))
        for strength in strengths:
            crops = enumerate(stored_crops(faces, folder))
            changed = (
                distort(crop, family, strength, np.random.default_rng([bench.draws.seed, i])) for i, crop in crops
            )
            rows.append(
                bench.row(
                    family, strength, bench.score_videos(videos, faces.assign(logit=bench.score(changed, faces))), plain
                )
            )
            bar.update()
    bar.close()
    return rows


def file_rows(
    plan: Plan,
    bench: RobustnessStudy,
    videos: pd.DataFrame,
    faces: pd.DataFrame,
    folder: Path,
    geometry: Geometry,
    people: int | str,
) -> list[Row]:
    """Rows of the families that act on whole files; arguments as for `crop_rows`, `videos` with `path`, `people` as extracted."""
    videos = draw_videos(videos, plan.reencoded, bench.draws.seed)
    faces = thin(faces[faces["video_id"].isin(videos["video_id"])], plan.faces)
    plain = bench.score_videos(videos, faces.assign(logit=bench.score(stored_crops(faces, folder), faces)))
    rows = []
    bar = tqdm(total=len(videos) * sum(map(len, plan.files.values())), desc="robustness: files", unit="video")
    for family, strengths in plan.files.items():
        rows.append(bench.row(family, None, plain, plain))
        for strength in strengths:
            work = partial(faces_after, family=family, strength=strength, geometry=geometry, people=people)
            judged = bench.score_videos(videos, _score_files(videos, work, plan.faces, bench, bar))
            rows.append(bench.row(family, strength, judged, plain))
    bar.close()
    return rows


def _score_files(
    videos: pd.DataFrame, work: Callable[[str], list[Face]], count: int, bench: RobustnessStudy, bar: tqdm
) -> pd.DataFrame:
    """`video_id,track,logit` of `count` faces of each person that `work` finds."""
    parts = []
    with ThreadPoolExecutor(
        len(os.sched_getaffinity(0))
    ) as pool:  # FFmpeg and the face detector compute outside Python's lock
        for start in range(0, len(videos), BLOCK):
            block = videos.iloc[start : start + BLOCK]
            found = []
            for name, theirs in zip(block["video_id"], pool.map(work, block["path"]), strict=True):
                found += [(name, face.track, face) for face in theirs]
                bar.update()
            table = thin(pd.DataFrame(found, columns=["video_id", "track", "face"]), count)
            parts.append(
                table.assign(logit=bench.score((face.crop for face in table["face"]), table)).drop(columns="face")
            )
    return pd.concat(parts)


def stored_crops(faces: pd.DataFrame, folder: Path) -> Iterator[np.ndarray]:
    """The crops of a table of faces, in its order, which keeps those of a video together."""
    for name, members in faces.groupby("video_id", sort=False)["member"]:
        yield from read_crops(folder / f"{name}.zip", members.tolist())
