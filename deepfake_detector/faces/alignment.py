"""Aligned crops: a similarity transform brings five landmarks to fixed positions."""

import cv2
import numpy as np

from deepfake_detector.faces.pixels import shrink

# Right eye, left eye, nose, right and left corner of the mouth in the ArcFace template for crops of 112 × 112 pixels
# (Deng et al. 2019, arXiv:1801.07698), which many face datasets use.
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_EYE_MIDPOINT = _ARCFACE[:2].mean(axis=0)
# The same relative to the midpoint of the eyes, in units of the distance between the eyes.
TEMPLATE: np.ndarray = (_ARCFACE - _EYE_MIDPOINT) / np.linalg.norm(_ARCFACE[1] - _ARCFACE[0])
FACE_WIDTH = 2.2  # width of a face from ear to ear, in distances between the eyes
EYE_HEIGHT = 0.42  # distance of the eyes from the top of the crop, as a fraction of its side


def landmark_template(size: int, margin: float) -> np.ndarray:
    """Positions of the landmarks in an aligned crop of `size` pixels: float32 (5, 2), x y.

    `margin` is the extra width around the face in face widths: 0 cuts at the ears, 0.5 adds a quarter on each side.
    """
    eye_distance = size / (FACE_WIDTH * (1 + margin))
    return (TEMPLATE * eye_distance + (size / 2, size * EYE_HEIGHT)).astype(np.float32)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity that takes the points `source` (n, 2) to `target` (n, 2) with least squared error: float64 (2, 3).

    This is the closed form of Umeyama (1991) in two dimensions, without reflections.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    norm = max((a**2).sum(), 1e-12)
    cos, sin = (a * b).sum() / norm, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([rotation, target.mean(axis=0) - rotation @ source.mean(axis=0)])


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Crop a face upright into a square of `size` pixels.

    Args:
        image: uint8 BGR (height, width, 3).
        landmarks: (5, 2) in pixels of `image`, in the order of Detection.
        size: side of the crop in pixels.
        margin: as in `landmark_template`.

    Returns:
        uint8 BGR (size, size, 3).
    """
    return warp(image, fit_similarity(landmarks, landmark_template(size, margin)), size)


def crop_box(image: np.ndarray, box: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Crop the square around a box without rotation.

    Args:
        image: uint8 BGR (height, width, 3).
        box: (4,), x1 y1 x2 y2 in pixels of `image`.
        size: side of the crop in pixels.
        margin: extra width around the box, as a fraction of its longer side.

    Returns:
        uint8 BGR (size, size, 3).
    """
    center, longer_side = (box[:2] + box[2:]) / 2, max(box[2] - box[0], box[3] - box[1])
    return warp(image, window(center, size / (longer_side * (1 + margin)), size), size)


def window(center: np.ndarray, scale: float, size: int) -> np.ndarray:
    """The matrix (2, 3) that scales by `scale` and moves `center` to the middle of a square of `size` pixels."""
    offset = size / 2 - scale * np.asarray(center, float)
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Apply a similarity `matrix` (2, 3) to `image` and keep a square of `size` pixels: uint8 (size, size, 3).

    Where the matrix shrinks, pixels are averaged by area first, so that nothing aliases. Pixels beyond the edge of the
    image are reflected.
    """
    scale = max(float(np.hypot(matrix[0, 0], matrix[0, 1])), 1e-6)
    factor = max(1, int(1 / scale))
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - matrix[:, 2]
    source_corners = np.linalg.solve(matrix[:, :2], corners.T).T
    image_size = image.shape[1::-1]
    left, top = np.clip(np.floor(source_corners.min(axis=0)) - 2 * factor, 0, np.array(image_size) - 1).astype(int)
    far_corner = np.ceil(source_corners.max(axis=0)) + 2 * factor
    right, bottom = np.clip(far_corner, (left + 1, top + 1), image_size).astype(int)
    part = image[top:bottom, left:right]
    factor = min(factor, *part.shape[:2])
    part_to_image = np.array([[factor, 0, (factor - 1) / 2 + left], [0, factor, (factor - 1) / 2 + top], [0, 0, 1]])
    small = np.ascontiguousarray(shrink(part, factor))
    crop: np.ndarray = cv2.warpAffine(
        small, matrix @ part_to_image, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return crop


def sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of a crop, uint8 BGR, in grey levels squared (Pech-Pacheco et al. 2000)."""
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())
