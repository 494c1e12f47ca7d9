"""Decoded pictures as a player shows them: upright, with square pixels and in the colours of a screen."""

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as DataKind
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

HD_HEIGHT = 720  # lines from which a video without a stated colour matrix is taken for BT.709, as players do
STATED_BT601 = frozenset({4, 5, 6})  # AVCOL_SPC_FCC, AVCOL_SPC_BT470BG, AVCOL_SPC_SMPTE170M
CONVERTIBLE = frozenset({0, 1, 4, 5, 6, 7, 9})  # AVCOL_SPC_...: matrices that swscale knows
BT2020_CL = 10  # AVCOL_SPC_BT2020_CL
RESERVED = frozenset({0, 3})  # transfers and primaries, ITU-T H.273
UNKNOWN_TRANSFERS = RESERVED | {ColorTrc.LOG, ColorTrc.LOG_SQRT}  # to swscale
HDR_TRANSFERS = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})  # PQ and HLG, ITU-R BT.2100
ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND  # without it, grey gets a tint
MAX_WIDTH = 16_384  # pixels of a picture with square pixels; a pixel aspect ratio that asks for more is nonsense
THUMBNAIL = (64, 36)  # width and height


def _unnamed_kind(kinds: type[DataKind], number: int) -> DataKind:
    """A kind of data beside a picture that PyAV has no name for, as Exif or the views of a spatial video.

    Without it, PyAV gives none of the data beside the picture, but raises ValueError.
    """
    kind = object.__new__(kinds)
    vars(kind).update(_name_=f"KIND_{number}", _value_=number)
    return kind


