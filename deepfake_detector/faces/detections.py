"""Detected faces: a box, a score and five landmarks each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in one image. All coordinates are pixels of that image.

    Attributes:
        box: float32 (4,), x1 y1 x2 y2.
        score: how certain the detector is, between 0 and 1.
        landmarks: float32 (5, 2), x y of the right eye, the left eye, the nose, the right and the left corner of the
            mouth. "Right" is the person's right, which is on the left of the image.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray


@dataclass(frozen=True, eq=False)
class Detections:
    """The n faces of one image, as in Detection: boxes (n, 4), scores (n,) and landmarks (n, 5, 2), all float32.

    An integer index gives a Detection. A slice, a mask or an array of indices gives Detections.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    @classmethod
    def stack(cls, faces: Sequence[Detection]) -> "Detections":
        """The given faces in their order; there may be none."""
        return cls(
            np.array([face.box for face in faces], np.float32).reshape(-1, 4),
            np.array([face.score for face in faces], np.float32),
            np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "Detections": ...
    def __getitem__(self, index: int | slice | np.ndarray) -> "Detection | Detections":
        if isinstance(index, int | np.integer):
            return Detection(self.boxes[index], float(self.scores[index]), self.landmarks[index])
        return Detections(self.boxes[index], self.scores[index], self.landmarks[index])

    def undo_scaling(self, scale: float | np.ndarray, offset: float | np.ndarray = 0.0) -> "Detections":
        """The same faces in the image as it was before it was scaled by `scale` and then moved by `offset`.

        Both are numbers, or arrays (2,) for x and y.
        """

        def undo(points: np.ndarray) -> np.ndarray:
            return ((points.astype(np.float64) - offset) / scale).astype(np.float32)

        return Detections(undo(self.boxes.reshape(-1, 2, 2)).reshape(-1, 4), self.scores, undo(self.landmarks))
