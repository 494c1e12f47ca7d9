"""Decoded pictures as arrays, and images made smaller."""

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

HD_HEIGHT = 720  # lines from which a video without a stated colour matrix is taken for BT.709, as players do
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def to_bgr(picture: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """Convert a decoded picture to an upright image, uint8 BGR (height, width, 3).

    The colour matrix (BT.601, BT.709, BT.2020) and the range are those that the picture states. Of an interlaced
    picture the even lines are kept and the odd ones interpolated. The display matrix rotates the image. One
    `reformatter` for all pictures of a video halves the time.
    """
    source = Colorspace.ITU709 if picture.colorspace == UNSPECIFIED and picture.height >= HD_HEIGHT else None
    image = reformatter.reformat(picture, format="bgr24", src_colorspace=source, threads=1).to_ndarray()
    if picture.interlaced_frame:
        image = _keep_one_field(image)
    quarter_turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _keep_one_field(image: np.ndarray) -> np.ndarray:
    """Replace odd lines by the means of their neighbours: lines of two moments show combs wherever something moves."""
    even = image[::2]
    above, below = even[: len(image) // 2], np.concatenate([even[1:], even[-1:]])[: len(image) // 2]
    result = image.copy()
    if len(above):
        result[1::2] = cv2.addWeighted(above, 0.5, below, 0.5, 0)
    return result


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Average `image` over squares of `factor` pixels; a remainder at the right and lower edge is cut off."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    part = image[: height * factor, : width * factor]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) if factor > 1 else image


def fit(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale `image` without aliasing until its longer side is at most `side` pixels; never enlarge it.

    Returns:
        The image, and its scale in x and y: float64 (2,).
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image, np.ones(2)
    factor = min(int(1 / scale), height, width)
    part = shrink(image, factor)
    size = max(1, round(part.shape[1] * factor * scale)), max(1, round(part.shape[0] * factor * scale))
    small = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
    return small, np.array(size) / (np.array(part.shape[1::-1]) * factor)
