"""The tables of earlier stages, joined: each face with its label and partition."""

import hashlib
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.labels import LabelsError, read_labels
from stages.params import Data


def load_face_table(data: Data) -> pd.DataFrame:
    """The face index with all columns of the labels CSV and of the splits, in the order of the index.

    Raises LabelsError where a table is missing or the tables do not belong together.
    """
    labels = read_labels(data.labels, data.videos)
    for path, stage in ((data.index, "extract"), (data.splits, "split")):
        if not Path(path).is_file():
            raise LabelsError(f"{path} does not exist; run the {stage} stage first")
    faces = pd.read_parquet(data.index)
    splits = read_splits(data)
    unknown = set(faces["video_id"]) - set(labels["video_id"]) | set(faces["video_id"]) - set(splits["video_id"])
    if unknown:
        raise LabelsError(
            f"{data.index} holds faces of {len(unknown)} videos that {data.labels} or {data.splits} does not list, such as "
            f"{sorted(unknown)[0]}; run extract and split again"
        )
    labels = labels.drop(columns=[column for column in ("partition", "group", "fold") if column in labels])
    return faces.merge(labels, on="video_id", how="left").merge(splits, on="video_id", how="left")


def read_splits(data: Data) -> pd.DataFrame:
    return pd.read_csv(data.splits, dtype={"video_id": str, "partition": str}, keep_default_na=False)


def read_visual_links(data: Data) -> pd.DataFrame:
    """The ties that the split stage saw in the faces, `video_id,kind,token`; none where it has not looked."""
    path = split_report_folder(data) / "found.csv"
    return pd.read_csv(path, dtype=str) if path.is_file() else pd.DataFrame(columns=["video_id", "kind", "token"])


def split_report_folder(data: Data) -> Path:
    """The folder in which the split stage lists what it found, moved and excluded."""
    return Path(data.splits).with_name("split_report")


def corpus_fingerprint(data: Data) -> str:
    """SHA-256 over labels, faces and splits: two trainings of one fingerprint saw the same data."""
    digest = hashlib.sha256()
    for path in (data.labels, data.index, data.splits):
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()
