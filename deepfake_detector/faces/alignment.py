"""Aligned crops: a similarity transform that brings five landmarks to fixed places."""

import cv2
import numpy as np

from deepfake_detector.faces.pixels import shrink

# Right eye, left eye, nose, right and left corner of the mouth, in units of the distance between the eyes, seen from their
# midpoint: the ArcFace template (Deng et al. 2019, arXiv:1801.07698), widely used for 112 × 112 face crops.
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_EYES = _ARCFACE[:2].mean(axis=0)
TEMPLATE = (_ARCFACE - _EYES) / np.linalg.norm(_ARCFACE[1] - _ARCFACE[0])
FACE_WIDTH = 2.2  # width of a face from ear to ear, in distances between the eyes
EYE_HEIGHT = 0.42  # where the eyes lie, as a share of the crop from its top


def template(size: int, margin: float) -> np.ndarray:
    """Where the landmarks go in a crop of `size` pixels: float32 (5, 2) x y.

    `margin` is the room around the face in face widths: 0 cuts at the ears, 0.5 shows half a face width more in all.
    """
    eye_distance = size / (FACE_WIDTH * (1 + margin))
    return (TEMPLATE * eye_distance + (size / 2, size * EYE_HEIGHT)).astype(np.float32)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarity (Umeyama 1991) taking points `source` (n, 2) to `target` (n, 2): float64 (2, 3)."""
    source, target = np.asarray(source, float), np.asarray(target, float)
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    norm = max((a**2).sum(), 1e-12)
    cos, sin = (a * b).sum() / norm, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([rotation, target.mean(axis=0) - rotation @ source.mean(axis=0)])


def crop_face(image: np.ndarray, landmarks: np.ndarray, size: int, margin: float) -> np.ndarray:
    """The face upright in a square of `size` pixels, uint8 like `image` (BGR). `landmarks` (5, 2) in pixels of `image`."""
    return warp(image, similarity(landmarks, template(size, margin)), size)


def crop_box(image: np.ndarray, box: np.ndarray, size: int, margin: float) -> np.ndarray:
    """The square around `box` (x1 y1 x2 y2, in pixels of `image`) with room for `margin`, in `size` pixels; nothing is turned."""
    centre, longest = (box[:2] + box[2:4]) / 2, max(box[2] - box[0], box[3] - box[1])
    return warp(image, window(centre, size / (longest * (1 + margin)), size), size)


def window(centre: np.ndarray, scale: float, size: int) -> np.ndarray:
    """The matrix (2, 3) that scales and brings `centre` to the middle of `size` pixels."""
    offset = size / 2 - scale * np.asarray(centre, float)
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """What a similarity `matrix` (2, 3) brings into a square of `size` pixels, uint8 like `image`.

    Where it shrinks, pixels are averaged by area first, so that nothing aliases; what lies beyond the image is reflected.
    """
    scale = max(float(np.hypot(matrix[0, 0], matrix[0, 1])), 1e-6)
    factor = max(1, int(1 / scale))
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - matrix[:, 2]
    seen = np.linalg.solve(matrix[:, :2], corners.T).T
    left, top = np.clip(np.floor(seen.min(axis=0)) - 2 * factor, 0, np.array(image.shape[1::-1]) - 1).astype(int)
    right, bottom = np.clip(np.ceil(seen.max(axis=0)) + 2 * factor, (left + 1, top + 1), image.shape[1::-1]).astype(int)
    part = image[top:bottom, left:right]
    factor = min(factor, *part.shape[:2])
    back = np.array([[factor, 0, (factor - 1) / 2 + left], [0, factor, (factor - 1) / 2 + top], [0, 0, 1]])
    small = np.ascontiguousarray(shrink(part, factor))
    return cv2.warpAffine(small, matrix @ back, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the grey crop (Pech-Pacheco et al. 2000): higher is sharper."""
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())
