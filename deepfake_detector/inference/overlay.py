"""The annotated video: a box with the score on every face, and a strip with the verdict and the scores over time."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.pixels import YuvImage, display_width, to_yuv
from deepfake_detector.faces.planes import blank, letterbox, paste, with_matrix
from deepfake_detector.faces.video_file import VideoInfo, probe
from deepfake_detector.faces.video_reader import Picture, read_pictures
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.box_tracks import BoxTrack, track_boxes
from deepfake_detector.inference.face_marks import Heatmaps, draw_box, draw_heat
from deepfake_detector.inference.prediction import Prediction
from deepfake_detector.inference.timeline_strip import TimelineStrip

MAX_SIDE = 1920  # pixels of the longer side of a written picture
PIXELS_PER_SECOND = 1920 * 1080 * 30  # that are written; a video with more is made smaller, so that its cost is bounded
CRF, PRESET, THREADS = 22, "superfast", 2  # of x264


def annotate_video(
    source: Path,
    target: Path,
    prediction: Prediction,
    calibration: Calibration,
    detector: FaceDetector | None = None,
    heatmaps: Heatmaps | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
    info: VideoInfo | None = None,
) -> str:
    """Write `source` to `target` as H.264 in MP4 with its sound, times, colours and orientation, and the annotations.

    All pictures get the size of the first one; others are scaled to fit. MAX_SIDE and PIXELS_PER_SECOND limit it.

    Args:
        detector: follows the faces between the scored frames; a box is drawn only where it finds one. Without a
            detector, boxes move in a straight line from one scored face to the next.
        heatmaps: drawn into the faces.
        progress: called with the fraction of the frames that is done, 0 to 1.
        info: that of `source`, from `probe`, which is called without it.

    Returns:
        What is missing of the sound, in words; empty if nothing is.

    Raises:
        VideoError: if `source` cannot be read.
    """
    info = info or probe(source)
    tracks = track_boxes(source, info, prediction, detector)
    with ExitStack() as stack:
        painter = writer = None
        for picture in read_pictures(source, None, info):
            if painter is None or writer is None:
                painter = _Painter(picture, info, prediction, calibration, tracks, heatmaps)
                writer = VideoWriter(target, info.rate, painter.size, CRF, PRESET, THREADS, source, info)
                stack.enter_context(writer)
            writer.write(painter.paint(picture), picture.time)
            progress(min(1.0, picture.number / info.frames))
    return writer.missing_sound if writer else ""


class _Painter:
    """Draws the annotations. Its pictures have the size and the colour matrix of the first one.

    `size` is their width and height, with the strip below.
    """

    def __init__(
        self,
        first: Picture,
        info: VideoInfo,
        prediction: Prediction,
        calibration: Calibration,
        tracks: dict[int, list[BoxTrack]],
        heatmaps: Heatmaps | None,
    ) -> None:
        self._prediction, self._calibration = prediction, calibration
        self._tracks, self._heatmaps = tracks, heatmaps
        self._reformatter = VideoReformatter()
        self._side = _written_side(first, info)
        planes = self._planes(first)
        self._height, self._width = planes.y.shape
        self._is_bt709 = planes.is_bt709
        self._strip = TimelineStrip(self._width, info, prediction, calibration, self._is_bt709)
        self.size = self._width, self._height + self._strip.height

    def paint(self, picture: Picture) -> YuvImage:
        planes = with_matrix(self._planes(picture), self._is_bt709)
        image, placed, corner = letterbox(planes, self._width, self._height)
        for person in reversed(self._prediction.people):  # the most suspicious person is drawn last, on top
            for track in self._tracks[person.track]:
                if track.visible_at(picture.time):
                    face = track.at(picture.time, (int(placed[0]), int(placed[1])))
                    if self._heatmaps:
                        draw_heat(image, person, self._heatmaps, picture.time, face.landmarks + corner)
                    box = face.box + np.tile(corner, 2)
                    name_person = len(self._prediction.people) > 1
                    draw_box(image, person, picture.time, box, self._calibration, name_person)
        result = blank(*self.size, self._is_bt709)
        paste(result, image, 0, 0)
        self._strip.draw(result, self._height, picture.time)
        return result

    def _planes(self, picture: Picture) -> YuvImage:
        return to_yuv(picture.decoded, self._reformatter, picture.pixel_aspect, self._side)


def _written_side(first: Picture, info: VideoInfo) -> int:
    """Pixels of the longer side of the written pictures, as MAX_SIDE and PIXELS_PER_SECOND allow."""
    seconds = info.times[-1] - info.times[0] + float(1 / info.rate)
    pixels = display_width(first.decoded, first.pixel_aspect) * first.decoded.height
    scale = math.sqrt(PIXELS_PER_SECOND * seconds / (pixels * info.frames))
    return max(2, min(MAX_SIDE, _longer_side(first), int(_longer_side(first) * scale)))


def _longer_side(picture: Picture) -> int:
    """Pixels of the longer side of a picture as it is shown."""
    return max(display_width(picture.decoded, picture.pixel_aspect), picture.decoded.height)
