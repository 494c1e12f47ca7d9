"""Score the videos of val and test with the detector, and say what the scores are worth.

    python -m stages.evaluate

Threshold and calibration were learnt on validation when the detector was trained; the test set decides nothing.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.corpora.audit import already_seen
from stages.corpora.identities import ties
from stages.corpora.labels import LabelsError, read_labels
from stages.corpora.tables import corpus_fingerprint, labelled_faces, read_found, read_splits
from stages.learning.checkpoint import CheckpointError, DetectorConfig, load_detector
from stages.learning.dataset import FaceDataset, InOrder, make_loader
from stages.learning.device import pick_device
from stages.learning.score import score_batches
from stages.params import Params, fail, parse
from stages.scoring.aggregate import aggregate
from stages.scoring.metrics import summarise
from stages.scoring.report import draw_plots, write_plot_data

PLOTS = Path("plots/evaluate")


def judge_videos(faces: pd.DataFrame, splits: pd.DataFrame, labels: pd.DataFrame, config: DetectorConfig) -> pd.DataFrame:
    """data/predictions.csv: every video of val and test, those without a face with verdict no_face and no score."""
    videos = splits[splits["partition"].isin(["val", "test"])].merge(labels[["video_id", "label"]], on="video_id")
    videos = videos.merge(aggregate(faces), left_on="video_id", right_index=True, how="left")
    scored = videos["logit"].notna()
    videos["probability"] = config.calibration.probability(videos["logit"].to_numpy()).round(6)
    videos["verdict"] = np.where(scored, config.calibration.verdict(videos["probability"].to_numpy()), "no_face")
    videos[["frames", "faces"]] = videos[["frames", "faces"]].fillna(0).astype(int)
    videos["logit"] = videos["logit"].astype(float).round(6)
    return videos


def measure_partition(videos: pd.DataFrame, faces: pd.DataFrame, config: DetectorConfig, params: Params) -> dict[str, Any]:
    """Metrics of one partition, of videos and of faces, and the share of its videos that could be scored."""
    scored = videos[videos["verdict"] != "no_face"]
    faces = faces[faces["video_id"].isin(scored["video_id"])]
    threshold, settings = config.calibration.threshold, params.evaluate
    result: dict[str, Any] = {"coverage": round(len(scored) / len(videos), 6) if len(videos) else 0.0, "threshold": threshold}
    for level, table in (("video", scored), ("frame", faces)):
        result[level] = summarise(
            table["label"].to_numpy(),
            table["probability"].to_numpy(),
            threshold,
            table["group"].to_numpy(),
            settings.bootstrap,
            settings.seed,
        )
    return result


def audit_against(config: DetectorConfig, faces: pd.DataFrame, params: Params) -> None:
    """End the stage if anybody or anything in the test set was seen in training, by what the detector itself remembers."""
    if not config.seen:
        fail(f"{params.infer.checkpoint} does not say what it was trained on, so that no leak can be excluded; train again")
    seen = already_seen(ties(faces.drop_duplicates("video_id"), read_found(params.data)), config.seen)
    leaks = [f"{kind} {', '.join(tokens[:10])}" for kind, tokens in seen.items() if tokens and kind not in params.split.allow_leaks]
    if leaks:
        fail(f"{params.infer.checkpoint} was trained on what the test set shows: " + "; ".join(leaks) + "; see split.allow_leaks")


def main() -> None:
    params = parse("evaluate", __doc__ or "")
    try:
        model, config = load_detector(params.infer.checkpoint)
        faces = labelled_faces(params.data)
        labels, splits = read_labels(params.data.labels, params.data.videos), read_splits(params.data)
    except (LabelsError, CheckpointError) as error:
        fail(str(error))
    if config.corpus != corpus_fingerprint(params.data):
        fail(
            f"{params.infer.checkpoint} was trained on other labels, faces or splits; its test set may be known to it; train again"
        )
    audit_against(config, faces[faces["partition"] == "test"], params)
    device = pick_device()
    faces = faces[faces["partition"].isin(["val", "test"])].reset_index(drop=True)
    loader = make_loader(FaceDataset(faces, Path(params.data.faces)), InOrder(len(faces), params.evaluate.batch_size), 0)
    faces["logit"] = score_batches(model.to(device), (crops for crops, _ in loader), device)
    faces["probability"] = config.calibration.probability(faces["logit"].to_numpy())
    videos = judge_videos(faces, splits, labels, config)
    columns = ["video_id", "partition", "label", "probability", "logit", "verdict", "frames", "faces"]
    videos[columns].to_csv(params.data.predictions, index=False, lineterminator="\n")
    parts = {
        name: measure_partition(videos[videos["partition"] == name], faces[faces["partition"] == name], config, params)
        for name in ("val", "test")
    }
    metrics = {**parts["test"], "val": parts["val"]}
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/evaluate.json").write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    scored = videos[videos["verdict"] != "no_face"]
    write_plot_data(PLOTS, scored)
    draw_plots(PLOTS, scored, config.calibration.threshold, metrics)
    test = metrics["video"]
    print(f"test: {test['n']} videos of {test['groups']} groups of people, coverage {metrics['coverage']:.1%}")
    for name in ("auc", "accuracy", "eer", "ece"):
        low, high = test[f"{name}_low"], test[f"{name}_high"]
        print(f"  video {name} {test[name]}" + (f" (95 % interval {low} to {high})" if low is not None else ""))


if __name__ == "__main__":
    main()
