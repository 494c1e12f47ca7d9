"""What a network is taught: which of two faces is the fake one, and where it was changed."""

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, softplus

from deepfake_detector.training.model import FaceClassifier
from stages.params import Train

CHANGED = (
    5.0  # mean difference to the original, of 255, that makes a place a changed one; below two fifths of it, it is none
)
APART = 20.0  # difference along the border from which two faces are not of one moment, and nothing is asked


class ClassifierWithLoss(nn.Module):
    """A classifier and how it is taught: by the loss of a batch of pairs.

    Where the classifier answers for places, it is told which of them were changed: that teaches much more than one answer for
    each face (as in Face X-ray, Li et al. 2020, arXiv:1912.13458).
    """

    def __init__(self, model: FaceClassifier, settings: Train) -> None:
        super().__init__()
        self.model = model
        self._rank, self._mask = settings.rank, settings.mask

    def forward(self, crops: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of pairs, fake then original: uint8 RGB crops (2n, 3, size, size), labels (2n,)."""
        logits, places, _ = self.model.forward_features(crops)
        loss = paired_loss(logits, labels, self._rank)
        if places is None:
            return loss
        with torch.no_grad():
            target, weight = localization_target(crops, (places.shape[2], places.shape[3]))
        return loss + self._mask * binary_cross_entropy_with_logits(places, target, weight.expand_as(places))


def paired_loss(logits: torch.Tensor, labels: torch.Tensor, rank: float) -> torch.Tensor:
    """Of pairs (2n,), fake then real: cross-entropy, and the logistic loss of the fake's lead over the real face beside it.

    The second compares like with like, so that who is shown cancels out (RankNet; Burges et al. 2005).
    """
    absolute = binary_cross_entropy_with_logits(logits, labels)
    relative = softplus(logits[1::2] - logits[0::2]).mean()
    return (1 - rank) * absolute + rank * relative


def localization_target(crops: torch.Tensor, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """How surely each place of a fake differs from the original beside it, 0-1; in a real face no place does.

    Args:
        crops: uint8 RGB (2n, 3, size, size), fake then original, augmented alike.
        shape: height and width of the result.

    Returns:
        float32 (2n, 1, *shape), and a weight (2n, 1, 1, 1): 0 for a fake beside a face that is not its original, else 1.
    """
    fakes, reals = crops[0::2].float(), crops[1::2].float()
    places = adaptive_avg_pool2d((fakes - reals).abs().mean(dim=1, keepdim=True), shape)
    target, weight = (
        torch.zeros(len(crops), 1, *shape, device=crops.device),
        torch.ones(len(crops), 1, 1, 1, device=crops.device),
    )
    most = places.amax(dim=(1, 2, 3), keepdim=True)  # where little is changed, the most changed place is still one
    target[0::2] = (places / (0.7 * most).clamp(1, CHANGED) - 0.4).clamp(0, 1)
    border = torch.cat(
        [places[:, 0, 0], places[:, 0, :, 0], places[:, 0, :, -1]], dim=1
    )  # above and at the sides of a face
    middle = border.sort(dim=1).values[:, (border.shape[1] - 1) // 2]  # median() has no deterministic kernel on CUDA
    weight[0::2, 0, 0, 0] = (middle < APART).float()
    return target, weight
