"""Which detections in successive frames are the same person."""

from collections.abc import Collection
from dataclasses import dataclass, field

import cv2
import numpy as np

REACH = 1.0  # how far a face may move between two sampled frames, in its own sizes
GAP = 2  # sampled frames for which a face may be lost
FEW = 3  # with no more sampled frames than this, a face seen once is kept
SAME_SHOT = 0.35  # share of their colours that two frames of one shot have in common at least


@dataclass
class Track:
    """One person: `frames` are positions in the sampled sequence, ascending; `faces` the detections there, each (15,), and
    `rows` which of the detections there they are."""

    frames: list[int] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(self, frame: int, row: int, face: np.ndarray) -> "Track":
        self.frames.append(frame)
        self.rows.append(row)
        self.faces.append(face)
        return self

    @property
    def prominence(self) -> float:
        """Sum over frames of face area times detector score: large, long and certain comes first."""
        return float(sum((f[2] - f[0]) * (f[3] - f[1]) * f[4] for f in self.faces))


def link_detections(detections: list[np.ndarray], cuts: Collection[int] = ()) -> tuple[list[Track], int]:
    """Link detections, a list of (n, 15) arrays, one for each sampled frame in order of time.

    Each frame is matched to the open tracks at once by the Hungarian method on distance between centres and ratio of sizes.
    No track goes on past a position in `cuts`, where another shot begins.

    Returns:
        Tracks, most prominent first, and the number of detections dropped because no other frame supports them.
    """
    tracks: list[Track] = []
    shot = 0
    for i, found in enumerate(detections):
        shot = i if i in cuts else shot
        open_tracks = [track for track in tracks if i - track.frames[-1] <= GAP + 1 and track.frames[-1] >= shot]
        taken = set()
        if open_tracks and len(found):
            cost = np.array([[box_distance(track.faces[-1], face) for face in found] for track in open_tracks])
            for track, row in _assignment(np.minimum(cost, 10 * REACH)):
                if cost[track, row] <= REACH:
                    open_tracks[track].add(i, int(row), found[row])
                    taken.add(row)
        tracks += [Track().add(i, row, face) for row, face in enumerate(found) if row not in taken]
    kept = [track for track in tracks if len(track.frames) > 1 or len(detections) <= FEW]
    kept.sort(key=lambda track: -track.prominence)
    return kept, len(tracks) - len(kept)


def _assignment(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns of least total cost."""
    if 1 in cost.shape:
        row, column = np.unravel_index(np.argmin(cost), cost.shape)
        return [(int(row), int(column))]
    from scipy.optimize import linear_sum_assignment  # here: most videos show one face, and it takes long to import

    return list(zip(*linear_sum_assignment(cost), strict=True))


def box_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between two boxes: centres apart in units of their mean size, plus the logarithm of the ratio of their sizes."""
    size_a, size_b = (max(float(np.sqrt(max(f[2] - f[0], 0) * max(f[3] - f[1], 0))), 1e-3) for f in (a, b))
    apart = np.hypot(*((a[:2] + a[2:4]) - (b[:2] + b[2:4]))) / 2
    return float(apart / ((size_a + size_b) / 2) + abs(np.log(size_a / size_b)))


def color_histogram(image: np.ndarray) -> np.ndarray:
    """Shares of 8 × 8 × 8 colours in a uint8 BGR image, seen from afar: float32 (512,)."""
    small = cv2.resize(image, (64, 36), interpolation=cv2.INTER_NEAREST)
    return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel() / (64 * 36)


def same_shot(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two frames with these `colours` can be of one shot (histogram intersection, Swain & Ballard 1991)."""
    return float(np.minimum(a, b).sum()) >= SAME_SHOT
