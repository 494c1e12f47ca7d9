"""Coarse-to-fine search: how a network that is fast on small images finds faces in images of any size."""

from abc import abstractmethod

import numpy as np

from deepfake_detector.faces.alignment import warp, window
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.pixels import fit
from deepfake_detector.faces.tracking import box_distance

SEARCH_SIDE = 320  # pixels of the longer side of the searched image
FINE_SIDE = 640  # the same in a search for faces that are too small for the first one
MISSED_FACE_SIDE = 24  # pixels of a face's longer side in the first search, below which it may be missed there
LEAST_GAIN = 1.5  # how many times larger than SEARCH_SIDE an image must be for that second search to find more
WINDOW_SIDE = 128  # pixels of the square window around one face in which its landmarks are refined
WINDOW_FACE_SIDE = 80  # pixels of the face's longer side in that window
SMALL_FACE_SIDE = 48  # pixels of a face's longer side in the searched image below which landmarks are refined
MAX_WINDOW_DISTANCE = 0.6  # largest box distance between a face found in a window and the face that was expected
MAX_REDETECTED = 3  # faces; for more, one search of the whole image costs less than the windows
CLUSTER_OVERLAP = 0.5  # intersection over union above which two candidates are averaged into one face
SUPPRESS_OVERLAP = 0.3  # intersection over union above which a candidate cannot be another face
CANDIDATE_THRESHOLD = 0.5  # lowest score of a candidate that is averaged, as a fraction of the threshold for faces


class CoarseToFineDetector(FaceDetector):
    """A detector whose network gives candidates for one image at one scale.

    The image is searched at a small size. Faces that are small there are refined in a window at a fixed scale.
    """

    full_size_ratio = 1.0  # an image of up to this many times the search side is searched at full size

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    @abstractmethod
    def candidates(self, image: np.ndarray, threshold: float) -> Detections:
        """All candidates of the network with a score above `threshold` in `image` at its own size, before merging."""

    def detect_at_scale(self, image: np.ndarray) -> Detections:
        """The faces in `image`, uint8 BGR, at its own size; the highest score comes first."""
        return merge_candidates(self.candidates(image, self.threshold * CANDIDATE_THRESHOLD), self.threshold)

    def detect(self, image: np.ndarray) -> Detections:
        found = self._search(image, SEARCH_SIDE)
        if len(found) or self._fits(image, SEARCH_SIDE):
            return found
        return self._search(image, FINE_SIDE)

    def detect_small(self, image: np.ndarray, found: Detections) -> Detections:
        if max(image.shape[:2]) < LEAST_GAIN * SEARCH_SIDE:
            return Detections.stack([])
        small = []
        for face in self._search(image, FINE_SIDE):
            center = (face.box[:2] + face.box[2:]) / 2
            is_inside = ((found.boxes[:, :2] <= center) & (center <= found.boxes[:, 2:])).all(axis=1)
            if not is_inside.any() and is_small(face, image):
                small.append(face)
        return Detections.stack(small)

    def _fits(self, image: np.ndarray, side: int) -> bool:
        """Whether `image` is searched at full size if it may have `side` pixels."""
        return max(image.shape[:2]) <= side * self.full_size_ratio

    def _search(self, image: np.ndarray, side: int) -> Detections:
        """The faces that a search finds with the longer side of `image` scaled to `side` pixels."""
        small, scale = fit(image, max(image.shape[:2]) if self._fits(image, side) else side)
        found = self.detect_at_scale(small).undo_scaling(scale)
        if scale.max() >= 1:
            return found
        return Detections.stack([self._refine_small(image, face, scale) for face in found])

    def redetect(self, image: np.ndarray, detections: Detections) -> Detections | None:
        if len(detections) > MAX_REDETECTED:
            return None
        refined = [self._refine(image, face) for face in detections]
        found = [face for face in refined if face is not None]
        if len(found) < len(detections):
            return None
        if any(box_distance(a.box, b.box) < MAX_WINDOW_DISTANCE for i, a in enumerate(found) for b in found[:i]):
            return None  # two windows found the same face
        return Detections.stack(found)

    def _refine_small(self, image: np.ndarray, face: Detection, scale: np.ndarray) -> Detection:
        """`face` with refined box and landmarks if it was small in the searched image, which had `scale` (2,)."""
        if ((face.box[2:] - face.box[:2]) * scale >= SMALL_FACE_SIDE).any():
            return face
        refined = self._refine(image, face)
        return Detection(refined.box, face.score, refined.landmarks) if refined else face

    def _refine(self, image: np.ndarray, face: Detection) -> Detection | None:
        """The face nearest to `face` in a window at the scale at which landmarks are accurate; None if none is near."""
        longer_side = max(*(face.box[2:] - face.box[:2]), 1.0)
        matrix = window((face.box[:2] + face.box[2:]) / 2, min(1.0, WINDOW_FACE_SIDE / longer_side), WINDOW_SIDE)
        found = self.detect_at_scale(warp(image, matrix, WINDOW_SIDE)).undo_scaling(matrix[0, 0], matrix[:, 2])
        nearest = min(found, key=lambda other: box_distance(face.box, other.box), default=None)
        return nearest if nearest and box_distance(face.box, nearest.box) < MAX_WINDOW_DISTANCE else None


def is_small(face: Detection, image: np.ndarray) -> bool:
    """Whether `detect` may miss a face in `image` beside a larger one."""
    return float((face.box[2:] - face.box[:2]).max()) / max(image.shape[:2]) < MISSED_FACE_SIDE / SEARCH_SIDE


def merge_candidates(candidates: Detections, threshold: float) -> Detections:
    """Merge overlapping candidates into faces, with the best score and the mean box and landmarks, weighted by score.

    The mean (as in BlazeFace, Bazarevsky et al. 2019, arXiv:1907.05047) is steadier than the best candidate, which
    non-maximum suppression would keep. Candidates whose best score is below `threshold` are no face.
    """
    remaining = candidates[np.argsort(-candidates.scores, kind="stable")]
    faces = []
    while len(remaining) and remaining.scores[0] >= threshold:
        overlap = intersection_over_union(remaining.boxes[0], remaining.boxes)
        faces.append(_weighted_mean(remaining[overlap > CLUSTER_OVERLAP]))
        remaining = remaining[overlap <= SUPPRESS_OVERLAP]
    return Detections.stack(faces)


def _weighted_mean(cluster: Detections) -> Detection:
    """The mean of candidates weighted by score, with the score of the first."""
    # One product with one memory layout: BLAS rounds others otherwise, and stored crops would no longer be reproduced.
    rows = np.column_stack([cluster.boxes, cluster.scores, cluster.landmarks.reshape(-1, 10)])
    weights = rows[:, 4]
    mean = weights @ rows / weights.sum()
    return Detection(mean[:4], float(weights[0]), mean[5:].reshape(5, 2))


def intersection_over_union(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,), x1 y1 x2 y2, with each of `boxes` (n, 4): float (n,)."""
    overlap = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = overlap[:, 0].clip(0) * overlap[:, 1].clip(0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    ratio: np.ndarray = intersection / ((box[2] - box[0]) * (box[3] - box[1]) + areas - intersection + 1e-9)
    return ratio
