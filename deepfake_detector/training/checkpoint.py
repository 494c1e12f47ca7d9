"""A detector as one safetensors file: weights, and in its metadata all that is needed to use them."""

import json
import os
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig
from deepfake_detector.training.model import FaceClassifier, ModelError, TemporalHead, create_model


def save_detector(path: Path, model: FaceClassifier, config: DetectorConfig) -> None:
    """Write atomically. One metadata key holds everything: the format does not keep the order of several."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, part, {"detector": json.dumps(config.model_dump(), sort_keys=True)})
    os.replace(part, path)


def load_detector(path: Path | str) -> tuple[FaceClassifier, DetectorConfig]:
    """The detector in evaluation mode and its configuration. Nothing in the file is executed. Raises CheckpointError."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path} does not exist; train a detector (dvc repro train) or give --infer.checkpoint")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
    if "detector" not in metadata:
        raise CheckpointError(
            f"{path} has weights but no detector metadata; only a file written by the train stage serves"
        )
    try:
        config = DetectorConfig.model_validate_json(metadata["detector"])
        model = create_model(config.backbone, places="places.weight" in weights)
        if config.temporal != "mean":
            model.temporal = TemporalHead(config.temporal, model.backbone.num_features)
        model.load_state_dict(weights)
    except (ValidationError, ModelError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit this version or its own architecture: {error}") from error
    return model.eval(), config
