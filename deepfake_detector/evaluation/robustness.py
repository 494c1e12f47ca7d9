"""Metrics of the test videos after compression, scaling, blur, noise and changes of brightness.

H.264 and resolution act on files: each video is encoded again, and its faces are extracted as from any video. The other
families act on the stored crops; their strengths are in pixels and gray levels of the crop. Each condition is compared
with the same videos and at most as many faces of each person, undistorted.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import numpy as np
import pandas as pd
from tqdm import tqdm

from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.evaluation.intervals import effective_groups, interval, number
from deepfake_detector.evaluation.reencoding import extract_reencoded
from deepfake_detector.evaluation.robustness_plan import DISTORTIONS, Plan
from deepfake_detector.evaluation.scored_videos import ScoreCrops, ScoredVideos
from deepfake_detector.evaluation.significance import paired_auc_difference
from deepfake_detector.evaluation.tables import Resampling, Row
from deepfake_detector.faces.archive import read_table_crops
from deepfake_detector.faces.extraction import Face
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.remote import UrlLimits
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.parallel_map import cpu_count

BATCH = 256  # videos whose faces are held in memory at once


def sample_videos(videos: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """At most `count` of `videos` (`label,group`), half of each label, of as many groups as possible, in order."""
    if count is None:
        return videos
    shuffled = videos.sample(frac=1, random_state=seed)
    turn = shuffled.groupby(["label", "group"]).cumcount().sort_values(kind="stable")
    shuffled = shuffled.loc[turn.index]
    kept = pd.concat([part.head(-(-count // 2)) for _, part in shuffled.groupby("label")])
    return videos.loc[videos.index.isin(kept.index)]


def thin_faces(faces: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """At most `count` faces of each person (`video_id,track`), spread evenly."""
    if count is None or faces.empty:
        return faces
    people = faces.groupby(["video_id", "track"], sort=False).indices.values()
    rows = [indices[evenly_spread(len(indices), count)] for indices in people]
    return faces.iloc[np.sort(np.concatenate(rows))]


@dataclass(frozen=True)
class RobustnessStudy:
    """Measures scored test videos again under the conditions of a plan.

    Attributes:
        test: the corpus, with `partition` test.
        score: the detector.
        resampling: how intervals are computed; its seed also samples videos and draws noise.
        geometry: how faces are extracted from files. As many people are kept as the faces of `test` have tracks.
        url_limits: of the videos at URLs.
    """

    plan: Plan
    test: ScoredVideos
    score: ScoreCrops
    calibration: Calibration
    resampling: Resampling
    geometry: Geometry
    url_limits: UrlLimits

    def measure(self) -> list[Row]:
        """A row for each condition; in each family the undistorted videos come first, with strength None.

        A row counts videos that could not be encoded again under `not_encoded` alone, which it has if there are any.
        """
        return self._measure_files() + self._measure_crops() if len(self.test.scored("test")) else []

    def _measure_crops(self) -> list[Row]:
        videos, faces = self._sample(self.plan.max_videos)
        original = self._score_stored(videos, faces)
        rows = []
        with tqdm(total=sum(map(len, self.plan.crops.values())), desc="robustness: crops", unit="condition") as bar:
            for family, strengths in self.plan.crops.items():
                rows.append(self._row(family, None, original, original))
                for strength in strengths:
                    distorted = self._score_stored(videos, faces, partial(self._distort, family, strength))
                    rows.append(self._row(family, strength, distorted, original))
                    bar.update()
        return rows

    def _measure_files(self) -> list[Row]:
        videos, faces = self._sample(self.plan.max_files)
        original = self._score_stored(videos, faces)
        rows = []
        total = len(videos) * sum(map(len, self.plan.files.values()))
        with tqdm(total=total, desc="robustness: files", unit="video") as bar:
            for family, strengths in self.plan.files.items():
                rows.append(self._row(family, None, original, original))
                for strength in strengths:
                    found, missing = self._score_files(videos, family, strength, bar)
                    encoded = self._to_videos(videos[~videos["video_id"].isin(missing)], found)
                    row = self._row(family, strength, encoded, original)
                    rows.append(row | ({"not_encoded": len(missing)} if missing else {}))
        return rows

    def _sample(self, max_videos: int | None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Test videos and their faces."""
        videos = sample_videos(self.test.scored("test"), max_videos, self.resampling.seed)
        faces = self.test.faces[self.test.faces["video_id"].isin(videos["video_id"])]
        return videos, thin_faces(faces, self.plan.max_faces)

    def _distort(self, family: str, strength: float, crops: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for i, crop in enumerate(crops):
            yield DISTORTIONS[family](crop, strength, np.random.default_rng([self.resampling.seed, i]))

    def _score_stored(
        self,
        videos: pd.DataFrame,
        faces: pd.DataFrame,
        distort: Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]] = iter,
    ) -> pd.DataFrame:
        crops = distort(read_table_crops(faces, self.test.folder))
        return self._to_videos(videos, faces.assign(logit=self.score(crops, faces)))

    def _score_files(
        self, videos: pd.DataFrame, family: str, strength: float, bar: "tqdm[NoReturn]"
    ) -> tuple[pd.DataFrame, list[str]]:
        """`video_id,track,time,logit` of the faces found in the videos after encoding them again; and the names
        of those that could not be.
        """
        max_people = int(self.test.faces["track"].max()) + 1
        extract = partial(
            extract_reencoded,
            family=family,
            strength=strength,
            geometry=self.geometry,
            max_people=max_people,
            url_limits=self.url_limits,
        )
        parts, missing = [], []
        with ThreadPoolExecutor(cpu_count()) as pool:  # threads: FFmpeg and the face detector release Python's lock
            for start in range(0, len(videos), BATCH):
                batch = videos.iloc[start : start + BATCH]
                found: list[tuple[str, int, float, Face]] = []
                for video_id, faces in zip(batch["video_id"], pool.map(extract, batch["path"]), strict=True):
                    missing += [video_id] if faces is None else []
                    found += [(video_id, face.track, face.time, face) for face in faces or ()]
                    bar.update()
                table = thin_faces(
                    pd.DataFrame(found, columns=["video_id", "track", "time", "face"]), self.plan.max_faces
                )
                table["logit"] = self.score((face.crop for face in table["face"]), table)
                parts.append(table.drop(columns="face"))
        return pd.concat(parts), missing

    def _to_videos(self, videos: pd.DataFrame, faces: pd.DataFrame) -> pd.DataFrame:
        """`video_id,label,group,logit,probability` of videos from the logits of `faces`; nan without a face."""
        scores = aggregate_videos(faces, self.calibration.aggregation, self.calibration.scale)[["logit"]]
        table = videos[["video_id", "label", "group"]].merge(scores, left_on="video_id", right_index=True, how="left")
        return table.assign(probability=self.calibration.probability(table["logit"]))

    def _row(self, family: str, strength: float | None, videos: pd.DataFrame, original: pd.DataFrame) -> Row:
        """Metrics under a condition, and the change of AUC from `original` on the videos that have both scores."""
        scored = videos[videos["logit"].notna()]
        row: Row = {"family": family, "strength": strength, "coverage": round(len(scored) / max(1, len(videos)), 6)}
        row |= self.resampling.summary(scored, self.calibration.threshold) | {"auc_change": None}
        both = scored.merge(original[original["logit"].notna()], on="video_id", suffixes=("", "_original"))
        if both["label"].nunique() == 2:
            change = paired_auc_difference(
                both, "probability_original", "probability", self.resampling.draws, self.resampling.seed
            )
            row["auc_change"] = number(change[0])
            groups = effective_groups(both["label"], both["group"])
            row["auc_change_low"], row["auc_change_high"] = interval(change, groups)
        return row
