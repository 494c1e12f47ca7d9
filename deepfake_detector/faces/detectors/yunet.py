"""YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y), from a model file that the user provides.

ONNX Runtime takes less than half the time of OpenCV's FaceDetectorYN with the same file and gives the same detections.
"""

from pathlib import Path

import numpy as np

from deepfake_detector.faces.detections import Detections
from deepfake_detector.faces.detectors import FaceDetectorError
from deepfake_detector.faces.detectors.onnx_session import network_input, open_session
from deepfake_detector.faces.detectors.search import CoarseToFineDetector

STRIDES = (8, 16, 32)  # pixels of the network's input per cell, at its three scales
OUTPUTS = [f"{part}_{stride}" for stride in STRIDES for part in ("cls", "obj", "bbox", "kps")]


class YuNet(CoarseToFineDetector):
    """YuNet on ONNX Runtime."""

    # It is fast, and its landmarks move by a twentieth of the eye distance when an image is made a little smaller.
    full_size_ratio = 1.25

    def __init__(self, threshold: float, weights: str = "none") -> None:
        super().__init__(threshold)
        if not Path(weights).is_file():
            raise FaceDetectorError(f"extract.detector_weights = {weights!r} must be the file of a YuNet model (.onnx)")
        try:
            self._session = open_session(weights)
        except Exception as error:  # parser and runtime raise many kinds, all of which mean: no such model
            raise FaceDetectorError(f"extract.detector_weights = {weights!r} is no YuNet model: {error}") from error
        if missing := set(OUTPUTS) - {output.name for output in self._session.get_outputs()}:
            raise FaceDetectorError(
                f"extract.detector_weights = {weights!r} is no YuNet model of 2023 or later: no {min(missing)} in it"
            )

    def candidates(self, image: np.ndarray, threshold: float) -> Detections:
        pixels = network_input(image, rgb=False)
        outputs = [output[0] for output in self._session.run(OUTPUTS, {self._session.get_inputs()[0].name: pixels})]
        parts = []
        for i, stride in enumerate(STRIDES):
            face, objectness, boxes, points = outputs[4 * i : 4 * i + 4]
            parts.append(decode(face, objectness, boxes, points, stride, pixels.shape[3] // stride, threshold))
        return Detections(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def decode(
    face: np.ndarray,
    objectness: np.ndarray,
    boxes: np.ndarray,
    points: np.ndarray,
    stride: int,
    columns: int,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of one scale with a score above `threshold`, in pixels of the network's input.

    Args:
        face: (n, 1), probability of each cell that an object in it is a face.
        objectness: (n, 1), probability that there is an object.
        boxes: (n, 4), x y of the centre from the corner of the cell, and logarithms of width and height, in cells.
        points: (n, 10), x y of the landmarks from the corner of the cell, in cells.
        stride: pixels per cell.
        columns: cells in a row.
        threshold: lowest score.

    Returns:
        Boxes, scores and landmarks, as in Detections.
    """
    cell = np.flatnonzero(face[:, 0] > threshold**2)  # few; as `objectness` is at most 1, no other can have the score
    score = np.sqrt(np.clip(face[cell, 0], 0, 1) * np.clip(objectness[cell, 0], 0, 1))
    cell, score = cell[score > threshold], score[score > threshold]
    corner = np.stack([cell % columns, cell // columns], axis=1)
    center, half = corner + boxes[cell, :2], np.exp(boxes[cell, 2:]) / 2
    corners = np.concatenate([center - half, center + half], axis=1) * stride
    landmarks = (points[cell].reshape(-1, 5, 2) + corner[:, None]) * stride
    return corners.astype(np.float32), score, landmarks.astype(np.float32)
