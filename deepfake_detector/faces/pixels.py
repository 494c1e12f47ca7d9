"""Decoded pictures as arrays, and arrays made smaller."""

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

HD_HEIGHT = 720  # lines from which a video that does not name its colour matrix is taken for BT.709, as players do
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def to_bgr(picture: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """The picture upright, as uint8 BGR (height, width, 3).

    Its colour matrix (BT.601, BT.709, BT.2020) and range are those it names; of an interlaced picture one field is kept and
    the lines between are interpolated; its display matrix turns it. A `reformatter` for all pictures of a video saves half of
    the time.
    """
    source = Colorspace.ITU709 if picture.colorspace == UNSPECIFIED and picture.height >= HD_HEIGHT else None
    image = reformatter.reformat(picture, format="bgr24", src_colorspace=source, threads=1).to_ndarray()
    if picture.interlaced_frame:
        image = _one_field(image)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _one_field(image: np.ndarray) -> np.ndarray:
    """The even lines, and between each two their mean: lines of two moments would draw combs on whatever moves."""
    even = image[::2]
    above, below = even[: len(image) // 2], np.concatenate([even[1:], even[-1:]])[: len(image) // 2]
    result = image.copy()
    if len(above):
        result[1::2] = cv2.addWeighted(above, 0.5, below, 0.5, 0)
    return result


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares of `factor` pixels; what is left over at the right and lower edge is cut off."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    part = image[: height * factor, : width * factor]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) if factor > 1 else image


def fit(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with a long side of at most `side` pixels, without aliasing, and its scale in x and y (float64 (2,))."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image, np.ones(2)
    factor = min(int(1 / scale), height, width)
    part = shrink(image, factor)
    size = max(1, round(part.shape[1] * factor * scale)), max(1, round(part.shape[0] * factor * scale))
    small = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
    return small, np.array(size) / (np.array(part.shape[1::-1]) * factor)
