"""Calibrate the detector for videos, and write it as it is released: half the size, and with its description.

    cd release && PYTHONPATH=.. python -m release.publish

The train stage calibrates on single images of the validation people. Videos of other origin have other logits. So the
calibration is fitted anew, to those images and to the videos of the corpus `dev`, which was never trained on. Both
count alike. Convolutions become float16. Batch norm stays in float32: its variances may exceed the range of float16.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from deepfake_detector.corpora.labels import read_labels
from deepfake_detector.evaluation.calibration import Calibration, choose_threshold, fit_calibration
from deepfake_detector.evaluation.scored_videos import ScoreCrops
from deepfake_detector.files import atomic_path
from deepfake_detector.training.checkpoint import load_detector, save_detector
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig
from release.head import RELEASE
from release.scores import score_corpus, score_partition
from stages.evaluate import open_detector
from stages.params import Params, fail, parse

PUBLISHED = Path("published/face_resnet18.safetensors")
OPERATING_POINTS = Path("published/operating_points.json")  # name to the probability from which a video is flagged
POINTS = {"balanced": "eer", "5 %": "fpr=0.05", "1 %": "fpr=0.01"}
CORPUS = "dev"


UNCALIBRATED = Calibration(scale=1, bias=0, threshold=0.5, low=0.5, high=0.5)


def calibration_data(score: ScoreCrops, config: DetectorConfig, params: Params) -> pd.DataFrame:
    """The validation images and the videos of `dev`, repeated so that both have about as many rows."""
    images = score_partition("val", score, params)
    videos = score_corpus(CORPUS, score, config.model_copy(update={"calibration": UNCALIBRATED}), params)
    videos = videos.loc[np.repeat(videos.index, max(1, round(len(images) / len(videos))))]
    return pd.concat([images, videos], ignore_index=True)


def describe(params: Params) -> str:
    """What the detector was trained on, for people."""
    labels = read_labels(params.data.labels, params.data.videos)
    genuine = labels[labels["label"] == 0]["source"].value_counts()
    listed = ", ".join(f"{count:,} of {source}" for source, count in genuine.items())
    return (
        f"trained on {len(labels) - int(labels['label'].sum()):,} genuine faces ({listed}) and on "
        f"{int(labels['label'].sum()):,} manipulated or generated ones. It knows face swaps of the kind of DFDC best. "
        "On videos of other origin it errs often, above all on strongly compressed ones. It is for research only"
    )


def main() -> None:
    params = parse("evaluate", __doc__ or "")
    try:
        model, config = load_detector(RELEASE)
        score, _ = open_detector(str(RELEASE), params.evaluate.batch_size)
    except CheckpointError as error:
        fail(str(error))
    table = calibration_data(score, config, params)
    calibration = fit_calibration(table["label"], table["logit"], params.train.operating_point)
    label, probability = table["label"].to_numpy(), calibration.probability(table["logit"])
    points = {name: choose_threshold(label, probability, point) for name, point in POINTS.items()}
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.half()
    save_detector(
        PUBLISHED, model, config.model_copy(update={"calibration": calibration, "description": describe(params)})
    )
    with atomic_path(OPERATING_POINTS) as path:
        path.write_text(json.dumps(points, indent=2) + "\n")
    print(f"{PUBLISHED}: {PUBLISHED.stat().st_size / 1e6:.1f} MB, {calibration}")


if __name__ == "__main__":
    main()
