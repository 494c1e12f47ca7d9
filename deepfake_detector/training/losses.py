"""The training loss: cross-entropy, ranking within pairs, and localization of what was changed."""

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, softplus

from deepfake_detector.training.model import FaceClassifier

TERMS = ("classification_loss", "ranking_loss", "localization_loss")
CHANGED = 5.0  # mean difference to the original, of 255, at which a patch counts as more changed than not
UNCHANGED = 0.4  # share of CHANGED below which it counts as unchanged
# difference along the border, of 255, from which a pair shows two moments and has no localization target, whatever the
# labels say
MISALIGNED = 20.0
NOISE = 2.0  # times the border's difference: what compression alone may change


class ClassifierWithLoss(nn.Module):
    """A classifier and its loss on a batch of pairs. One module, so that DistributedDataParallel sees every parameter.

    With a patch head, the classifier also learns which patches of a fake were changed, as in Face X-ray (Li et al.
    2020, arXiv:1912.13458).
    """

    def __init__(self, model: FaceClassifier, ranking_weight: float, localization_weight: float) -> None:
        super().__init__()
        self.model = model
        self._ranking_weight, self._localization_weight = ranking_weight, localization_weight

    def forward(
        self, crops: torch.Tensor, labels: torch.Tensor, aligned: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, a scalar, of pairs of a fake and a real face in turn; and its terms, unweighted (3,).

        Args:
            crops: uint8 RGB (2n, 3, size, size).
            labels: float (2n,).
            aligned: bool (2n,): the real face beside a fake is its original at the same moment, cut alike.
        """
        logits, patch_logits, _ = self.model.forward_features(crops)
        loss, classification, ranking = paired_loss(logits, labels, self._ranking_weight)
        localization = torch.zeros_like(loss)
        if patch_logits is not None:
            with torch.no_grad():
                target, weight = localization_target(crops, aligned, (patch_logits.shape[2], patch_logits.shape[3]))
            localization = binary_cross_entropy_with_logits(patch_logits, target, weight.expand_as(patch_logits))
            loss = loss + self._localization_weight * localization
        return loss, torch.stack([classification, ranking, localization]).detach()


def paired_loss(
    logits: torch.Tensor, labels: torch.Tensor, ranking_weight: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy of all faces and the ranking loss of the pairs: both mixed by `ranking_weight`, then each.

    The ranking loss is the logistic loss of the difference of a fake's logit and that of the real face beside it
    (RankNet; Burges et al. 2005). What both faces share, such as the person, cancels out.

    Args:
        logits: (2n,), a fake and a real face in turn.
        labels: (2n,), 1 is fake.
    """
    classification = binary_cross_entropy_with_logits(logits, labels)
    ranking = softplus(logits[1::2] - logits[0::2]).mean()
    return (1 - ranking_weight) * classification + ranking_weight * ranking, classification, ranking


def localization_target(
    crops: torch.Tensor, aligned: torch.Tensor, shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much each patch of a fake differs from the original beside it, from 0 to 1. All patches of a real face are 0.

    Compression changes every patch. Its noise is taken from the border of the pair, where no face is.

    Args:
        crops: uint8 RGB (2n, 3, size, size), a fake and a real face in turn, augmented alike.
        aligned: bool (2n,), whether the real face beside a fake is its original, cut alike.
        shape: height and width of the target in patches.

    Returns:
        The target, float32 (2n, 1, *shape), and its weight (2n, 1, 1, 1): 0 for a fake beside a face that is not its
        original.
    """
    fakes, reals = crops[0::2].float(), crops[1::2].float()
    change = adaptive_avg_pool2d((fakes - reals).abs().mean(dim=1, keepdim=True), shape)
    target = torch.zeros(len(crops), 1, *shape, device=crops.device)
    weight = torch.ones(len(crops), 1, 1, 1, device=crops.device)
    # above the face and at its sides
    border = torch.cat([change[:, 0, 0], change[:, 0, :, 0], change[:, 0, :, -1]], dim=1)
    noise = border.sort(dim=1).values[:, (border.shape[1] - 1) // 2]  # torch.median has no deterministic CUDA kernel
    weight[0::2, 0, 0, 0] = (aligned[0::2] & (noise < MISALIGNED)).float()
    change = (change - NOISE * noise[:, None, None, None]).clamp(min=0)
    most = change.amax(dim=(1, 2, 3), keepdim=True)  # where little changed, the most changed patch still counts
    target[0::2] = (change / (0.7 * most).clamp(1, CHANGED) - UNCHANGED).clamp(0, 1)
    return target, weight
