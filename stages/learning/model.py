"""The network: any timm backbone, fed with crops as they are stored, that says how fake a face is, and where."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn


class ModelError(Exception):
    """The network asked for cannot be had; the message says why and what would do."""


class FaceClassifier(nn.Module):
    """uint8 RGB crops (n, 3, size, size) to logits (n,), float32; above 0 means more fake than real.

    With `places` there is an answer for each place of the last features but one as well, and their mean counts as much as the
    answer for the whole face: what is seen at one place can hardly be learnt by heart from who is shown.
    """

    backbone: Any  # a timm model
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Any, mean: tuple[float, ...], std: tuple[float, ...], places: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.stage = len(backbone.feature_info) - 2
        self.places = nn.Conv2d(backbone.feature_info[self.stage]["num_chs"], 1, 1) if places else None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255, persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Out of training, the mean over each crop and its mirror image."""
        logits = self.answer(crops)[0]
        return logits if self.training else (logits + self.answer(crops.flip(3))[0]) / 2

    def answer(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits of faces (n,) as they are, and of their places (n, 1, height, width), if it has any; float32."""
        if self.places is None:
            return self.backbone(self.normalise(crops)).squeeze(1).float(), None
        features, between = self.backbone.forward_intermediates(self.normalise(crops), indices=[self.stage])
        places = self.places(between[0]).float()
        return self.backbone.forward_head(features).squeeze(1).float() + places.mean(dim=(1, 2, 3)), places

    def normalise(self, crops: torch.Tensor) -> torch.Tensor:
        """What the backbone takes, float32."""
        return ((crops.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def create_model(backbone: str, weights: str = "none", places: bool = False) -> FaceClassifier:
    """A classifier on `backbone`, started from `weights`: none, imagenet, or a .safetensors file of that backbone.

    Raises ModelError for an unknown backbone, a hub out of reach, or a file that does not fit.
    """
    if backbone not in timm.list_models():
        close = ", ".join(get_close_matches(backbone, timm.list_models(), 5))
        raise ModelError(f"model.backbone = {backbone!r} is no timm model" + (f"; near it: {close}" if close else ""))
    try:
        network = timm.create_model(backbone, pretrained=weights == "imagenet", num_classes=1)
    except Exception as error:  # the hub client raises many kinds, all of which mean: no weights
        if weights != "imagenet":
            raise
        raise ModelError(
            f"the ImageNet weights of {backbone} cannot be fetched ({type(error).__name__}: {error}); "
            "connect once so that they are cached, give model.weights a .safetensors file, or set it to none"
        ) from error
    if weights not in ("none", "imagenet"):
        load_backbone(network, Path(weights))
    config = timm.data.resolve_model_data_config(network)
    return FaceClassifier(network, config["mean"], config["std"], places).to(memory_format=torch.channels_last)


def load_backbone(network: nn.Module, path: Path) -> None:
    """Load a file of backbone weights in place, all but the classifying layer. Raises ModelError if it does not fit."""
    try:
        state = load_file(path)
    except Exception as error:
        raise ModelError(f"model.weights = {str(path)!r} is no safetensors file: {error}") from error
    head = f"{network.pretrained_cfg['classifier']}."  # type: ignore[index]
    state = {key: value for key, value in state.items() if not key.startswith(head)}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"model.weights = {str(path)!r} belongs to another architecture: {error}") from error
    missing = [key for key in missing if not key.startswith(head)]
    if missing or unexpected:
        raise ModelError(
            f"model.weights = {str(path)!r} does not fit: {len(missing)} weights missing, {len(unexpected)} unknown, "
            f"such as {(missing + unexpected)[0]}"
        )
