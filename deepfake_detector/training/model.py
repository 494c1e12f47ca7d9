"""The network: any timm backbone, fed with crops as they are stored, that says how fake a face is, and where."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import linear, pad


class ModelError(Exception):
    """The network asked for cannot be had; the message says why and what would do."""


class FaceClassifier(nn.Module):
    """uint8 RGB crops (n, 3, size, size) to logits (n,), float32; above 0 means more fake than real.

    With `places` there is an answer for each place of the last features but one as well, and their mean counts as much as the
    answer for the whole face: what is seen at one place can hardly be learnt by heart from who is shown.

    With a `temporal` head the crops are those of one person in order of time, and the answer for each depends on the others.
    """

    backbone: Any  # a timm model
    temporal: "TemporalHead | None"
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Any, mean: tuple[float, ...], std: tuple[float, ...], places: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.stage = len(backbone.feature_info) - 2
        self.places = nn.Conv2d(backbone.feature_info[self.stage]["num_chs"], 1, 1) if places else None
        self.temporal = None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255, persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Out of training, the mean over each crop and its mirror image."""
        logits = self.forward_clip(crops)
        return logits if self.training else (logits + self.forward_clip(crops.flip(3))) / 2

    def forward_clip(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits of faces (n,) as they are, with what the temporal head adds."""
        logits, _, embeddings = self.forward_features(crops)
        return logits if self.temporal is None else logits + self.temporal(embeddings[None])[0]

    def forward_features(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What single faces tell: logits (n,), logits of their places (n, 1, height, width), if it has any, embeddings (n, d)."""
        if self.places is None:
            features, places = self.backbone.forward_features(self.normalise(crops)), None
        else:
            features, between = self.backbone.forward_intermediates(self.normalise(crops), indices=[self.stage])
            places = self.places(between[0]).float()
        logits = self.backbone.forward_head(features).squeeze(1).float()
        logits = logits if places is None else logits + places.mean(dim=(1, 2, 3))
        return logits, places, self.backbone.forward_head(features, pre_logits=True).float()

    def normalise(self, crops: torch.Tensor) -> torch.Tensor:
        """What the backbone takes, float32."""
        return ((crops.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class SmallMapConv(nn.Conv2d):
    """A 3 × 3 convolution that is trained as one product of matrices where the map is small, on a CPU: same weights, same result.

    There the gradient of the weights takes oneDNN three to four times as long: it sums along single rows of the map, and the last
    rows of a ResNet are three places long.
    """

    LARGEST = 4  # places a side; from six on, the convolution is as fast
    NARROWEST = 512  # channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (n, channels, height, width), stride = x.shape, self.stride[0]
        rows, columns = (height - 1) // stride + 1, (width - 1) // stride + 1
        if not self.training or x.device.type != "cpu" or max(rows, columns) > self.LARGEST:
            return super().forward(x)
        x = pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        ends = (rows - 1) * stride + 1, (columns - 1) * stride + 1
        windows = [x[:, i : i + ends[0] : stride, j : j + ends[1] : stride] for i in range(3) for j in range(3)]
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, 9 * channels)
        product = linear(torch.cat(windows, 3).reshape(-1, 9 * channels), weight, self.bias)
        return product.view(n, rows, columns, self.out_channels).permute(0, 3, 1, 2)

    @classmethod
    def take_over(cls, network: nn.Module) -> None:
        """Make every wide plain 3 × 3 convolution of `network` one of these."""
        for module in network.modules():
            if type(module) is nn.Conv2d and module.out_channels >= cls.NARROWEST and module.stride in ((1, 1), (2, 2)):
                plain = module.kernel_size == (3, 3) and module.groups == 1 and module.dilation == (1, 1)
                if plain and module.padding == (1, 1) and module.padding_mode == "zeros":
                    module.__class__ = cls


class TemporalHead(nn.Module):
    """Embeddings of people's faces in order of time (people, faces, d) to what their logits gain: float32 (people, faces).

    `gru`: both directions (Cho et al. 2014); `attention`: one layer of a transformer (Vaswani et al. 2017), to which the order of
    faces is nothing. Untrained, it adds nothing.
    """

    def __init__(self, kind: str, channels: int, width: int = 64) -> None:
        super().__init__()
        self.narrow = nn.Linear(channels, width)
        if kind == "gru":
            self.mix: nn.Module = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        else:
            self.mix = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0, batch_first=True, norm_first=True)
        self.gain = nn.Linear(width, 1)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        mixed = self.mix(self.narrow(embeddings))
        return self.gain(mixed[0] if isinstance(mixed, tuple) else mixed).squeeze(2)


def create_model(backbone: str, weights: str = "none", places: bool = False) -> FaceClassifier:
    """A classifier on `backbone`, started from `weights`: none, imagenet, or a .safetensors file of that backbone.

    Raises ModelError for an unknown backbone, a hub out of reach, or a file that does not fit.
    """
    if backbone not in timm.list_models():
        close = ", ".join(get_close_matches(backbone, timm.list_models(), 5))
        raise ModelError(f"model.backbone = {backbone!r} is no timm model" + (f"; near it: {close}" if close else ""))
    try:
        network: Any = timm.create_model(backbone, pretrained=weights == "imagenet", num_classes=1)
    except Exception as error:  # the hub client raises many kinds, all of which mean: no weights
        if weights != "imagenet":
            raise
        raise ModelError(
            f"the ImageNet weights of {backbone} cannot be fetched ({type(error).__name__}: {error}); "
            "connect once so that they are cached, give model.weights a .safetensors file, or set it to none"
        ) from error
    if weights not in ("none", "imagenet"):
        load_backbone(network, Path(weights))
    for parameter in network.get_classifier().parameters():
        nn.init.normal_(parameter, std=0.01)  # timm's own start makes some backbones sure of everything: logits of ±14
    SmallMapConv.take_over(network)
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
