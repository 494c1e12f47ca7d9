"""The annotated video: a box with the score on every face, and a strip with the verdict and the scores over time."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.pixels import fit
from deepfake_detector.faces.video_reader import probe, read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.box_tracks import track_boxes
from deepfake_detector.inference.face_marks import Heatmaps, draw_box, draw_heat
from deepfake_detector.inference.prediction import Prediction
from deepfake_detector.inference.timeline_strip import TimelineStrip

MAX_SIDE = 1920  # pixels of the written video's longer side


def annotate_video(
    source: Path,
    target: Path,
    prediction: Prediction,
    calibration: Calibration,
    detector: FaceDetector | None = None,
    heatmaps: Heatmaps | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write `source` to `target` as H.264 in MP4 with its sound, times and orientation, and the annotations.

    Args:
        detector: follows the faces between the scored frames; a box is drawn only where it finds one. Without a
            detector, boxes move in a straight line from one scored face to the next.
        heatmaps: drawn into the faces.
        progress: called with the fraction of the frames that is done, 0 to 1.

    Raises:
        VideoError: if `source` cannot be read.
    """
    info = probe(source)
    tracks = track_boxes(source, info, prediction, detector)
    with ExitStack() as stack:
        writer = None
        for frame in read_frames(source):
            image, _ = fit(frame.image, MAX_SIDE)
            if writer is None:
                strip = TimelineStrip(image.shape[1], info, prediction, calibration)
                size = (image.shape[1], image.shape[0] + strip.height)
                sound = source if info.has_audio else None
                writer = stack.enter_context(VideoWriter(target, info.rate, size, sound_from=sound))
            for person in reversed(prediction.people):  # the most suspicious person is drawn last, on top
                for track in tracks[person.track]:
                    if track.visible_at(frame.time):
                        face = track.at(frame.time, (image.shape[1], image.shape[0]))
                        if heatmaps:
                            draw_heat(image, person, heatmaps, frame.time, face.landmarks)
                        name_person = len(prediction.people) > 1
                        draw_box(image, person, frame.time, face.box, calibration, name_person=name_person)
            writer.write(np.vstack([image, strip.at(frame.time)]), frame.time)
            progress(min(1.0, frame.number / info.frames))
