"""The video again, with boxes, words and a running timeline that say what the detector saw where."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.alignment import fit_similarity, landmark_template
from deepfake_detector.faces.detections import Detection
from deepfake_detector.faces.detectors import Detector
from deepfake_detector.faces.video_reader import VideoInfo, probe, read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.box_tracks import interpolate, track_boxes, track_scored_faces
from deepfake_detector.inference.prediction import PersonPrediction, Prediction
from deepfake_detector.inference.task import verdict_text

Colour = tuple[int, int, int]
COLOURS: dict[str, Colour] = {
    "fake": (0, 94, 213),
    "real": (178, 114, 0),
    "uncertain": (120, 120, 120),
}  # BGR (Okabe & Ito)
WHITE, DARK = (255, 255, 255), (32, 32, 32)
LARGEST = 1920  # pixels of the long side of what is written


@dataclass(frozen=True)
class Heatmaps:
    """For each track float32 (faces, size, size), 0 to 1, one map for each of its faces, in the frame of crops of `margin`."""

    margin: float
    maps: dict[int, np.ndarray]


def annotate_video(
    source: Path,
    target: Path,
    judgement: Prediction,
    calibration: Calibration,
    detector: Detector | None = None,
    heatmaps: Heatmaps | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write `source` as H.264 with its sound, times and orientation, and a strip below with the verdict and the timeline.

    With `detector`, faces are followed between the frames that were scored, and have a box where they are found; else boxes move
    straight from one to the next.
    `heatmaps`, if given, are drawn into the faces; `progress` is told the share of the frames that is done.
    """
    info = probe(source)
    several = len(judgement.people) > 1
    paths = {person.track: track_scored_faces(person) for person in judgement.people}
    if detector:
        paths = track_boxes(source, info, judgement, detector)
    with ExitStack() as stack:
        writer = None
        for frame in read_frames(source):
            image = _fit(frame.image)
            scale = image.shape[1] / frame.image.shape[1]
            if writer is None:
                strip = _Strip(image.shape[1], info, judgement, calibration)
                size = (image.shape[1], image.shape[0] + strip.height)
                sound = source if info.has_audio else None
                writer = stack.enter_context(VideoWriter(target, info.rate, size, sound_from=sound))
            for person in reversed(judgement.people):  # the deciding one on top
                if paths[person.track].there(frame.time):
                    found = paths[person.track].at(frame.time)
                    face = Detection(found.box * scale, found.score, found.landmarks * scale)
                    if heatmaps:
                        _draw_heat(image, person, heatmaps, frame.time, face)
                    _draw_person(image, person, frame.time, face, calibration, several)
            writer.write(np.vstack([image, strip.at(frame.time)]), frame.time)
            progress(min(1.0, frame.number / info.frames))


def _fit(image: np.ndarray) -> np.ndarray:
    scale = LARGEST / max(image.shape[:2])
    return image.copy() if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def text_width(text: str, size: int) -> int:
    return int(cv2.getTextSize((0, 0), text, (0, 0), _font(), size, 600)[2])


def put_text(image: np.ndarray, text: str, x: int, baseline: int, size: int, colour: Colour) -> None:
    cv2.putText(image, text, (x, baseline), colour, _font(), size, 600)


def fitting(text: str, size: int, width: int) -> int:
    """The largest size of at most `size` at which `text` is no wider than `width`, all in pixels; at least 6."""
    while size > 6 and text_width(text, size) > width:
        size -= 1
    return size


