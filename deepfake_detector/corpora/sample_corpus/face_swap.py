"""Face swaps: the face of a donor on the head of another person, by three methods."""

import cv2
import numpy as np

from deepfake_detector.corpora.sample_corpus.head_motion import DIGITS
from deepfake_detector.faces.alignment import fit_similarity

SWAPS = ("feathered", "poisson", "lowres")
FEATHER = {"feathered": 1.0, "poisson": 0.4, "lowres": 1.6}  # width of the soft edge, relative to a drawn one
LIGHT_LIMIT = 6.0  # of 255; see poisson_blend


class FaceSwap:
    """Puts a donor's face onto a head. Its random parameters are fixed for a clip, as for one run of a swapping tool.

    Images are float32 gray (height, width), 0-255; landmarks are (5, 2) in pixels.
    """

    def __init__(self, method: str, rng: np.random.Generator) -> None:
        """`method`: one of SWAPS."""
        self.method = method
        self.feather = rng.uniform(0.01, 0.04)  # softness of the edge, in distances between the eyes
        self.width, self.height = rng.uniform(0.92, 1.08, 2)  # of the mask, relative to the face
        self.gain, self.offset = rng.uniform(0.75, 1.3), rng.normal(0, 16)  # error of the light, offset of 255
        self.resolution = rng.uniform(0.45, 0.6)  # for `lowres`: size of the generated face, relative to the head

    def __call__(self, head: np.ndarray, points: np.ndarray, face: np.ndarray, face_points: np.ndarray) -> np.ndarray:
        """The image `head` with landmarks `points`, showing `face` with landmarks `face_points` instead of its own."""
        eyes = float(np.linalg.norm(points[1] - points[0]))
        x, y = np.maximum(points[2] - 1.8 * eyes, 0).astype(int)  # only the surroundings of the face are computed
        part = np.s_[y : int(points[2][1] + 1.8 * eyes), x : int(points[2][0] + 1.8 * eyes)]
        result = head.copy()
        result[part] = self._blend(head[part], points - (x, y), face, face_points, eyes)
        return result

    def _blend(
        self, head: np.ndarray, points: np.ndarray, face: np.ndarray, face_points: np.ndarray, eyes: float
    ) -> np.ndarray:
        if self.method == "lowres":
            face = reduce_resolution(face, self.resolution)
        matrix = fit_similarity(face_points, points).round(DIGITS)
        face = cv2.warpAffine(face, matrix, head.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        mask = face_mask(head.shape, points, eyes, self.width, self.height)
        face = match_light(face, head, mask)
        mean = face[mask > 0].mean()
        face = (face - mean) * self.gain + mean + self.offset
        if self.method == "poisson":
            face = poisson_blend(face, head, mask)
        alpha = cv2.GaussianBlur(mask * np.float32(1), (0, 0), eyes * self.feather * FEATHER[self.method])
        return np.asarray(head + alpha * (face - head))


def reduce_resolution(image: np.ndarray, factor: float) -> np.ndarray:
    """The image, scaled down by `factor` and up again."""
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_CUBIC))


def face_mask(shape: tuple[int, ...], points: np.ndarray, eyes: float, width: float, height: float) -> np.ndarray:
    """The inner face from the brows to the chin: an ellipse on the axis from the eyes to the mouth, uint8 0 or 1.

    `shape`: of the mask. `points`: landmarks (5, 2) in pixels. `eyes`: distance between the eyes in pixels. `width` and
    `height`: size relative to a normal face.
    """
    brow, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    down = mouth - brow
    center = brow + 0.52 * down
    length = max(float(np.linalg.norm(down)), 0.8 * eyes)
    angle = np.degrees(np.arctan2(down[1], down[0])) - 90
    axes = (round(0.95 * eyes * width), round((0.85 * length + 0.28 * eyes) * height))
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (round(center[0]), round(center[1])), axes, float(angle), 0, 360, 1, -1, cv2.LINE_8)
    return mask


def match_light(face: np.ndarray, head: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`face` with the mean and standard deviation of `head` inside `mask` (Reinhard et al. 2001)."""
    inside = mask > 0
    mean, deviation = face[inside].mean(), face[inside].std()
    return np.asarray((face - mean) * (head[inside].std() / max(deviation, 1.0)) + head[inside].mean())


def poisson_blend(face: np.ndarray, head: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gradient-domain blending (Pérez et al. 2003): `face` plus the light that makes it meet `head` at the mask's edge.

    That light is limited to LIGHT_LIMIT. Otherwise one dark hair on the edge would bleach half a cheek.
    """
    x, y, width, height = cv2.boundingRect(mask)
    source, target = (
        cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR) for image in (face, head)
    )
    blended = cv2.seamlessClone(source, target, mask * 255, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.asarray(face + np.clip(blended[..., 0] - face, -LIGHT_LIMIT, LIGHT_LIMIT))
