"""Average the trained weights with those of the start, and fit the last layer anew, so that it does better elsewhere.

    cd release && PYTHONPATH=.. python -m release.head

Neither needs a gradient. The settings are in head.yaml.

Weights that were fine-tuned gain on the data that they saw, and lose on other data. Their average with the start keeps
much of both (Wortsman et al. 2022, arXiv:2109.01903).

The new layer is a linear discriminant that avoids nuisance (within-class covariance normalisation, Hatch et al. 2006,
there between recordings of one speaker). It points from the mean embedding of genuine faces to that of fakes, but less
in directions in which a fake moves when it is re-encoded. Cues there separate the training data well. Elsewhere they
mislead: they make genuine videos look suspicious.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.evaluation.calibration import fit_calibration
from deepfake_detector.faces.archive import read_table_crops
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import load_detector, save_detector
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig
from deepfake_detector.training.device import autocast, pick_device
from deepfake_detector.training.model import FaceClassifier, ModelError, create_model
from deepfake_detector.training.scoring import batch_crops
from stages.params import Params, fail, parse

SETTINGS = Path("head.yaml")
RELEASE = Path("checkpoints/released.safetensors")


@dataclass(frozen=True)
class HeadSettings:
    """head.yaml."""

    start_share: float
    shrinkage: float
    images: int


def read_settings() -> HeadSettings:
    return HeadSettings(**yaml.safe_load(SETTINGS.read_text(encoding="utf-8")))


def average_with_start(model: FaceClassifier, config: DetectorConfig, params: Params, share: float) -> None:
    """Move all numbers of `model`, those of its batch norms too, towards its start: by 0 not at all, by 1 fully."""
    start = create_model(config.backbone, params.model.weights, config.geometry.size).state_dict()
    mixed = {
        name: torch.lerp(tensor, start[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(mixed)


def sample_faces(params: Params, images: int) -> pd.DataFrame:
    """Training faces of `images` genuine images and as many fakes: each as it is, and re-encoded."""
    data = params.data
    faces = load_face_table(data.index, data.labels, data.videos, data.splits)
    faces = faces[faces["partition"] == "train"]
    videos = faces.drop_duplicates("video_id").groupby("label")["video_id"]
    rng = np.random.default_rng(params.train.seed)
    drawn = {video for _, ids in videos for video in rng.permutation(ids)[:images]}
    return faces[faces["video_id"].isin(drawn)].reset_index(drop=True)


@torch.inference_mode()
def embed(model: FaceClassifier, crops: Iterable[np.ndarray], faces: pd.DataFrame, batch_size: int) -> np.ndarray:
    """The embeddings of faces, float64 (n, channels): the mean over each crop, uint8 BGR, and its mirror image.

    As in training, they are computed in bfloat16 where the hardware does so.
    """
    device = pick_device()
    model.to(device).eval()
    batches = batch_crops(crops, batch_lengths(track_ids(faces), batch_size, "mean"))
    views = ((crop, crop.flip(3)) for crop in (batch.to(device) for batch in batches))
    with autocast(device, "auto"):
        embeddings = [
            torch.stack([model.forward_features(view)[2] for view in pair]).double().mean(0) for pair in views
        ]
    return np.asarray(torch.cat(embeddings).cpu().numpy())


def fit_head(embeddings: np.ndarray, faces: pd.DataFrame, shrinkage: float) -> tuple[np.ndarray, float]:
    """Weights (channels,) and bias of a last layer whose logits are log-odds on the faces that it is fitted to.

    Args:
        embeddings: float (n, channels).
        faces: with the columns `video_id,label,frame`; frame 0 is an image as it is, others are re-encoded.
        shrinkage: what is added to the covariance of the nuisance, as a multiple of its mean variance.
    """
    label = faces["label"].to_numpy()
    direction = embeddings[label == 1].mean(axis=0) - embeddings[label == 0].mean(axis=0)
    rows = faces.assign(row=np.arange(len(faces)))[label == 1]
    pairs = rows[rows["frame"] > 0].merge(rows[rows["frame"] == 0], on="video_id")
    shifts = embeddings[pairs["row_x"]] - embeddings[pairs["row_y"]]
    covariance = shifts.T @ shifts / len(shifts)
    variance = np.trace(covariance) / len(covariance)
    weights = np.linalg.solve(covariance + shrinkage * variance * np.eye(len(covariance)), direction)
    fitted = fit_calibration(label, embeddings @ weights, videos=faces["video_id"])
    return weights * fitted.scale, fitted.bias


def set_head(model: FaceClassifier, weights: np.ndarray, bias: float) -> None:
    layer = model.backbone.get_classifier()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights[None]))
        layer.bias.fill_(bias)


def main() -> None:
    params, settings = parse("train", __doc__ or ""), read_settings()
    try:
        model, config = load_detector(params.train.checkpoint)
        if settings.start_share:
            average_with_start(model, config, params, settings.start_share)
    except (CheckpointError, ModelError) as error:
        fail(str(error))
    faces = sample_faces(params, settings.images)
    crops = read_table_crops(faces, Path(params.data.faces))
    embeddings = embed(model, crops, faces, params.evaluate.batch_size)
    set_head(model, *fit_head(embeddings, faces, settings.shrinkage))
    save_detector(RELEASE, model, config)
    print(f"{RELEASE}: fitted to {len(faces)} faces")


if __name__ == "__main__":
    main()