DataKind._missing_ = classmethod(_unnamed_kind)  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class YuvImage:
    """An upright picture with square pixels as planes of uint8, subsampled 4:2:0, in limited range.

    Attributes:
        y: (height, width), both even.
        u, v: (height / 2, width / 2).
        is_bt709: whether the colours are those of BT.709; else they are those of BT.601.
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    is_bt709: bool


def to_bgr(
    picture: av.VideoFrame, reformatter: VideoReformatter, pixel_aspect: Fraction | float = Fraction(1)
) -> np.ndarray:
    """Convert a decoded picture to the image that a player shows, uint8 BGR (height, width, 3).

    The colour matrix (BT.601, BT.709, BT.2020) and the range are those that the picture states. HDR (PQ, HLG) and
    BT.2020 are mapped to BT.709, where the white of paper (203 cd/m², ITU-R BT.2408) becomes white. Of an interlaced
    picture the even lines are kept and the odd ones interpolated. The width is scaled to square pixels. The display
    matrix turns and mirrors the image.

    Args:
        picture: as decoded.
        reformatter: one for all pictures of a video halves the time; with HDR it saves seconds.
        pixel_aspect: width of a pixel divided by its height.
    """
    image = _reformat(picture, reformatter, "bgr24", display_width(picture, pixel_aspect), picture.height).to_ndarray()
    if picture.interlaced_frame:
        image = _keep_one_field(image)
    return np.ascontiguousarray(_orient(image, picture))


def to_yuv(
    picture: av.VideoFrame,
    reformatter: VideoReformatter,
    pixel_aspect: Fraction | float = Fraction(1),
    max_side: int = MAX_WIDTH,
) -> YuvImage:
    """`to_bgr`, but as planes: most pictures are copied without a conversion, so they keep their colours exactly.

    Args:
        picture, reformatter, pixel_aspect: as for `to_bgr`.
        max_side: pixels of the longer side; a larger picture is made smaller.
    """
    width, height = display_width(picture, pixel_aspect), picture.height
    scale = min(1.0, max_side / max(width, height))
    width, height = max(2, round(width * scale)), max(2, round(height * scale))
    if _is_wide(picture):  # in one step, swscale gets saturated colours wrong
        image = _reformat(picture, reformatter, "bgr24", width, height)
        converted = image.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE,
            threads=1,
        )
    else:
        converted = _reformat(picture, reformatter, "yuv420p", width, height)
    planes = [_plane_pixels(plane) for plane in converted.planes]
    if picture.interlaced_frame:
        planes = [_keep_one_field(plane) for plane in planes]
    y, u, v = (_orient(plane, picture) for plane in planes)
    y = np.pad(y, ((0, y.shape[0] % 2), (0, y.shape[1] % 2)), "edge")
    return YuvImage(y, np.ascontiguousarray(u), np.ascontiguousarray(v), _is_bt709(picture))


def to_thumbnail(picture: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """The luma of a decoded picture, much smaller: uint8 (36, 64), neither turned nor with square pixels.

    This takes a hundredth of the time of decoding. Thumbnails of pictures of other sizes and formats can be compared.
    `reformatter` must be another one than that of `to_bgr`, which would have to begin anew with each picture.
    """
    width, height = THUMBNAIL
    twice = reformatter.reformat(
        picture,
        2 * width,
        2 * height,
        "gray",
        src_colorspace=_assumed_matrix(picture),
        interpolation=Interpolation.FAST_BILINEAR,
        threads=1,
    )
    return cv2.resize(twice.to_ndarray(), THUMBNAIL, interpolation=cv2.INTER_AREA)


def shown_size(picture: av.VideoFrame, pixel_aspect: Fraction | float) -> tuple[int, int]:
    """Width and height of the image that `to_bgr` makes of a picture."""
    matrix = _display_matrix(picture)
    size = display_width(picture, pixel_aspect), picture.height
    return size[::-1] if matrix and _swaps_axes(matrix) else size


def display_width(picture: av.VideoFrame, pixel_aspect: Fraction | float) -> int:
    """Width of a picture, not turned yet, after scaling to square pixels."""
    width = round(picture.width * pixel_aspect)
    return width if 1 <= width <= MAX_WIDTH else picture.width


def _reformat(
    picture: av.VideoFrame, reformatter: VideoReformatter, pixel_format: str, width: int, height: int
) -> av.VideoFrame:
    """Convert to `bgr24`, or to `yuv420p` of limited range, and scale to `width` x `height`."""
    to_yuv, to_bt709 = pixel_format == "yuv420p", _is_bt709(picture)
    convert_colors = _is_wide(picture)
    return reformatter.reformat(
        picture,
        width,
        height,
        pixel_format,
        src_colorspace=_assumed_matrix(picture),
        dst_colorspace=(Colorspace.ITU709 if to_bt709 else Colorspace.ITU601) if to_yuv else None,
        dst_color_range=ColorRange.MPEG if to_yuv else None,
        dst_color_trc=ColorTrc.BT709 if convert_colors else None,
        dst_color_primaries=ColorPrimaries.BT709 if convert_colors else None,
        interpolation=ACCURATE if to_yuv else None,
        threads=1,
    )


def _assumed_matrix(picture: av.VideoFrame) -> Colorspace | None:
    """The matrix to convert from, if the picture states none or one that swscale refuses; None for the stated one."""
    if picture.colorspace in CONVERTIBLE:
        return None
    if picture.colorspace == BT2020_CL or _is_wide(picture):
        return Colorspace.BT2020
    return Colorspace.ITU709 if _is_bt709(picture) else Colorspace.ITU601


def _is_wide(picture: av.VideoFrame) -> bool:
    """Whether a picture has more light or more colours than BT.709 holds, and swscale can convert it."""
    if picture.color_trc in UNKNOWN_TRANSFERS or picture.color_primaries in RESERVED:
        return False
    return picture.color_trc in HDR_TRANSFERS or picture.color_primaries == ColorPrimaries.BT2020


def _is_bt709(picture: av.VideoFrame) -> bool:
    """Whether the colours of a picture are shown, or mapped, to BT.709; else to BT.601."""
    if picture.colorspace in STATED_BT601 and not _is_wide(picture):
        return False
    return picture.colorspace == Colorspace.ITU709 or picture.height >= HD_HEIGHT or _is_wide(picture)


def _plane_pixels(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """A copy of a plane, uint8 (height, width): the decoder may still predict other pictures from the plane itself."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()


def _orient(image: np.ndarray, picture: av.VideoFrame) -> np.ndarray:
    """Turn and mirror an image or a plane (height, width, ...) by the display matrix, in steps of a quarter turn.

    The matrix, nine 32-bit numbers [a b u, c d v, x y w], shows the point (x, y) at (a x + c y, b x + d y).
    """
    matrix = _display_matrix(picture)
    if not matrix:
        return image
    a, b, c, d = matrix
    if _swaps_axes(matrix):
        image, a, d = image.swapaxes(0, 1), c, b
    image = image[:, ::-1] if a < 0 else image
    return image[::-1] if d < 0 else image


def _display_matrix(picture: av.VideoFrame) -> tuple[float, float, float, float] | None:
    """a, b, c and d of the display matrix, if the picture has one."""
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float).tolist()
    return a, b, c, d


def _swaps_axes(matrix: tuple[float, float, float, float]) -> bool:
    """Whether a display matrix shows columns as rows."""
    a, b, c, d = map(abs, matrix)
    return a + d < b + c


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
