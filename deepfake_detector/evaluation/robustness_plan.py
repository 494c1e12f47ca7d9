"""What a robustness study measures: distortions, their titles, and the strengths of each plan.

To add a distortion of crops, write a function in `deepfake_detector.distortions`, add a line to TITLES and to
DISTORTIONS, and its strengths to PLANS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepfake_detector import distortions

TITLES = {
    "h264": "H.264 (CRF)",
    "resolution": "resolution (fraction of each side)",
    "jpeg": "JPEG (quality)",
    "blur": "Gaussian blur (σ in pixels of the crop)",
    "noise": "Gaussian noise (σ in gray levels)",
    "brightness": "brightness (factor)",
}
# Functions from a crop, uint8 BGR (size, size, 3), a strength and a random generator to the distorted crop.
DISTORTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "jpeg": lambda crop, quality, rng: distortions.jpeg(crop, int(quality)),
    "blur": lambda crop, sigma, rng: distortions.gaussian_blur(crop, sigma),
    "noise": distortions.gaussian_noise,
    "brightness": lambda crop, factor, rng: distortions.brightness(crop, factor),
}


@dataclass(frozen=True)
class Plan:
    """Which conditions are measured, and on how much: None is all.

    Attributes:
        crops, files: family to strengths, of those that act on crops and on files.
        max_videos, max_files: videos used for either.
        max_faces: faces of each person.
    """

    crops: dict[str, tuple[float, ...]]
    files: dict[str, tuple[float, ...]]
    max_videos: int | None = None
    max_files: int | None = None
    max_faces: int | None = None


PLANS = {
    "quick": Plan(
        crops={"jpeg": (50, 20), "blur": (1, 2), "noise": (5, 15), "brightness": (0.5, 1.5)},
        files={"h264": (32, 40), "resolution": (0.25,)},
        max_videos=200,
        max_files=12,
        max_faces=3,
    ),
    "full": Plan(
        crops={
            "jpeg": tuple(range(100, 0, -10)),
            "blur": (0.5, 1, 1.5, 2, 3),
            "noise": (2, 5, 10, 15, 25),
            "brightness": (0.25, 0.5, 0.75, 1.25, 1.5, 2),
        },
        files={"h264": (23, 28, 32, 36, 40), "resolution": (0.5, 0.25)},
    ),
}
