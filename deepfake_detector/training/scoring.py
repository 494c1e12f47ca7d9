"""Logits of faces, the same for validating, evaluating and judging."""

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
    """Logits (n,) float32 of uint8 RGB batches (b, 3, size, size). Final scores are taken in float32: one result for all uses."""
    was_training = model.training
    model.eval()
    with autocast(device, precision):
        logits = [model(batch.to(device)).float().cpu().numpy() for batch in batches]
    model.train(was_training)
    return np.concatenate(logits) if logits else np.empty(0, np.float32)


def batch_crops(crops: Iterable[np.ndarray], lengths: Sequence[int]) -> Iterator[torch.Tensor]:
    """Crops, uint8 BGR as the faces room gives them, as batches of these lengths for `score_batches`; one is held at a time."""
    crops = iter(crops)
    for length in lengths:
        yield torch.stack([to_tensor(crop) for crop in islice(crops, length)])
