"""Text and colours of the pictures, and shapes in planes."""

import math
from functools import cache

import cv2
import numpy as np

from deepfake_detector.faces.pixels import YuvImage
from deepfake_detector.faces.planes import from_bgr

Color = tuple[int, int, int]  # BGR, 0 to 255

# Vermilion, blue and grey: readers with any kind of colour vision can tell them apart (Okabe & Ito 2008).
VERDICT_COLORS: dict[str, Color] = {"fake": (0, 94, 213), "real": (178, 114, 0), "uncertain": (120, 120, 120)}
WHITE: Color = (255, 255, 255)
GREY: Color = (150, 150, 150)
DARK: Color = (32, 32, 32)
SMALLEST_TEXT = 6  # pixels
WEIGHT = 600  # of the font: semi-bold


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def text_width(text: str, size: int) -> int:
    """Width of a line of text in pixels."""
    return int(cv2.getTextSize((0, 0), text, (0, 0), _font(), size, WEIGHT)[2])


def put_text(image: np.ndarray, text: str, x: int, baseline: int, size: int, color: Color) -> None:
    """Draw a line of text into a uint8 BGR image; `x` is its left edge and `size` its height, in pixels."""
    cv2.putText(image, text, (x, baseline), color, _font(), size, WEIGHT)


def fit_text_size(text: str, size: int, width: int) -> int:
    """The largest size up to `size` at which `text` is at most `width` pixels wide, but at least SMALLEST_TEXT."""
    while size > SMALLEST_TEXT and text_width(text, size) > width:
        size -= 1
    return size


@cache
def yuv_color(color: Color, is_bt709: bool) -> tuple[int, int, int]:
    """A colour as Y, U and V."""
    image = from_bgr(np.full((2, 2, 3), color, np.uint8), is_bt709)
    return int(image.y[0, 0]), int(image.u[0, 0]), int(image.v[0, 0])


def fill(image: YuvImage, left: int, top: int, right: int, bottom: int, color: Color) -> None:
    """Fill a rectangle of an image in place; its sides are even numbers of pixels, and may lie beyond the image."""
    left, top, right, bottom = (max(0, side) for side in (left, top, right, bottom))
    y, u, v = yuv_color(color, image.is_bt709)
    for plane, value, step in ((image.y, y, 1), (image.u, u, 2), (image.v, v, 2)):
        plane[top // step : bottom // step, left // step : right // step] = value


def even(value: float) -> int:
    """The largest even number up to `value`: U and V have one value for two pixels."""
    return 2 * math.floor(value / 2)
