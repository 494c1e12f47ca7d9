"""Dissolves, where one shot fades into the next: pictures between that are weighted means of one before and one after.

Of a picture that moves, the pictures between are not: even where they look like a mean of both, the two look alike.
"""

from collections import deque

import numpy as np

from deepfake_detector.faces.shots import Moment, similarity
from deepfake_detector.faces.video_reader import Frame

REACHES = (0.15, 0.3, 0.6, 1.0)  # seconds before and after a picture at which the two lie that it may be a mean of
LOOK_BACK = 2.5  # seconds before a wanted frame that are searched
UNLIKE = 0.55  # similarity of two pictures below which a mean of them is a dissolve and no movement
EXPLAINED = 0.93  # of the variance of a picture that the weighted mean explains
LEAST_WEIGHT = 0.25  # of each of the two in the mean
WEIGHT_ERROR = 0.2  # by which the sum of both weights may differ from 1


class DissolveFinder:
    """Looks for dissolves among the decoded pictures of a video. Nothing is looked at while the picture stays alike."""

    def __init__(self) -> None:
        self._wanted: deque[Moment] = deque()
        self._moments: deque[Moment] = deque()  # these and those between
        self._seen: set[tuple[int, float]] = set()  # numbers and reaches

    def add(self, frame: Frame) -> list[int]:
        """Numbers of pictures up to `frame`, the next wanted one, that are found in the middle of a dissolve."""
        if self._moments:
            self._moments += frame.passed
        self._moments.append(frame.moment)
        self._wanted.append(frame.moment)
        for moments in (self._moments, self._wanted):
            while moments[0].time < frame.time - LOOK_BACK:
                moments.popleft()
        if similarity(self._wanted[0].details, frame.moment.details) >= UNLIKE:
            return []
        self._seen = {(number, reach) for number, reach in self._seen if number >= self._moments[0].number}
        return [number for reach in REACHES for number in self._find_means(reach)]

    def _find_means(self, reach: float) -> list[int]:
        """Numbers of pictures, not looked at before, that are means of those `reach` seconds before and after."""
        moments, found = list(self._moments), []
        times = np.array([moment.time for moment in moments])
        before = np.searchsorted(times, times - reach, side="right") - 1
        after = np.searchsorted(times, times + reach)
        for moment, a, b in zip(moments, before, after, strict=True):
            if a < 0 or b >= len(moments) or (moment.number, reach) in self._seen:
                continue
            self._seen.add((moment.number, reach))
            if _is_mean(moment, moments[a], moments[b]):
                found.append(moment.number)
        return found


def _is_mean(moment: Moment, before: Moment, after: Moment) -> bool:
    """Whether a picture is a mean of two that are not alike."""
    a, b, mean = before.pattern, after.pattern, moment.pattern
    aa, bb, ab, am, bm = a @ a, b @ b, a @ b, a @ mean, b @ mean
    determinant = aa * bb - ab * ab
    if determinant <= 1e-3 * aa * bb:  # both are the same, or one is flat
        return False
    weights = np.array([am * bb - bm * ab, bm * aa - am * ab]) / determinant  # of least squared error
    return bool(
        weights.min() >= LEAST_WEIGHT
        and abs(weights.sum() - 1) <= WEIGHT_ERROR
        and weights @ (am, bm) >= EXPLAINED * (mean @ mean)
        and similarity(before.details, after.details) < UNLIKE
    )
