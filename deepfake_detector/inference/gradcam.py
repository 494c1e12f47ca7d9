"""Where in a face the evidence lies: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), by the package grad-cam."""

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from torch import nn

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.inference.backends import BATCH, Backend, TorchBackend
from deepfake_detector.inference.overlay import Heatmaps
from deepfake_detector.inference.prediction import Prediction
from deepfake_detector.training.dataset import to_tensor
from deepfake_detector.training.model import FaceClassifier

CELLS = 5  # a map coarser than this many cells a side says little; then an earlier layer is looked at


def face_heatmaps(scorer: Backend, judgement: Prediction, calibration: Calibration) -> Heatmaps:
    """Maps of what speaks for `fake` in each face of a judgement.

    Grad-CAM scales each map to its own maximum; here it is weighted with the face's probability of being fake, so that a face
    without evidence shows none. Raises ValueError for a network without feature maps, and for one that is not on PyTorch.
    """
    if not isinstance(scorer, TorchBackend):
        raise ValueError("heat maps need gradients, which only infer.runtime = 'torch' has")
    maps = {}
    with GradCAM(_OneView(scorer.model), [_layer(scorer.model.backbone, scorer.config.geometry.size)]) as explain:
        for person in judgement.people:
            crops = torch.stack([to_tensor(face.crop) for face in person.faces]).to(scorer.device)
            parts = [explain(batch, [lambda logit: logit] * len(batch)) for batch in crops.split(BATCH)]
            weight = calibration.probability(person.logits)[:, None, None]
            maps[person.track] = (np.concatenate(parts) * weight).astype(np.float32)
    return Heatmaps(scorer.config.geometry.margin, maps)


class _OneView(nn.Module):
    """A classifier that looks at a face as it is, not at its mirror image too: maps of the two cannot be added up."""

    def __init__(self, model: FaceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.model.forward_features(crops)[0]


def _layer(backbone: nn.Module, size: int) -> nn.Module:
    """The deepest stage whose map of a crop of `size` pixels has CELLS cells a side, or else the first."""
    stages = [stage for stage in getattr(backbone, "feature_info", []) if stage.get("module")]
    if not stages or any(not isinstance(stage.get("reduction"), int) for stage in stages):
        raise ValueError(f"heat maps need a convolutional network, which {type(backbone).__name__} is not")
    fine = [stage for stage in stages if size / stage["reduction"] >= CELLS] or stages[:1]
    return backbone.get_submodule(fine[-1]["module"])
