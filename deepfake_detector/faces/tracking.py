"""Tracks: which detections in successive frames are the same person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfake_detector.faces.detections import Detection, Detections

MAX_DISTANCE = 1.0  # box distance up to which two detections in successive frames can be one person
MAX_GAP = 2  # successive frames in which a track may have no detection


@dataclass
class Track:
    """One person.

    Attributes:
        frames: positions in the sequence of frames, ascending.
        detections: the person's detection in each of these frames.
        indices: its index among the detections of its frame.
    """

    frames: list[int]
    detections: list[Detection]
    indices: list[int]

    def add(self, frame: int, index: int, detection: Detection) -> None:
        self.frames.append(frame)
        self.indices.append(index)
        self.detections.append(detection)

    @property
    def eye_distance(self) -> float:
        """Median over frames of the pixels between the eyes, or from eyes to mouth where a face is turned aside."""
        points = np.stack([face.landmarks for face in self.detections])
        eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
        apart = np.linalg.norm(points[:, 0] - points[:, 1], axis=1)
        return float(np.median(np.maximum(apart, np.linalg.norm(eyes - mouth, axis=1))))

    @property
    def prominence(self) -> float:
        """Sum over frames of box area in square pixels times detector score: long tracks of large faces have most."""
        return float(sum(np.prod(face.box[2:] - face.box[:2]) * np.float32(face.score) for face in self.detections))


def link_detections(
    frames: Sequence[Detections], shots: Sequence[int], sizes: Sequence[tuple[int, int]]
) -> list[Track]:
    """Link the detections of successive frames into tracks. A detection without another one is a track, too.

    In each frame the Hungarian method matches the detections to the open tracks by `box_distance`. A track ends where
    no detection matches it for more than MAX_GAP frames. It never leaves its shot.

    Args:
        frames: detections of each frame in order of time.
        shots: number of the shot of each frame.
        sizes: width and height of each frame, which may change within a video: boxes are compared in units of it.

    Returns:
        Tracks, most prominent first.
    """
    units = np.tile(np.array(sizes, float).reshape(-1, 2), 2)
    tracks: list[Track] = []
    for i, detections in enumerate(frames):
        open_tracks = [t for t in tracks if i - t.frames[-1] <= MAX_GAP + 1 and shots[t.frames[-1]] == shots[i]]
        matched = set()
        if open_tracks and len(detections):
            last_boxes = [t.detections[-1].box * (units[i] / units[t.frames[-1]]) for t in open_tracks]
            cost = np.array([[box_distance(last, box) for box in detections.boxes] for last in last_boxes])
            for row, column in _assign(np.minimum(cost, 10 * MAX_DISTANCE)):
                if cost[row, column] <= MAX_DISTANCE:
                    open_tracks[row].add(i, column, detections[column])
                    matched.add(column)
        for index, detection in enumerate(detections):
            if index not in matched:
                tracks.append(Track([i], [detection], [index]))
    return sorted(tracks, key=lambda track: -track.prominence)


def _assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns of least total cost."""
    if 1 in cost.shape:
        row, column = np.unravel_index(np.argmin(cost), cost.shape)
        return [(int(row), int(column))]
    from scipy.optimize import linear_sum_assignment  # here: most videos show one face, and importing it takes long

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def box_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two boxes (4,), x1 y1 x2 y2, without unit.

    It is the distance of the centres in units of the mean size, plus the absolute logarithm of the ratio of sizes; the
    size of a box is the square root of its area.
    """
    size_a, size_b = (max(float(np.sqrt(max(x2 - x1, 0) * max(y2 - y1, 0))), 1e-3) for x1, y1, x2, y2 in (a, b))
    center_distance = np.hypot(*((a[:2] + a[2:]) - (b[:2] + b[2:]))) / 2
    return float(center_distance / ((size_a + size_b) / 2) + abs(np.log(size_a / size_b)))
