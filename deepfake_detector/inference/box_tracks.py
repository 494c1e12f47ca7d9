"""The position of each face in every frame of a video, though only some frames were scored."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import ArrayLike

from deepfake_detector.faces.detected_frames import add_missed
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.extraction import Face
from deepfake_detector.faces.pixels import shown_size, to_bgr, to_thumbnail
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.shots import shot_numbers
from deepfake_detector.faces.video_file import VideoInfo
from deepfake_detector.faces.video_reader import read_pictures
from deepfake_detector.inference.prediction import PersonPrediction, Prediction

DETECTIONS_PER_SECOND = 5
MAX_DISTANCE = 0.6  # from the expected position at which a detection still is the same face, in sizes of the face
VISIBLE_SECONDS = 0.3  # before and after a detection for which the face is taken to be there


@dataclass(frozen=True)
class BoxTrack:
    """Where the face of one person is within one shot.

    Attributes:
        times: float (n,), seconds, ascending.
        detections: the face at each of `times`, in pixels of a picture of the size `size`.
        spans: float (m, 2), start and end in seconds of the times at which the face is visible; none leaves the shot.
        size: float (2,), width and height.
    """

    times: np.ndarray
    detections: Detections
    spans: np.ndarray
    size: np.ndarray

    def at(self, time: float, size: ArrayLike) -> Detection:
        """The face at `time` in pixels of a picture of the width and height `size`.

        It moves linearly between known detections, and stays before the first and after the last.
        """
        box, score, landmarks = (
            interpolate(self.times, values, time)
            for values in (self.detections.boxes, self.detections.scores, self.detections.landmarks)
        )
        scale = np.asarray(size) / self.size
        return Detection(box * np.tile(scale, 2), float(score), landmarks * scale)

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
        return replace(self, times=np.insert(self.times, i, time), detections=detections)


@dataclass
class SearchedFrame:
    """A frame of the video; `size` is its width and height, float (2,).

    `unassigned` are the faces in it that belong to nobody yet, in pixels of the first frame of the video, if it was
    searched for faces at all.
    """

    number: int
    time: float
    size: np.ndarray
    unassigned: list[Detection]


def interpolate(times: ArrayLike, values: ArrayLike, time: float) -> np.ndarray:
    """`values` (n, ...), known at `times` (n,) in ascending order, at `time`: linear between them, constant beyond."""
    times, values = np.asarray(times), np.asarray(values)
    after = int(np.searchsorted(times, time).clip(0, len(times) - 1))
    before = max(0, after - 1)
    gap = times[after] - times[before]
    weight = float(np.clip((time - times[before]) / gap, 0, 1)) if gap > 0 else 1.0
    return np.asarray(values[before] * (1 - weight) + values[after] * weight)


def track_boxes(
    source: Path, info: VideoInfo, prediction: Prediction, detector: FaceDetector | None
) -> dict[int, list[BoxTrack]]:
    """Where each person is, by its number: one track for each shot in which it was scored.

    All frames are decoded, so that cuts are known exactly. Faces are detected DETECTIONS_PER_SECOND times a second,
    from one sampling step before a person's first scored face to one after the last. A person is visible within
    VISIBLE_SECONDS of a detection near the expected position. Without a detector, it is visible from its first scored
    face of a shot to its last, too.
    """
    if not prediction.people:
        return {}
    step = info.frames / prediction.video.frames_wanted
    ranges = [(person.faces[0].frame - step, person.faces[-1].frame + step) for person in prediction.people]
    chosen = choose_frames(info, 1, DETECTIONS_PER_SECOND) if detector else []
    chosen = [number for number in chosen if any(start <= number <= end for start, end in ranges)]
    tracks: dict[int, list[BoxTrack]] = {person.track: [] for person in prediction.people}
    shots = _read_shots(source, info, prediction.people, detector, set(chosen))
    for shot in shots:
        numbers = {frame.number for frame in shot}
        for person in prediction.people:
            faces = [face for face in person.faces if face.frame in numbers]
            if faces:
                track = _follow(faces, shot, shots[0][0].size, step)
                first, last = (track.times, track.times) if detector else (track.times[:1], track.times[-1:])
                visible = np.stack([first - VISIBLE_SECONDS, last + VISIBLE_SECONDS], axis=1)
                spans = _intersect(visible, _stretches(shot, info.times))
                tracks[person.track].append(replace(track, spans=spans))
    return tracks


def _read_shots(
    source: Path,
    info: VideoInfo,
    people: Sequence[PersonPrediction],
    detector: FaceDetector | None,
    chosen: Collection[int],
) -> list[list[SearchedFrame]]:
    """The frames of each shot, of which `detector` has searched those with the numbers `chosen` for `people`."""
    frames: list[SearchedFrame] = []

    def thumbnails() -> Iterator[np.ndarray]:
        for_images, for_thumbnails = VideoReformatter(), VideoReformatter()
        for picture in read_pictures(source, None, info):
            size = np.array(shown_size(picture.decoded, picture.pixel_aspect), float)
            found = Detections.stack([])
            if detector and picture.number in chosen:
                image = to_bgr(picture.decoded, for_images, picture.pixel_aspect)
                near = [min(person.faces, key=lambda face: abs(face.frame - picture.number)) for person in people]
                found = add_missed(detector.detect(image), image, [face.detection for face in near], detector)
            known = list(found.undo_scaling(size / (frames[0].size if frames else size)))
            frames.append(SearchedFrame(picture.number, picture.time, size, known))
            yield to_thumbnail(picture.decoded, for_thumbnails)

    numbers = shot_numbers(thumbnails())
    return [[frame for frame, of in zip(frames, numbers, strict=True) if of == shot] for shot in np.unique(numbers)]


def _follow(faces: list[Face], shot: list[SearchedFrame], size: np.ndarray, step: float) -> BoxTrack:
    """The track of one person in one shot: forward from the first scored face, then backward from it.

    Detections that join the track are removed from the frames of `shot`. `size` is that of the video's first frame.
    """
    sizes = {frame.number: frame.size for frame in shot}
    scored = {
        face.frame: Detections.stack([face.detection]).undo_scaling(sizes[face.frame] / size)[0] for face in faces
    }
    times = np.array([face.time for face in faces])
    track = BoxTrack(times, Detections.stack(list(scored.values())), np.empty((0, 2)), size)
    first, last = min(scored), max(scored)
    forward = [frame for frame in shot if first < frame.number <= last + step and frame.number not in scored]
    backward = [frame for frame in reversed(shot) if first - step <= frame.number < first]
    for frame in forward + backward:
        expected = track.at(frame.time, size)
        nearest = min(frame.unassigned, key=lambda face: _distance(face, expected), default=None)
        if nearest is not None and _distance(nearest, expected) <= MAX_DISTANCE:
            track = track.insert(frame.time, nearest)
            frame.unassigned = [face for face in frame.unassigned if face is not nearest]
    return track


def _stretches(shot: list[SearchedFrame], times: Sequence[float]) -> np.ndarray:
    """When a shot is shown, which flashes may interrupt: start and end in seconds, float (n, 2).

    `times` are those of all frames of the video. The ends lie in the middle between two frames.
    """
    numbers = np.array([frame.number for frame in shot])
    limits = np.concatenate([[-np.inf], (np.array(times[1:]) + np.array(times[:-1])) / 2, [np.inf]])
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    return np.stack([limits[numbers[np.r_[0, breaks + 1]]], limits[numbers[np.r_[breaks, -1]] + 1]], axis=1)


def _intersect(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The intersections of all intervals of `a`, (n, 2), with all of `b`, (m, 2): float (k, 2)."""
    starts, ends = np.maximum.outer(a[:, 0], b[:, 0]), np.minimum.outer(a[:, 1], b[:, 1])
    return np.stack([starts[starts < ends], ends[starts < ends]], axis=1)


def _distance(face: Detection, reference: Detection) -> float:
    """Distance between the centres of two boxes, in sizes of the reference box."""
    a, b = face.box, reference.box
    size = np.sqrt((b[2] - b[0]) * (b[3] - b[1]))
    return float(np.hypot(*((a[:2] + a[2:]) - (b[:2] + b[2:]))) / 2 / size)