def _draw_heat(image: np.ndarray, person: PersonPrediction, heatmaps: Heatmaps, time: float, face: Detection) -> None:
    heat = interpolate([face.time for face in person.faces], heatmaps.maps[person.track], time)
    size = len(heat)
    matrix = fit_similarity(landmark_template(size, heatmaps.margin), face.landmarks)
    corners = cv2.transform(np.array([[[0, 0], [size, 0], [0, size], [size, size]]], float), matrix)[0]
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)), (image.shape[1], image.shape[0])).astype(int)
    if right <= left or bottom <= top:
        return
    matrix[:, 2] -= (left, top)
    warped = cv2.warpAffine(heat, matrix, (int(right - left), int(bottom - top)))
    part = image[top:bottom, left:right]
    colours = cv2.applyColorMap((warped * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = 0.7 * warped[..., None]
    part[:] = (part * (1 - opacity) + colours * opacity).astype(np.uint8)


def _draw_person(
    image: np.ndarray, person: PersonPrediction, time: float, face: Detection, calibration: Calibration, several: bool
) -> None:
    box = [round(float(v)) for v in face.box]
    probability = float(calibration.probability(interpolate([face.time for face in person.faces], person.logits, time)))
    verdict = str(calibration.verdict(probability))
    colour = COLOURS[verdict]
    line = max(2, round(max(image.shape[:2]) / 320))
    cv2.rectangle(image, box[:2], box[2:], colour, line, cv2.LINE_AA)
    size = max(12, round(max(image.shape[:2]) / 60), round((box[2] - box[0]) * 0.11))
    label = (f"{person.track + 1}: " if several else "") + verdict_text(verdict, probability)
    size = fitting(label, size, image.shape[1] - size)
    width, height = text_width(label, size) + size, round(size * 1.5)
    left = min(max(0, box[0]), max(0, image.shape[1] - width))
    top = box[1] - height if box[1] >= height else min(box[3], image.shape[0] - height)
    cv2.rectangle(image, (left, top), (left + width, top + height), colour, cv2.FILLED)
    put_text(image, label, left + size // 2, top + round(size * 1.1), size, WHITE)


class _Strip:
    """Below the picture: the score of the people over time with a moving cursor, and at the bottom the verdict in words.

    A player's buttons cover the bottom of a video that is paused: rather the verdict, which stands beside it, than the scores.
    """

    def __init__(self, width: int, info: VideoInfo, judgement: Prediction, calibration: Calibration) -> None:
        size = max(12, round(width / 28))
        self.height = size * 5 + size % 2
        self._duration = max(info.times[-1], 1e-3)
        self._canvas = np.full((self.height, width, 3), DARK, np.uint8)
        self._left, self._right = size // 2, width - size // 2
        self._top, self._bottom = size // 2, round(size * 2.9)
        title = verdict_text(judgement.verdict, judgement.probability)
        if judgement.people:
            title += f", {judgement.faces} faces scored"
            cv2.rectangle(
                self._canvas, (0, round(size * 3.3)), (width, self.height), COLOURS[judgement.verdict], cv2.FILLED
            )
            self._curves(judgement.people, calibration, info.frames / judgement.video.frames_wanted)
        put_text(
            self._canvas, title, self._left, round(size * 4.5), fitting(title, size, self._right - self._left), WHITE
        )

    def _x(self, time: ArrayLike) -> np.ndarray:
        return self._left + np.asarray(time) / self._duration * (self._right - self._left)

    def _y(self, probability: ArrayLike) -> np.ndarray:
        return self._bottom - np.asarray(probability) * (self._bottom - self._top)

    def _curves(self, people: list[PersonPrediction], calibration: Calibration, step: float) -> None:
        level = int(self._y(calibration.threshold))
        for x in range(self._left, self._right, 10):
            cv2.line(self._canvas, (x, level), (min(x + 4, self._right), level), (150, 150, 150), 1)
        for person in reversed(people):
            times = [face.time for face in person.faces]
            points = (
                np.stack([self._x(times), self._y(calibration.probability(person.logits))], axis=1)
                .round()
                .astype(np.int32)
            )
            colour = WHITE if person is people[0] else (150, 150, 150)
            lines = [points[part] for part in person.unbroken_runs(step)]
            cv2.polylines(self._canvas, lines, False, colour, 2, cv2.LINE_AA)
            for (x, y), logit in zip(points.tolist(), person.logits, strict=True):
                verdict = str(calibration.verdict(calibration.probability(logit)))
                cv2.circle(self._canvas, (x, y), 4, COLOURS[verdict], cv2.FILLED, cv2.LINE_AA)

    def at(self, time: float) -> np.ndarray:
        """The strip at `time` seconds: uint8 BGR (height, width, 3)."""
        image = self._canvas.copy()
        x = int(self._x(min(time, self._duration)))
        cv2.line(image, (x, self._top - 2), (x, self._bottom + 2), WHITE, 2)
        return image
