"""Work on the planes of a YuvImage: from BGR, to another size or matrix, into a frame of another shape."""

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from deepfake_detector.faces.pixels import ACCURATE, HD_HEIGHT, YuvImage

BLACK = (16, 128, 128)  # Y, U, V in limited range


def from_bgr(image: np.ndarray, is_bt709: bool | None = None) -> YuvImage:
    """Convert uint8 BGR (height, width, 3); the last row or column is repeated where their number is odd.

    `is_bt709` names the colour matrix. Without it the height decides, as in a player that finds none stated.
    """
    height, width = image.shape[:2]
    image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    frame = av.VideoFrame.from_ndarray(image, format="bgr24")
    return _from_rgb(frame, height >= HD_HEIGHT if is_bt709 is None else is_bt709)


def with_matrix(image: YuvImage, is_bt709: bool) -> YuvImage:
    """The same picture in the matrix of BT.709, or in that of BT.601."""
    if image.is_bt709 == is_bt709:
        return image
    flags = ACCURATE | Interpolation.FULL_CHR_H_INT  # without the latter, conversion to RGB takes rounded tables
    rgb = to_frame(image).reformat(format="rgb24", src_colorspace=_matrix(image.is_bt709), interpolation=flags)
    return _from_rgb(rgb, is_bt709)


def resize(image: YuvImage, width: int, height: int) -> YuvImage:
    """Scale to `width` x `height` pixels, each rounded to an even number of at least 2."""
    width, height = (max(2, 2 * round(side / 2)) for side in (width, height))
    if image.y.shape == (height, width):
        return image
    shrinks = width * height < image.y.size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    y = cv2.resize(image.y, (width, height), interpolation=interpolation)
    u, v = (cv2.resize(plane, (width // 2, height // 2), interpolation=interpolation) for plane in (image.u, image.v))
    return YuvImage(y, u, v, image.is_bt709)


def letterbox(image: YuvImage, width: int, height: int) -> tuple[YuvImage, np.ndarray, np.ndarray]:
    """Scale to fit into `width` x `height` pixels, both even, with black bars around it unless they would be thin.

    Returns:
        The image, the width and height to which it was scaled, and the x and y of its upper left corner: int (2,).
    """
    if image.y.shape == (height, width):
        return image, np.array([width, height]), np.zeros(2, int)
    scale = min(width / image.y.shape[1], height / image.y.shape[0])
    fitted = (round(side * scale) for side in image.y.shape[::-1])
    small = resize(
        image, *(full if full - side < 4 else side for full, side in zip((width, height), fitted, strict=True))
    )
    placed = np.array(small.y.shape[::-1])
    corner = (np.array([width, height]) - placed) // 4 * 2
    framed = blank(width, height, image.is_bt709)
    paste(framed, small, int(corner[0]), int(corner[1]))
    return framed, placed, corner


def blank(width: int, height: int, is_bt709: bool) -> YuvImage:
    """A black picture; both sides are even."""
    sizes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
    y, u, v = (np.full(size, value, np.uint8) for size, value in zip(sizes, BLACK, strict=True))
    return YuvImage(y, u, v, is_bt709)


def paste(image: YuvImage, patch: YuvImage, x: int, y: int) -> None:
    """Copy `patch` into `image`, in place; its upper left corner gets to the even numbers `x` and `y`.

    What would lie beyond the right and the lower edge is left out.
    """
    for target, source, step in ((image.y, patch.y, 1), (image.u, patch.u, 2), (image.v, patch.v, 2)):
        region = target[y // step : y // step + len(source), x // step : x // step + source.shape[1]]
        region[:] = source[: region.shape[0], : region.shape[1]]


def to_frame(image: YuvImage) -> av.VideoFrame:
    """A copy as FFmpeg takes it: yuv420p."""
    frame = av.VideoFrame(image.y.shape[1], image.y.shape[0], "yuv420p")
    for plane, pixels in zip(frame.planes, (image.y, image.u, image.v), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows[: pixels.shape[0], : pixels.shape[1]] = pixels
    return frame


def _from_rgb(frame: av.VideoFrame, is_bt709: bool) -> YuvImage:
    converted = frame.reformat(
        format="yuv420p",
        dst_colorspace=_matrix(is_bt709),
        dst_color_range=ColorRange.MPEG,
        interpolation=ACCURATE,
        threads=1,
    )
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
        for plane in converted.planes
    )
    return YuvImage(y, u, v, is_bt709)


def _matrix(is_bt709: bool) -> Colorspace:
    return Colorspace.ITU709 if is_bt709 else Colorspace.ITU601
