"""Where faces are between the frames that were scored: they are looked for again some times a second, so that boxes follow."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import Detector
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.video_reader import VideoInfo, read_frames
from deepfake_detector.inference.prediction import PersonPrediction, Prediction

RATE = 5  # times a second
REACH = 0.6  # how far from where it is expected a face may be found, in its own sizes
MEMORY = 0.3  # seconds before and after a face was seen for which it is taken to be there


@dataclass(frozen=True)
class BoxTrack:
    """Detections of one person at `times` (n,) seconds, ascending; `spans` (m, 2) from when to when it is there."""

    times: np.ndarray
    detections: Detections
    spans: np.ndarray

    def at(self, time: float) -> Detection:
        """The detection at `time`: linear between those known, constant beyond."""
        known = self.detections
        box, score, landmarks = (
            interpolate(self.times, values, time) for values in (known.boxes, known.scores, known.landmarks)
        )
        return Detection(box, float(score), landmarks)

    def there(self, time: float) -> bool:
        return bool(((self.spans[:, 0] <= time) & (time <= self.spans[:, 1])).any())

    def seen(self, time: float, detection: Detection) -> "BoxTrack":
        """The same with one detection more."""
        i = int(np.searchsorted(self.times, time))
        detections = Detections.stack([*self.detections[:i], detection, *self.detections[i:]])
        return BoxTrack(np.insert(self.times, i, time), detections, self.spans)


@dataclass
class SearchedFrame:
    """A frame that was searched; `left` are the detections in it that are nobody's yet."""

    number: int
    time: float
    left: list[Detection]


def interpolate(times: ArrayLike, values: ArrayLike, time: float) -> np.ndarray:
    """`values` (n, ...), known at `times` (n,), at `time`: linear between them, constant beyond."""
    times, values = np.asarray(times), np.asarray(values)
    after = int(np.searchsorted(times, time).clip(0, len(times) - 1))
    before = max(0, after - 1)
    gap = times[after] - times[before]
    share = float(np.clip((time - times[before]) / gap, 0, 1)) if gap > 0 else 1.0
    return values[before] * (1 - share) + values[after] * share


def track_scored_faces(person: PersonPrediction) -> BoxTrack:
    """The path through the scored faces alone, as if the person were there from the first of them to the last."""
    times = np.array([face.time for face in person.faces])
    spans = np.array([[times[0] - MEMORY, times[-1] + MEMORY]])
    return BoxTrack(times, Detections.stack([face.detection for face in person.faces]), spans)


def track_boxes(source: Path, info: VideoInfo, judgement: Prediction, detector: Detector) -> dict[int, BoxTrack]:
    """The path of each person, by track: through the scored faces and those found near where the person would be.

    They are looked for from one step before the first scored face to one after the last; a step is what lies between two frames
    that were judged. Where none is found for longer than MEMORY, the person is not there.
    """
    step = info.frames / judgement.video.frames_wanted
    windows = [(person.faces[0].frame - step, person.faces[-1].frame + step) for person in judgement.people]
    looks = [
        SearchedFrame(frame.number, frame.time, list(detector.detect(frame.image)))
        for frame in read_frames(source, choose_frames(info, 1, RATE), info)
        if any(start <= frame.number <= end for start, end in windows)
    ]
    return {person.track: _follow(person, looks, step) for person in judgement.people}


def _follow(person: PersonPrediction, looks: list[SearchedFrame], step: float) -> BoxTrack:
    """From the first scored face onward, then from there back; what is found is taken out of `looks`."""
    path = track_scored_faces(person)
    known = {face.frame for face in person.faces}
    first, last = min(known), max(known)
    onward = [look for look in looks if first < look.number <= last + step and look.number not in known]
    back = [look for look in reversed(looks) if first - step <= look.number < first]
    for look in onward + back:
        expected = path.at(look.time).box
        nearest = min(look.left, key=lambda detection: _apart(detection.box, expected), default=None)
        if nearest is not None and _apart(nearest.box, expected) <= REACH:
            path = path.seen(look.time, nearest)
            look.left = [detection for detection in look.left if detection is not nearest]
    return BoxTrack(path.times, path.detections, np.stack([path.times - MEMORY, path.times + MEMORY], axis=1))


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the centres of two boxes in units of the size of the second."""
    size = np.sqrt((b[2] - b[0]) * (b[3] - b[1]))
    return float(np.hypot(*((a[:2] + a[2:4]) - (b[:2] + b[2:4]))) / 2 / size)
