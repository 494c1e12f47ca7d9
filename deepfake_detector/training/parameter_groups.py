"""Which weights learn, and how fast: freezing and layer-wise learning rates, for good start weights."""

from typing import Any

from timm.models import group_parameters
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from deepfake_detector.training.model import FaceClassifier


def freeze(model: FaceClassifier, trainable: int | str) -> None:
    """Let only a part of `model` learn. The classifier and the patch head always do.

    Args:
        trainable: `all`; `norm`: norm layers and biases; or how many of the last stages of the backbone (blocks, where
            it has no stages).
    """
    if trainable == "all":
        return
    backbone = model.backbone
    stage = group_parameters(backbone, backbone.group_matcher(coarse=True), reverse=True)
    classifier = max(stage.values())
    for name, parameter in backbone.named_parameters():
        if stage[name] == classifier:
            continue
        learns = parameter.ndim <= 1 if trainable == "norm" else stage[name] >= classifier - int(trainable)
        parameter.requires_grad = learns


def parameter_groups(model: FaceClassifier, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """The weights of `model` that learn, for an optimizer. `lr_scale` is what timm's scheduler multiplies the rate by.

    Args:
        weight_decay: of all but norms and biases.
        layer_decay: by how much each layer learns more slowly than the next one (Clark et al. 2020; Bao et al. 2022).
            The classifier and the patch head learn at the full rate.
    """
    heads = nn.ModuleList([model.patch_head] if model.patch_head else [])
    groups = param_groups_layer_decay(model.backbone, weight_decay, layer_decay=layer_decay)
    return groups + [group for group in param_groups_weight_decay(heads, weight_decay) if group["params"]]
