"""What a detector says of images and videos: tables `what,label,group,method,source,quality,logit`."""

from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.corpora.identity_graph import identity_groups
from deepfake_detector.corpora.labels import read_labels
from deepfake_detector.evaluation.scored_videos import ScoreCrops
from deepfake_detector.faces.archive import read_table_crops
from deepfake_detector.training.detector_config import DetectorConfig
from release.sources import LEFT_OUT, LEFT_OUT_FACES
from stages.evaluate import score_further_corpus
from stages.params import Params

COLUMNS = ["what", "label", "group", "method", "source", "quality", "logit"]
REENCODED = " after H.264"  # ends `what` of an image that is not as it was


def score_partition(partition: str, score: ScoreCrops, params: Params) -> pd.DataFrame:
    """A row for each image of val or test, and for each of its re-encodings. `what` is the partition.

    Images that the split moved there are left out: the start weights may have seen them.
    """
    data = params.data
    faces = load_face_table(data.index, data.labels, data.videos, data.splits)
    kept = (faces["partition"] == partition) & (faces["subset"] == partition)
    return _score_images(faces[kept].assign(what=partition), score, params)


def score_left_out(score: ScoreCrops, params: Params) -> pd.DataFrame:
    """A row for each image of the sources that were left out, and for each of its re-encodings."""
    labels = read_labels(LEFT_OUT, params.data.videos)
    labels["group"] = identity_groups(labels)
    faces = pd.read_parquet(LEFT_OUT_FACES).merge(labels, on="video_id")
    return _score_images(faces.assign(what="left out"), score, params)


def score_corpus(name: str, score: ScoreCrops, config: DetectorConfig, params: Params) -> pd.DataFrame:
    """A row for each video with a face of a corpus in `evaluate.corpora`; `what` is its name."""
    scored = score_further_corpus(Path(params.data.corpora) / name, params.evaluate.corpora[name], score, config)
    return scored.scored(name).assign(what=name).reindex(columns=COLUMNS, fill_value="")


def _score_images(faces: pd.DataFrame, score: ScoreCrops, params: Params) -> pd.DataFrame:
    faces = faces.reset_index(drop=True)
    faces["logit"] = score(read_table_crops(faces, Path(params.data.faces)), faces)
    faces["what"] += (faces["frame"] > 0).map({True: REENCODED, False: ""})
    return faces.reindex(columns=COLUMNS, fill_value="")
