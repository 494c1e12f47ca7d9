"""Video files that benchmarks make."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from deepfake_detector.faces.video_writer import VideoWriter

RATE = Fraction(25)  # frames a second


def write_clip(path: Path, frames: Sequence[np.ndarray], crf: int) -> None:
    """Frames uint8 BGR (height, width, 3) as H.264, at RATE. The same frames give the same bytes."""
    height, width = frames[0].shape[:2]
    with VideoWriter(path, RATE, (width, height), crf, "veryfast", threads=1) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, float(number / RATE))
