"""The motion of a head: still photographs of one person, connected by dense optical flow."""

from itertools import pairwise

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from deepfake_detector.faces.alignment import fit_similarity, landmark_template

SIZE = 288  # side of a frame in pixels
DIGITS = 6  # of matrices and moments: what processors round differently is cut off


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) through an affine matrix (2, 3)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def pose_vectors(points: np.ndarray) -> np.ndarray:
    """Landmarks (n, 5, 2) without position, rotation and scale, as vectors (n, 10): they show how a head is turned."""
    template = landmark_template(100, 0.0)
    return np.array([transform(p, fit_similarity(p, template)) for p in points]).reshape(len(points), -1)


def matching_poses(target: np.ndarray, donor: np.ndarray) -> list[int]:
    """For each head of `target`, landmarks (n, 5, 2), a different one of `donor`, (m, 5, 2), that is turned alike.

    The assignment has the least total distance between pose vectors. Returns positions in `donor`.
    """
    a, b = pose_vectors(target), pose_vectors(donor)
    cost = np.linalg.norm(a[:, None] - b[None], axis=2)
    return [int(i) for i in linear_sum_assignment(cost)[1]]


class HeadMotion:
    """A head that moves from photograph to photograph: image, landmarks and pose at any moment.

    `images`, `landmarks` and `matrices` are those of a Person, for the photographs in the order of the motion.
    """

    def __init__(self, images: list[np.ndarray], landmarks: list[np.ndarray], matrices: list[np.ndarray]) -> None:
        self._images, self._landmarks, self._matrices = images, landmarks, matrices
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flows = [(flow.calc(a, b, None), flow.calc(b, a, None)) for a, b in pairwise(images)]
        self._grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).astype(np.float32)

    def at(self, moment: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The head at `moment` (0-1).

        Returns the image in the person's mean pose, float32 gray (SIZE, SIZE); its landmarks, (5, 2); and the matrix
        (2, 3) that moves the image back to the pose of the photograph.
        """
        step = min(int(moment * len(self._flows)), len(self._flows) - 1)
        t = moment * len(self._flows) - step
        t = round(t * t * (3 - 2 * t), DIGITS)  # rests at each photograph
        forward, backward = self._flows[step]
        first = self._warp(self._images[step], t * forward)
        second = self._warp(self._images[step + 1], (1 - t) * backward)
        image = cv2.addWeighted(first, 1 - t, second, t, 0, dtype=cv2.CV_32F)
        landmarks = (1 - t) * self._landmarks[step] + t * self._landmarks[step + 1]
        matrix = (1 - t) * self._matrices[step] + t * self._matrices[step + 1]
        return image, landmarks, cv2.invertAffineTransform(matrix).round(DIGITS)

    def _warp(self, image: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """The image moved along the flow, (SIZE, SIZE, 2) in pixels."""
        warped = cv2.remap(image, self._grid - flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped)
