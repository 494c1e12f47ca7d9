"""What is drawn into a face of an annotated video: a box with the score, and a heat map."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.alignment import fit_similarity, landmark_template
from deepfake_detector.faces.pixels import YuvImage
from deepfake_detector.faces.planes import from_bgr, paste
from deepfake_detector.inference.box_tracks import interpolate
from deepfake_detector.inference.drawing import (
    VERDICT_COLORS,
    WHITE,
    Color,
    even,
    fill,
    fit_text_size,
    put_text,
    text_width,
)
from deepfake_detector.inference.prediction import PersonPrediction

OPACITY = 0.7  # of a heat map where it is 1


@dataclass(frozen=True)
class Heatmaps:
    """`maps`: by track, float32 (faces, size, size), 0 to 1; each map is aligned like a crop with this `margin`."""

    margin: float
    maps: dict[int, np.ndarray]


def draw_box(
    image: YuvImage,
    person: PersonPrediction,
    time: float,
    box: np.ndarray,
    calibration: Calibration,
    name_person: bool,
) -> None:
    """Draw the box of a face and its score, in the colour of the verdict for that score.

    The score at `time` seconds is interpolated between scored faces.

    Args:
        image: changed in place.
        box: (4,), x1 y1 x2 y2 in pixels of `image`.
        name_person: begin the label with the number of the person.
    """
    height, width = image.y.shape
    left, top = even(box[0]), even(box[1])
    right, bottom = max(left, even(box[2])), max(top, even(box[3]))
    logit = interpolate([face.time for face in person.faces], person.logits, time)
    probability = float(calibration.face_probability(logit))
    color = VERDICT_COLORS[str(calibration.verdict(probability))]
    thick = max(2, even(max(height, width) / 320))
    outer = even(thick / 2)  # of the line's thickness; the rest lies inside of the box
    inner = thick - outer
    for x in (left, right):
        fill(image, x - outer, top - outer, x + inner, bottom + inner, color)
    for y in (top, bottom):
        fill(image, left - outer, y - outer, right + inner, y + inner, color)
    text = (f"person {person.track + 1}: " if name_person else "") + f"score {probability:.2f}"
    size = max(12, round(max(height, width) / 60), round((right - left) * 0.11))
    label = _label(text, fit_text_size(text, size, width - size), color, image.is_bt709)
    label_height, label_width = label.y.shape
    x = min(max(0, left), max(0, width - label_width))
    y = top - label_height if top >= label_height else min(bottom, height - label_height)
    paste(image, label, x, max(0, y))


@lru_cache(maxsize=256)
def _label(text: str, size: int, color: Color, is_bt709: bool) -> YuvImage:
    """White text, `size` pixels high, on a ground of the given colour."""
    image = np.full((even(size * 1.5), even(text_width(text, size) + size), 3), color, np.uint8)
    put_text(image, text, size // 2, round(size * 1.1), size, WHITE)
    return from_bgr(image, is_bt709)


def draw_heat(
    image: YuvImage, person: PersonPrediction, heatmaps: Heatmaps, time: float, landmarks: np.ndarray
) -> None:
    """Blend the heat map of a face at `time` seconds, interpolated between scored faces, into the image.

    Args:
        image: changed in place.
        landmarks: (5, 2) in pixels of `image`.
    """
    heat = interpolate([face.time for face in person.faces], heatmaps.maps[person.track], time)
    size = len(heat)
    matrix = fit_similarity(landmark_template(size, heatmaps.margin), landmarks)
    corners = cv2.transform(np.array([[[0, 0], [size, 0], [0, size], [size, size]]], float), matrix)[0]
    left, top = np.maximum(corners.min(axis=0) // 2 * 2, 0).astype(int)
    right, bottom = np.minimum(-(-corners.max(axis=0) // 2) * 2, image.y.shape[::-1]).astype(int)
    if right <= left or bottom <= top:
        return
    matrix[:, 2] -= (left, top)
    warped = cv2.warpAffine(heat, matrix, (int(right - left), int(bottom - top)))
    colors = from_bgr(cv2.applyColorMap((warped * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), image.is_bt709)
    halved = cv2.resize(warped, colors.u.shape[::-1], interpolation=cv2.INTER_AREA)
    for target, color, opacity, step in (
        (image.y, colors.y, warped, 1),
        (image.u, colors.u, halved, 2),
        (image.v, colors.v, halved, 2),
    ):
        region = target[top // step : bottom // step, left // step : right // step]
        region[:] = (region * (1 - OPACITY * opacity) + color * (OPACITY * opacity)).round().astype(np.uint8)
