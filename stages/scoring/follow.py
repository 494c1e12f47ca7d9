"""Where faces are between the frames that were scored: they are looked for again some times a second, so that boxes follow."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from stages.faces.detectors import Detector
from stages.faces.video import VideoInfo, read_frames
from stages.scoring.judgement import Person

RATE = 5  # times a second
REACH = 0.6  # how far from where it is expected a face may be found, in its own sizes
MEMORY = 0.5  # seconds for which a person is taken to be there before the first and after the last of its scored faces


@dataclass(frozen=True)
class Motion:
    """Detections (n, 15) of one person at `times` (n,) seconds, ascending."""

    times: np.ndarray
    detections: np.ndarray

    def at(self, time: float) -> np.ndarray:
        """The detection (15,) at `time`: linear between those known, constant beyond."""
        return interpolate(self.times, self.detections, time)


def interpolate(times: ArrayLike, values: ArrayLike, time: float) -> np.ndarray:
    """`values` (n, ...), known at `times` (n,), at `time`: linear between them, constant beyond."""
    times, values = np.asarray(times), np.asarray(values)
    after = int(np.searchsorted(times, time).clip(0, len(times) - 1))
    before = max(0, after - 1)
    gap = times[after] - times[before]
    share = float(np.clip((time - times[before]) / gap, 0, 1)) if gap > 0 else 1.0
    return values[before] * (1 - share) + values[after] * share


def visible(person: Person, time: float) -> bool:
    return person.faces[0].time - MEMORY <= time <= person.faces[-1].time + MEMORY


def scored_path(person: Person) -> Motion:
    """The path through the scored faces alone."""
    return Motion(np.array([face.time for face in person.faces]), np.array([face.detection for face in person.faces]))


def follow(source: Path, info: VideoInfo, people: list[Person], detector: Detector) -> dict[int, Motion]:
    """The path of each person, by track: the scored faces, and between them the faces found near where they would be."""
    rough = {person.track: scored_path(person) for person in people}
    found: dict[int, list[tuple[float, np.ndarray]]] = {person.track: [] for person in people}
    every = max(1, round(info.rate / RATE))
    for frame in read_frames(source, list(range(0, info.frames, every))):
        there = [person for person in people if visible(person, frame.time) and frame.time not in rough[person.track].times]
        detections = list(detector.detect(frame.image)) if there else []
        for person in there:
            expected = rough[person.track].at(frame.time)
            nearest = min(detections, key=lambda detection: _apart(detection, expected), default=None)
            if nearest is not None and _apart(nearest, expected) <= REACH:
                found[person.track].append((frame.time, nearest))
                detections = [detection for detection in detections if detection is not nearest]
    return {track: _merge(path, found[track]) for track, path in rough.items()}


def _merge(path: Motion, found: list[tuple[float, np.ndarray]]) -> Motion:
    if not found:
        return path
    times = np.concatenate([path.times, [time for time, _ in found]])
    detections = np.concatenate([path.detections, [detection for _, detection in found]])
    order = np.argsort(times, kind="stable")
    return Motion(times[order], detections[order])


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the centres of two boxes in units of the size of the second."""
    size = np.sqrt((b[2] - b[0]) * (b[3] - b[1]))
    return float(np.hypot(*((a[:2] + a[2:4]) - (b[:2] + b[2:4]))) / 2 / size)
