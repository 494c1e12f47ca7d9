"""Pictures of training pairs, to look at what the network is shown and told."""

import torch
from torch.nn.functional import interpolate
from torch.utils.data import default_collate

from deepfake_detector.training.dataset import FaceDataset, SampleKey
from deepfake_detector.training.losses import localization_target
from deepfake_detector.training.model import FaceClassifier


def pair_pictures(model: FaceClassifier, dataset: FaceDataset, batch: list[SampleKey]) -> torch.Tensor:
    """For each pair of `batch` the fake, the face beside it, and the localization target: uint8 RGB (n, 3, size,
    3 size).

    In the target, white patches count as changed. It is grey where the pair has no target, or the model no patch head.
    """
    crops, _, aligned = default_collate([dataset[key] for key in batch])
    was_training = model.training
    with torch.inference_mode():
        patch_logits = model.eval().forward_features(crops.to(next(model.parameters()).device))[1]
    model.train(was_training)
    targets = torch.full((len(crops) // 2, 1, 1, 1), 0.5)
    if patch_logits is not None:
        target, weight = localization_target(crops, aligned, (patch_logits.shape[2], patch_logits.shape[3]))
        targets = torch.where(weight > 0, target, 0.5)[0::2]
    shown = interpolate(targets, crops.shape[2:]).expand(-1, 3, -1, -1)
    return torch.cat([crops[0::2], crops[1::2], (255 * shown).round().to(torch.uint8)], dim=3)
