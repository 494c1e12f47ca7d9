"""Shots: which frames of an edited video were recorded in one go."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

SHIFT = (8, 4)  # pixels of a thumbnail, in x and y, by which a picture may move from one frame to another
SURROUNDINGS = 9  # pixels of a thumbnail: standard deviation of the Gaussian that a pixel is compared with
NOISE = 6  # grey levels of contrast below which contrast is not enhanced any more
FLAT = 0.2  # contrast of a thumbnail up to which it shows nothing, as in a fade to black
SIMILAR = 0.8  # similarity from which two frames are taken to belong to one shot
DIFFERENT = 0.7  # similarity below which two frames probably belong to different shots
CONTRAST = 2.0  # how many times larger than the changes around it the change at a cut is
AROUND = 5  # frames before and after that a change is compared with; a flash may last almost as long


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame of a video, as small as it takes to compare it with others.

    Attributes:
        number, time: as in `Frame`.
        thumbnail: uint8 (height, width), by `to_thumbnail`.
    """

    number: int
    time: float
    thumbnail: np.ndarray

    @cached_property
    def details(self) -> np.ndarray:
        """As of `details_of`."""
        return details_of(self.thumbnail)

    @cached_property
    def pattern(self) -> np.ndarray:
        """The thumbnail without its light: float32 (n,). Unlike `details`, that of a mean is the mean of both."""
        smooth = cv2.GaussianBlur(self.thumbnail.astype(np.float32), (0, 0), 1)
        return np.asarray(smooth - surroundings(smooth)).ravel()


def details_of(thumbnail: np.ndarray) -> np.ndarray:
    """The details of a uint8 thumbnail (height, width): float32 of the same shape.

    Each pixel is compared with its surroundings and divided by their contrast: a change of light changes little.
    """
    small = thumbnail.astype(np.float32)
    details = small - surroundings(small)
    return np.asarray(details / (np.sqrt(surroundings(details * details)) + NOISE))


def surroundings(picture: np.ndarray) -> np.ndarray:
    """float32 (height, width) blurred as by `cv2.GaussianBlur` with SURROUNDINGS; thumbnails in a third of its time."""
    height, width = picture.shape
    return np.asarray(_blur_matrix(height) @ picture @ _blur_matrix(width).T)


@cache
def _blur_matrix(side: int) -> np.ndarray:
    """The matrix, float32 (side, side), whose product with a picture is the picture blurred from top to bottom."""
    return cv2.GaussianBlur(np.eye(side, dtype=np.float32), (1, 8 * SURROUNDINGS + 1), 0, sigmaY=SURROUNDINGS)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the details of two pictures, at most 1: of the middle of `a` with the part of `b` most like it."""
    x, y = SHIFT
    flat = [cv2.meanStdDev(details)[1].item() < FLAT for details in (a, b)]  # a quarter of the time of NumPy's
    if any(flat):
        return float(all(flat))
    return float(cv2.matchTemplate(b, a[y:-y, x:-x], cv2.TM_CCOEFF_NORMED).max())


def find_leaps(moments: Sequence[Moment]) -> list[tuple[int, int]]:
    """Numbers of pairs of neighbours in `moments`, frames in order of time, between which there may be a cut.

    There is none between two frames that are similar, or that others link of which each is similar to the next.
    """
    if len(moments) < 2 or similarity(moments[0].details, moments[-1].details) >= SIMILAR:
        return []
    if len(moments) == 2:
        return [(moments[0].number, moments[1].number)]
    middle = (len(moments) - 1) // 2
    return find_leaps(moments[: middle + 1]) + find_leaps(moments[middle:])


def shot_numbers(thumbnails: Iterable[np.ndarray]) -> np.ndarray:
    """The number of the shot that each of successive frames belongs to, by their uint8 thumbnails: int (n,).

    A cut is a leap: a change that is larger than SIMILAR allows and stands out from the changes around it, which those
    of a moving camera do not. Frames between two leaps are a flash or an insert: they belong to a shot of their own,
    and the shot before them goes on after them if it looks the same there.
    """
    changes, leaps = _measure_changes(thumbnails)
    shots = np.zeros(len(changes) + 1, int)
    for start, end, before, after in leaps:
        quiet = np.concatenate([changes[max(start - AROUND, 0) : start], changes[end : end + AROUND]])
        change = 1 - similarity(before, after)
        is_cut = change > max(1 - SIMILAR, CONTRAST * (end - start) * quiet.max(initial=0.0))
        number = shots[start]
        shots[start + 1 :] = shots.max() + 1
        if not is_cut:
            shots[end:] = number
        elif end > start + 1:
            shots[end:] = shots.max() + 1
    return shots


def _measure_changes(
    thumbnails: Iterable[np.ndarray],
) -> tuple[np.ndarray, list[tuple[int, int, np.ndarray, np.ndarray]]]:
    """Changes from each frame to the next, float (n - 1,), and the frames before and after each series of leaps.

    Of these two frames it gives the positions and the details. In a series no leap is more than AROUND frames from the
    next.
    """
    changes: list[float] = []
    kept: dict[int, np.ndarray] = {}  # not all thumbnails: a video may be hours long
    previous: np.ndarray | None = None
    for i, current in enumerate(map(details_of, thumbnails)):
        if previous is not None:
            changes.append(1 - similarity(previous, current))
            if changes[-1] > 1 - SIMILAR:
                kept |= {i - 1: previous, i: current}
        previous = current
    series: list[tuple[int, int]] = []
    for i in np.flatnonzero(np.array(changes) > 1 - SIMILAR).tolist():
        others = sorted(changes[max(i - AROUND, 0) : i] + changes[i + 1 : i + 1 + AROUND])
        if changes[i] <= CONTRAST * (others[-2] if len(others) > 1 else 0.0):  # the last may be the end of a flash
            continue
        if series and i - series[-1][1] < AROUND:
            series[-1] = series[-1][0], i + 1
        else:
            series.append((i, i + 1))
    return np.array(changes), [(start, end, kept[start], kept[end]) for start, end in series]
