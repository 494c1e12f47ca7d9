"""Heat maps of faces by Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), with the package grad-cam."""

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from torch import nn

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.inference.backends import BATCH_SIZE, Backend, TorchBackend
from deepfake_detector.inference.face_marks import Heatmaps
from deepfake_detector.inference.prediction import Prediction
from deepfake_detector.training.dataset import to_tensor
from deepfake_detector.training.model import FaceClassifier

MIN_CELLS = 5  # cells on a side of a feature map; where the last map has fewer, an earlier layer is explained


def face_heatmaps(backend: Backend, prediction: Prediction, calibration: Calibration) -> Heatmaps:
    """A map for each face of what in it raises the logit.

    Grad-CAM scales each map to its own maximum. Here it is then multiplied by the fake probability of the face, so
    that a face without evidence shows none.

    Raises:
        ValueError: for a network without feature maps, one that does not run on PyTorch, and one of faces that are not
            aligned by landmarks.
    """
    if not isinstance(backend, TorchBackend):
        raise ValueError("heat maps need gradients, which only a .safetensors checkpoint gives")
    if backend.config.geometry.align == "box":
        raise ValueError(
            "heat maps need faces that are aligned by landmarks, and this detector has them cut by their boxes"
        )
    layer = _target_layer(backend.model.backbone, backend.config.geometry.size)
    maps = {}
    with GradCAM(_WithoutMirrorImage(backend.model), [layer]) as explain:
        for person in prediction.people:
            crops = torch.stack([to_tensor(face.crop) for face in person.faces]).to(backend.device)
            parts = [explain(batch, [lambda logit: logit] * len(batch)) for batch in torch.split(crops, BATCH_SIZE)]
            weights = calibration.face_probability(person.logits)[:, None, None]
            maps[person.track] = (np.concatenate(parts) * weights).astype(np.float32)
    return Heatmaps(backend.config.geometry.margin, maps)


class _WithoutMirrorImage(nn.Module):
    """A classifier without the mean over a face and its mirror image: the maps of the two cannot be added."""

    def __init__(self, model: FaceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.model.forward_features(crops)[0]


def _target_layer(backbone: nn.Module, size: int) -> nn.Module:
    """The last stage whose feature map of a crop of `size` pixels has MIN_CELLS cells on a side, else the first."""
    stages = [stage for stage in getattr(backbone, "feature_info", []) if stage.get("module")]
    if not stages or any(not isinstance(stage.get("reduction"), int) for stage in stages):
        raise ValueError(f"heat maps need a convolutional network, which {type(backbone).__name__} is not")
    large_enough = [stage for stage in stages if size / stage["reduction"] >= MIN_CELLS] or stages[:1]
    return backbone.get_submodule(large_enough[-1]["module"])
