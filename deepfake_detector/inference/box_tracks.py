"""The position of each face in every frame of a video, though only some frames were scored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.video_reader import VideoInfo, read_frames
from deepfake_detector.inference.prediction import PersonPrediction, Prediction

DETECTIONS_PER_SECOND = 5
MAX_DISTANCE = 0.6  # from the expected position at which a detection still is the same face, in sizes of the face
VISIBLE_SECONDS = 0.3  # before and after a detection for which the face is taken to be there


@dataclass(frozen=True)
class BoxTrack:
    """Where the face of one person is.

    Attributes:
        times: float (n,), seconds, ascending.
        detections: the face at each of `times`.
        spans: float (m, 2), start and end in seconds of the times at which the face is visible.
    """

    times: np.ndarray
    detections: Detections
    spans: np.ndarray

    def at(self, time: float) -> Detection:
        """The face at `time`: linear between known detections, constant before the first and after the last."""
        known = self.detections
        box, score, landmarks = (
            interpolate(self.times, values, time) for values in (known.boxes, known.scores, known.landmarks)
        )
        return Detection(box, float(score), landmarks)

    def visible_at(self, time: float) -> bool:
        return bool(((self.spans[:, 0] <= time) & (time <= self.spans[:, 1])).any())

    def insert(self, time: float, detection: Detection) -> "BoxTrack":
        """This track with one more detection, and the same `spans`."""
        i, known = int(np.searchsorted(self.times, time)), self.detections
        detections = Detections(
            np.insert(known.boxes, i, detection.box, axis=0),
            np.insert(known.scores, i, detection.score),
            np.insert(known.landmarks, i, detection.landmarks, axis=0),
        )
        return BoxTrack(np.insert(self.times, i, time), detections, self.spans)


@dataclass
class SearchedFrame:
    """A frame in which faces were detected; `unassigned` are those that belong to nobody yet."""

    number: int
    time: float
    unassigned: list[Detection]


def interpolate(times: ArrayLike, values: ArrayLike, time: float) -> np.ndarray:
    """`values` (n, ...), known at `times` (n,) in ascending order, at `time`: linear between them, constant beyond."""
    times, values = np.asarray(times), np.asarray(values)
    after = int(np.searchsorted(times, time).clip(0, len(times) - 1))
    before = max(0, after - 1)
    gap = times[after] - times[before]
    weight = float(np.clip((time - times[before]) / gap, 0, 1)) if gap > 0 else 1.0
    return np.asarray(values[before] * (1 - weight) + values[after] * weight)


def track_scored_faces(person: PersonPrediction) -> BoxTrack:
    """The track through the scored faces alone, visible from the first of them to the last."""
    times = np.array([face.time for face in person.faces])
    span = [times[0] - VISIBLE_SECONDS, times[-1] + VISIBLE_SECONDS]
    return BoxTrack(times, Detections.stack([face.detection for face in person.faces]), np.array([span]))


def track_boxes(source: Path, info: VideoInfo, prediction: Prediction, detector: FaceDetector) -> dict[int, BoxTrack]:
    """The track of each person, by number of the track, through scored faces and detections between them.

    Faces are detected DETECTIONS_PER_SECOND times a second, from one sampling step before a person's first scored
    face to one after the last. A person is visible within VISIBLE_SECONDS of a detection near the expected position.
    """
    step = info.frames / prediction.video.frames_wanted
    ranges = [(person.faces[0].frame - step, person.faces[-1].frame + step) for person in prediction.people]
    searched = [
        SearchedFrame(frame.number, frame.time, list(detector.detect(frame.image)))
        for frame in read_frames(source, choose_frames(info, 1, DETECTIONS_PER_SECOND), info)
        if any(start <= frame.number <= end for start, end in ranges)
    ]
    return {person.track: _follow(person, searched, step) for person in prediction.people}


def _follow(person: PersonPrediction, searched: list[SearchedFrame], step: float) -> BoxTrack:
    """The track of one person: forward from the first scored face, then backward from it.

    Detections that join the track are removed from `searched`.
    """
    track = track_scored_faces(person)
    scored = {face.frame for face in person.faces}
    first, last = min(scored), max(scored)
    forward = [frame for frame in searched if first < frame.number <= last + step and frame.number not in scored]
    backward = [frame for frame in reversed(searched) if first - step <= frame.number < first]
    for frame in forward + backward:
        expected = track.at(frame.time)
        nearest = min(frame.unassigned, key=lambda face: _distance(face, expected), default=None)
        if nearest is not None and _distance(nearest, expected) <= MAX_DISTANCE:
            track = track.insert(frame.time, nearest)
            frame.unassigned = [face for face in frame.unassigned if face is not nearest]
    spans = np.stack([track.times - VISIBLE_SECONDS, track.times + VISIBLE_SECONDS], axis=1)
    return BoxTrack(track.times, track.detections, spans)


def _distance(face: Detection, reference: Detection) -> float:
    """Distance between the centres of two boxes, in sizes of the reference box."""
    a, b = face.box, reference.box
    size = np.sqrt((b[2] - b[0]) * (b[3] - b[1]))
    return float(np.hypot(*((a[:2] + a[2:]) - (b[:2] + b[2:]))) / 2 / size)
