"""The network: a timm backbone that gives each face crop a logit, and each patch of it one."""

import logging
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from timm.models._hub import HF_SAFE_WEIGHTS_NAME, hf_split
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepfake_detector.bundled_models import RELEASED_DETECTOR, BundledModelError, bundled_model
from deepfake_detector.files import file_sha256
from deepfake_detector.training.small_map_conv import use_small_map_convs

logger = logging.getLogger(__name__)
# Start weights that come with the project: by value of `weights` and by backbone the file in models/. See NOTICE.
BUNDLED_WEIGHTS = {
    "imagenet": {"resnet18": "resnet18_imagenet.safetensors"},
    "released": {"resnet18": RELEASED_DETECTOR},
}
PREFIX = "backbone."  # of the backbone's weights in a detector of this project
PATCHES = "patch_head."  # of its patch head's weights


class ModelError(Exception):
    """The network cannot be made; the message says why and what would do."""


class FaceClassifier(nn.Module):
    """uint8 RGB crops (n, 3, size, size) to logits (n,), float32. A logit above 0 means fake rather than real.

    With a patch head, each patch of the second-to-last feature map has a logit too, and their mean is added to the
    logit of the face. One patch says little about who is shown, so it is harder to memorise people.

    With a temporal head, the crops are those of one person in order of time, and each logit depends on the other crops.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Any, mean: tuple[float, ...], std: tuple[float, ...], patch_channels: int = 0) -> None:
        """`backbone`: a timm model; `mean`, `std`: of its input, 0 to 1; `patch_channels`: of the patch head's input,
        0: no head.
        """
        super().__init__()
        self.backbone = backbone
        self.patch_head = nn.Conv2d(patch_channels, 1, 1) if patch_channels else None
        self.temporal: nn.Module | None = None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255, persistent=False)

    def train(self, mode: bool = True) -> "FaceClassifier":
        """As usual, but batch norms that are frozen keep their statistics, too."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and not any(weight.requires_grad for weight in module.parameters()):
                module.eval()
        return self

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits (n,). In evaluation mode they are the mean over each crop and its mirror image."""
        logits = self.forward_clip(crops)
        return logits if self.training else (logits + self.forward_clip(crops.flip(3))) / 2

    def forward_clip(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits (n,) of crops as they are, with what the temporal head adds."""
        logits, _, embeddings = self.forward_features(crops)
        return logits if self.temporal is None else logits + self.temporal(embeddings[None])[0]

    def forward_features(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Logits (n,) of single faces, logits of their patches (n, 1, height, width) or None, and embeddings (n,
        channels).
        """
        if self.patch_head is None:
            features, patch_logits = self.backbone.forward_features(self.normalize(crops)), None
        else:
            features, maps = self.backbone.forward_intermediates(self.normalize(crops), indices=[-2])
            patch_logits = self.patch_head(maps[0]).float()
        logits = self.backbone.forward_head(features).squeeze(1).float()
        logits = logits if patch_logits is None else logits + patch_logits.mean(dim=(1, 2, 3))
        return logits, patch_logits, self.backbone.forward_head(features, pre_logits=True).float()

    def normalize(self, crops: torch.Tensor) -> torch.Tensor:
        """The input of the backbone, float32."""
        return ((crops.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def create_model(backbone: str, weights: str = "none", size: int = 0, patch_head: bool = False) -> FaceClassifier:
    """A classifier on the timm model `backbone`.

    Args:
        weights: none (random), imagenet, released (the released detector), or a .safetensors file: of that backbone
            in timm's names, or a detector of this project with that backbone.
        size: side of the crops in pixels; 0: the backbone's own. Vision transformers are built for one size.
        patch_head: whether patches have logits, too.

    Raises:
        ModelError: for a backbone that is unknown or does not take such crops, a hub that is out of reach, or a file
            that does not fit.
    """
    if not timm.is_model(backbone.partition(".")[0]):
        near = ", ".join(get_close_matches(backbone, timm.list_models(), 5))
        raise ModelError(f"model.backbone = {backbone!r} is no timm model" + (f"; near it: {near}" if near else ""))
    file = weights_file(backbone, weights)
    network = _create_backbone(backbone, weights == "imagenet" and not file, size)
    for parameter in _classifier_parameters(network):
        nn.init.normal_(parameter, std=0.01)  # the start values of timm give some backbones logits of ±14
    patch_weights = load_backbone(network, file) if file else None
    config = timm.data.resolve_model_data_config(network)
    channels = _check_backbone(network, backbone, size or config["input_size"][-1], patch_head)
    use_small_map_convs(network)
    model = FaceClassifier(network, config["mean"], config["std"], channels if patch_head else 0)
    if model.patch_head and patch_weights is not None:
        for parameter in model.patch_head.parameters():
            nn.init.zeros_(parameter)  # if the detector has no patch head, the new one adds nothing to its logits
        model.patch_head.load_state_dict(patch_weights, strict=False)
    return model.to(memory_format=torch.channels_last)


def weights_file(backbone: str, weights: str) -> Path | None:
    """The file that `weights` means; None if it means no file, or weights of timm's hub. Raises ModelError."""
    if weights not in ("none", *BUNDLED_WEIGHTS):
        return Path(weights)
    name = BUNDLED_WEIGHTS.get(weights, {}).get(backbone)
    if weights == "released" and not name:
        raise ModelError(f"model.weights = 'released' is a {', '.join(BUNDLED_WEIGHTS[weights])}, not a {backbone}")
    try:
        return bundled_model(name) if name else None
    except BundledModelError as error:
        raise ModelError(str(error)) from error


def _create_backbone(backbone: str, pretrained: bool, size: int) -> Any:
    """The timm model for crops of `size` pixels with one logit."""
    choices: list[dict[str, Any]] = [{"img_size": size}, {}] if size else [{}]
    for options in choices:
        try:
            if pretrained:
                _check_hub_file(backbone)
            return timm.create_model(backbone, pretrained=pretrained, num_classes=1, **options)
        except TypeError:
            continue  # a convolutional network takes any size and knows no img_size
        except Exception as error:  # the hub client and timm raise many kinds
            if pretrained:
                raise ModelError(
                    f"the ImageNet weights of {backbone} cannot be fetched ({type(error).__name__}: {error}); "
                    "connect once so that they are cached, give model.weights a .safetensors file, or set it to none"
                ) from error
            raise ModelError(
                f"model.backbone = {backbone!r} cannot be made for crops of {size} pixels: {error}"
            ) from error
    raise ModelError(f"model.backbone = {backbone!r} cannot be made with one logit")


def _check_hub_file(backbone: str) -> None:
    """Fetch the ImageNet weights that timm will load, and compare them with the SHA-256 that the hub states for them.

    The hub's cache names a file by it. Raises ValueError; errors of the hub pass through.
    """
    config = timm.get_pretrained_cfg(backbone)
    if not (config and config.hf_hub_id):
        raise ValueError("the hub has none")
    repository, revision = hf_split(config.hf_hub_id)
    path = Path(
        hf_hub_download(repository, config.hf_hub_filename or HF_SAFE_WEIGHTS_NAME, revision=revision)
    ).resolve()
    digest = file_sha256(path)
    if path.name != digest:
        raise ValueError(f"{path} is damaged: its SHA-256 is {digest}. Delete it to fetch it again")
    logger.info("%s: SHA-256 %s", repository, digest)


def _classifier_parameters(network: Any) -> list[nn.Parameter]:
    layers = network.get_classifier()
    layers = layers if isinstance(layers, tuple) else (layers,)  # distilled transformers have two
    return [parameter for layer in layers for parameter in layer.parameters()]


@torch.no_grad()
def _check_backbone(network: Any, name: str, size: int, patch_head: bool) -> int:
    """Try the backbone on two black crops, so that one that does not fit fails here.

    The channels of its second-to-last feature map.
    """
    crops, channels = torch.zeros(2, 3, size, size), 0
    was_training = network.training
    network.eval()
    try:
        features = network.forward_features(crops)
        if network.forward_head(features).shape != (2, 1) or network.forward_head(features, pre_logits=True).ndim != 2:
            raise ValueError("its head gives no single logit")
        if patch_head:
            channels = network.forward_intermediates(crops, indices=[-2])[1][0].shape[1]
    except Exception as error:  # each family of backbones fails in its own way
        without = "; it may do with train.localization_weight = 0" if patch_head else ""
        raise ModelError(
            f"model.backbone = {name!r} does not take crops of {size} pixels ({error}){without}"
        ) from error
    network.train(was_training)
    return channels


def load_backbone(network: Any, path: Path) -> dict[str, torch.Tensor] | None:
    """Load the weights in a file into `network`. Raises ModelError if they do not fit.

    The file holds a backbone in timm's names, of which the classifier is left out, or a detector of this project.

    Returns:
        The weights of the detector's patch head, none if it has no such head; None for a backbone alone.
    """
    try:
        state = load_file(path)
    except Exception as error:
        raise ModelError(f"model.weights = {str(path)!r} is no safetensors file: {error}") from error
    of_detector = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    names = network.pretrained_cfg["classifier"]
    head = tuple(f"{name}." for name in (names if isinstance(names, tuple) else (names,)))
    of_patches = {key.removeprefix(PATCHES): value for key, value in state.items() if key.startswith(PATCHES)}
    state = of_detector or {key: value for key, value in state.items() if not key.startswith(head)}
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
    return of_patches if of_detector else None
