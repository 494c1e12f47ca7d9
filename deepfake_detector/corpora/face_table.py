"""The face index joined with the labels CSV and the splits CSV: each face with its label and partition."""

import hashlib
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.files import file_sha256

VISUAL_LINKS = "visual_links.csv"  # in the folder of the split report


def load_face_table(index: Path | str, labels: Path | str, videos: Path | str, splits: Path | str) -> pd.DataFrame:
    """One row for each face, in the order of the index, with all columns of the index and of both CSV files.

    Args:
        index: the face index, a Parquet file.
        labels: the labels CSV.
        videos: folder that relative file paths in the labels CSV start from.
        splits: the splits CSV.

    Raises LabelsError if a table is missing or the tables do not belong together.
    """
    label_table = read_labels(labels, videos)
    for path, stage in ((index, "extract"), (splits, "split")):
        if not Path(path).is_file():
            raise LabelsError(f"{path} does not exist; run the {stage} stage first")
    faces = pd.read_parquet(index)
    split_table = read_splits(splits)
    known = set(label_table["video_id"]) & set(split_table["video_id"])
    unknown = sorted(set(faces["video_id"]) - known)
    if unknown:
        raise LabelsError(
            f"{index} has faces of {len(unknown)} videos that {labels} or {splits} does not list, such as "
            f"{unknown[0]}; run extract and split again"
        )
    own = [name for name in ("partition", "group", "fold") if name in label_table]  # columns that the splits CSV sets
    table = faces.merge(label_table.drop(columns=own), on="video_id", how="left")
    return table.merge(split_table, on="video_id", how="left")


def read_splits(path: Path | str) -> pd.DataFrame:
    """The splits CSV: `video_id,partition` as text, `group,fold` as int."""
    return pd.read_csv(path, dtype={"video_id": str, "partition": str}, keep_default_na=False)


def read_visual_links(folder: Path | str) -> pd.DataFrame:
    """Links that the split stage found in the faces, as rows `video_id,kind,token` of text.

    `folder` is that of the split report. Empty if it holds none.
    """
    path = Path(folder) / VISUAL_LINKS
    if not path.is_file():
        return pd.DataFrame(columns=["video_id", "kind", "token"])
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def corpus_fingerprint(labels: Path | str, index: Path | str, splits: Path | str) -> str:
    """SHA-256 over three files as 64 hexadecimal digits. Two trainings with one fingerprint used the same data."""
    digests = (bytes.fromhex(file_sha256(path)) for path in (labels, index, splits))
    return hashlib.sha256(b"".join(digests)).hexdigest()
