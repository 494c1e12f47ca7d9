"""Logits of face crops, the same for validation, evaluation and inference."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import nn

from deepfake_detector.training.dataset import to_tensor
from deepfake_detector.training.device import autocast


@torch.inference_mode()
def predict_logits(
    model: nn.Module, batches: Iterable[torch.Tensor], device: torch.device, precision: str = "float32"
) -> np.ndarray:
    """Logits (n,) float32 of uint8 RGB batches (b, 3, size, size), with the model in evaluation mode.

    Final scores are computed in float32, so that they are the same everywhere.
    """
    was_training = model.training
    model.eval()
    with autocast(device, precision):
        logits = [model(batch.to(device)).float() for batch in batches]
    model.train(was_training)
    return torch.cat(logits).cpu().numpy() if logits else np.empty(0, np.float32)


def batch_crops(crops: Iterable[np.ndarray], lengths: Sequence[int]) -> Iterator[torch.Tensor]:
    """Crops, uint8 BGR as stored, in batches of these lengths for `predict_logits`.

    One batch is in memory at a time.
    """
    crops = iter(crops)
    for length in lengths:
        yield torch.stack([to_tensor(crop) for crop in islice(crops, length)])
