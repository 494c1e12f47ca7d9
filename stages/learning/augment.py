"""What happens to faces between a camera and a detector: scaling, blur, noise, light, compression."""

import torch
from torch import nn
from torchvision.transforms import v2


class Rescale(nn.Module):
    """Shrink by a random factor and enlarge again, as sharing a video in low resolution does."""

    def __init__(self, smallest: float) -> None:
        super().__init__()
        self.smallest = smallest

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        side = image.shape[-1]
        small = round(side * float(torch.empty(1).uniform_(self.smallest, 1)))
        return v2.functional.resize(v2.functional.resize(image, [small, small]), [side, side])


def training_transform(size: int, augment: bool) -> v2.Transform:
    """uint8 RGB (3, size, size) to the same, drawing from torch's global generator. Not `augment`: mirrored at random only."""
    if not augment:
        return v2.RandomHorizontalFlip()
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.RandomRotation(6, interpolation=v2.InterpolationMode.BILINEAR, fill=96)], 0.3),
            v2.RandomResizedCrop(size, (0.8, 1.0), (0.95, 1.05), antialias=True),
            v2.RandomApply([v2.ColorJitter(0.25, 0.25, 0.2)], 0.7),
            v2.RandomApply([Rescale(0.5)], 0.2),
            v2.RandomApply([v2.GaussianBlur(5, (0.2, 1.2))], 0.2),
            v2.RandomApply([v2.GaussianNoise(sigma=0.02)], 0.2),
            v2.RandomApply([v2.JPEG((40, 100))], 0.4),
            v2.RandomErasing(0.1, (0.02, 0.1)),
        ]
    )
