"""What is drawn into a face of an annotated video: a box with the score, and a heat map."""

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.alignment import fit_similarity, landmark_template
from deepfake_detector.inference.box_tracks import interpolate
from deepfake_detector.inference.drawing import VERDICT_COLORS, WHITE, fit_text_size, put_text, text_width
from deepfake_detector.inference.prediction import PersonPrediction

OPACITY = 0.7  # of a heat map where it is 1


@dataclass(frozen=True)
class Heatmaps:
    """`maps`: by track, float32 (faces, size, size), 0 to 1; each map is aligned like a crop with this `margin`."""

    margin: float
    maps: dict[int, np.ndarray]


def draw_box(
    image: np.ndarray,
    person: PersonPrediction,
    time: float,
    box: np.ndarray,
    calibration: Calibration,
    name_person: bool,
) -> None:
    """Draw the box of a face and its score, in the colour of the verdict for that score.

    The score at `time` seconds is interpolated between scored faces.

    Args:
        image: uint8 BGR (height, width, 3), changed in place.
        box: (4,), x1 y1 x2 y2 in pixels of `image`.
        name_person: begin the label with the number of the person.
    """
    left, top, right, bottom = (round(float(v)) for v in box)
    height, width = image.shape[:2]
    logit = interpolate([face.time for face in person.faces], person.logits, time)
    probability = float(calibration.face_probability(logit))
    color = VERDICT_COLORS[str(calibration.verdict(probability))]
    thickness = max(2, round(max(height, width) / 320))
    cv2.rectangle(image, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)
    text = (f"person {person.track + 1}: " if name_person else "") + f"score {probability:.2f}"
    size = max(12, round(max(height, width) / 60), round((right - left) * 0.11))
    size = fit_text_size(text, size, width - size)
    label_width, label_height = text_width(text, size) + size, round(size * 1.5)
    x = min(max(0, left), max(0, width - label_width))
    y = top - label_height if top >= label_height else min(bottom, height - label_height)
    cv2.rectangle(image, (x, y), (x + label_width, y + label_height), color, cv2.FILLED)
    put_text(image, text, x + size // 2, y + round(size * 1.1), size, WHITE)


def draw_heat(
    image: np.ndarray, person: PersonPrediction, heatmaps: Heatmaps, time: float, landmarks: np.ndarray
) -> None:
    """Blend the heat map of a face at `time` seconds, interpolated between scored faces, into the image.

    Args:
        image: uint8 BGR (height, width, 3), changed in place.
        landmarks: (5, 2) in pixels of `image`.
    """
    heat = interpolate([face.time for face in person.faces], heatmaps.maps[person.track], time)
    size = len(heat)
    matrix = fit_similarity(landmark_template(size, heatmaps.margin), landmarks)
    corners = cv2.transform(np.array([[[0, 0], [size, 0], [0, size], [size, size]]], float), matrix)[0]
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)), (image.shape[1], image.shape[0])).astype(int)
    if right <= left or bottom <= top:
        return
    matrix[:, 2] -= (left, top)
    warped = cv2.warpAffine(heat, matrix, (int(right - left), int(bottom - top)))
    region = image[top:bottom, left:right]
    colors = cv2.applyColorMap((warped * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = OPACITY * warped[..., None]
    region[:] = (region * (1 - opacity) + colors * opacity).astype(np.uint8)
