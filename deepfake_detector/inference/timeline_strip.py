"""The strip below an annotated video: the scores over time with a moving cursor, and the verdict."""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.pixels import YuvImage
from deepfake_detector.faces.planes import from_bgr, paste
from deepfake_detector.faces.video_file import VideoInfo
from deepfake_detector.inference.drawing import DARK, GREY, VERDICT_COLORS, WHITE, even, fill, fit_text_size, put_text
from deepfake_detector.inference.prediction import PersonPrediction, Prediction, thresholds
from deepfake_detector.inference.prediction_task import verdict_text


class TimelineStrip:
    """The verdict is at the bottom, because the controls of a paused player cover the bottom of the video.

    They may cover the verdict, which a page repeats beside the video, but not the scores.
    """

    def __init__(
        self, width: int, info: VideoInfo, prediction: Prediction, calibration: Calibration, is_bt709: bool
    ) -> None:
        """`width` is that of the video in pixels; `height` follows from it. Both are even."""
        text_size = max(12, round(width / 28))
        self.height = text_size * 5 + text_size % 2
        self._duration = max(info.times[-1], 1e-3)
        self._canvas = np.full((self.height, width, 3), DARK, np.uint8)
        self._left, self._right = text_size // 2, width - text_size // 2
        self._top, self._bottom = text_size // 2, round(text_size * 2.9)
        if prediction.people:
            bar_top = round(text_size * 3.3)
            cv2.rectangle(
                self._canvas, (0, bar_top), (width, self.height), VERDICT_COLORS[prediction.verdict], cv2.FILLED
            )
            self._draw_curves(prediction, calibration, info)
        text = verdict_text(prediction.verdict, prediction.probability, thresholds(calibration)).capitalize()
        fitted_size = fit_text_size(text, text_size, self._right - self._left)
        put_text(self._canvas, text, self._left, round(text_size * 4.5), fitted_size, WHITE)
        self._planes = from_bgr(self._canvas, is_bt709)

    def draw(self, image: YuvImage, top: int, time: float) -> None:
        """Draw the strip from the line `top` of an image on, in place, with the cursor at `time` seconds."""
        paste(image, self._planes, 0, top)
        x = even(float(self._x(min(time, self._duration))))
        fill(image, x, top + even(self._top - 2), x + 2, top + even(self._bottom + 2), WHITE)

    def _x(self, time: ArrayLike) -> np.ndarray:
        return self._left + np.asarray(time) / self._duration * (self._right - self._left)

    def _y(self, probability: ArrayLike) -> np.ndarray:
        return self._bottom - np.asarray(probability) * (self._bottom - self._top)

    def _draw_curves(self, prediction: Prediction, calibration: Calibration, info: VideoInfo) -> None:
        """The threshold as a dashed line, and a curve for each person."""
        level = int(self._y(calibration.threshold))
        for x in range(self._left, self._right, 10):
            cv2.line(self._canvas, (x, level), (min(x + 4, self._right), level), GREY, 1)
        for person in reversed(prediction.people):  # the most suspicious person is drawn last, on top
            runs = person.unbroken_runs(info, prediction.video.frames_wanted)
            self._draw_curve(person, calibration, runs, WHITE if person is prediction.people[0] else GREY)

    def _draw_curve(
        self, person: PersonPrediction, calibration: Calibration, runs: list[slice], color: tuple[int, int, int]
    ) -> None:
        xs = self._x([face.time for face in person.faces])
        ys = self._y(calibration.face_probability(person.logits))
        points = np.stack([xs, ys], axis=1).round().astype(np.int32)
        cv2.polylines(self._canvas, [points[run] for run in runs], False, color, 2, cv2.LINE_AA)
        for (x, y), logit in zip(points.tolist(), person.logits, strict=True):
            verdict = str(calibration.verdict(calibration.face_probability(logit)))
            cv2.circle(self._canvas, (x, y), 4, VERDICT_COLORS[verdict], cv2.FILLED, cv2.LINE_AA)
