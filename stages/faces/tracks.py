"""Which detections in successive frames are the same person."""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

REACH = 1.0  # how far a face may move between two sampled frames, in its own sizes
GAP = 2  # sampled frames for which a face may be lost
FEW = 3  # with no more sampled frames than this, a face seen once is kept


@dataclass
class Track:
    """One person: `frames` are positions in the sampled sequence, ascending; `faces` the detections there, each (15,)."""

    frames: list[int] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)

    @property
    def prominence(self) -> float:
        """Sum over frames of face area times detector score: large, long and certain comes first."""
        return float(sum((f[2] - f[0]) * (f[3] - f[1]) * f[4] for f in self.faces))


def link(detections: list[np.ndarray]) -> tuple[list[Track], int]:
    """Link detections, a list of (n, 15) arrays, one for each sampled frame in order of time.

    Each frame is matched to the open tracks at once by the Hungarian method on distance between centres and ratio of sizes.

    Returns:
        Tracks, most prominent first, and the number of detections dropped because no other frame supports them.
    """
    tracks: list[Track] = []
    for i, found in enumerate(detections):
        open_tracks = [track for track in tracks if i - track.frames[-1] <= GAP + 1]
        taken = set()
        if open_tracks and len(found):
            cost = np.array([[_distance(track.faces[-1], face) for face in found] for track in open_tracks])
            for row, column in zip(*linear_sum_assignment(np.minimum(cost, 10 * REACH)), strict=True):
                if cost[row, column] <= REACH:
                    open_tracks[row].frames.append(i)
                    open_tracks[row].faces.append(found[column])
                    taken.add(column)
        tracks += [Track([i], [face]) for column, face in enumerate(found) if column not in taken]
    kept = [track for track in tracks if len(track.frames) > 1 or len(detections) <= FEW]
    kept.sort(key=lambda track: -track.prominence)
    return kept, len(tracks) - len(kept)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between two boxes: centres apart in units of their mean size, plus the logarithm of the ratio of their sizes."""
    size_a, size_b = np.sqrt((a[2] - a[0]) * (a[3] - a[1])), np.sqrt((b[2] - b[0]) * (b[3] - b[1]))
    apart = np.hypot(*((a[:2] + a[2:4]) - (b[:2] + b[2:4]))) / 2
    return float(apart / ((size_a + size_b) / 2) + abs(np.log(size_a / size_b)))
