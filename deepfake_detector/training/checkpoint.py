"""A detector in one safetensors file: the weights, and in the metadata all that is needed to use them."""

import json
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from deepfake_detector.files import atomic_path
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig, read_safetensors_config
from deepfake_detector.training.model import FaceClassifier, ModelError, create_model
from deepfake_detector.training.temporal_heads import create_temporal_head


def save_detector(path: Path, model: FaceClassifier, config: DetectorConfig) -> None:
    """Write the file whole or not at all.

    One metadata key holds everything: the format does not keep the order of several.
    """
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as part:
        save_file(weights, part, {"detector": json.dumps(config.model_dump(), sort_keys=True)})


def load_detector(path: Path | str) -> tuple[FaceClassifier, DetectorConfig]:
    """The detector in evaluation mode, and its configuration.

    Nothing in the file is executed. Raises CheckpointError.
    """
    config = read_safetensors_config(path)
    try:
        weights = load_file(path)
        _check_weights(weights, config.backbone, path)
        model = create_model(config.backbone, size=config.geometry.size, patch_head="patch_head.weight" in weights)
        if config.temporal != "mean":
            model.temporal = create_temporal_head(config.temporal, model.backbone.head_hidden_size)
        model.load_state_dict(weights)
    except (SafetensorError, OSError, ModelError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its own architecture: {error}") from error
    return model.eval(), config


def _check_weights(weights: dict[str, torch.Tensor], backbone: str, path: Path | str) -> None:
    """Raises CheckpointError for numbers that are not finite, and before memory is taken for a much larger network."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{path} is damaged: {name} holds numbers that are not finite")
    if not timm.is_model(backbone.partition(".")[0]):
        return  # create_model says so
    with torch.device("meta"):  # no memory for weights
        needed = sum(parameter.numel() for parameter in timm.create_model(backbone, num_classes=1).parameters())
    held = sum(tensor.numel() for tensor in weights.values())
    if needed > 2 * held:  # 2: position embeddings depend on the size of the crops
        raise CheckpointError(
            f"{path} does not fit its own architecture: a {backbone} has {needed:,} weights, and the file {held:,}"
        )
