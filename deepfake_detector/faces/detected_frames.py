"""Faces in each of the sampled frames of a video, and their crops."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from deepfake_detector.faces.alignment import align_face, crop_box
from deepfake_detector.faces.archive import encode_crop
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.shots import DIFFERENT, similarity, thumbnail
from deepfake_detector.faces.tracking import MAX_DISTANCE, box_distance
from deepfake_detector.faces.video_reader import Frame

NEAR = 1.0  # seconds after a frame within which its faces are first looked for near their places


@dataclass(frozen=True)
class FrameDetections:
    """The detections of one frame and their encoded crops.

    The image is not kept, only its width and height, and its thumbnail.
    """

    number: int
    time: float
    size: tuple[int, int]
    thumbnail: np.ndarray
    detections: Detections
    crops: list[bytes]


def detect_frames(frames: Iterable[Frame], geometry: Geometry, detector: FaceDetector) -> Iterator[FrameDetections]:
    """Detect and crop the faces in each frame.

    Every other frame is searched as a whole. In the frames between, the detector looks only near the faces of the frame
    before. Such a frame is searched after all if a face is not found again, if the next frame shows an additional
    face, if the frame before is not near, or if it is so different that another shot may have begun.

    Args:
        frames: in order of time.
        geometry: how faces are cropped.
        detector: the face detector.
    """

    def result(frame: Frame, small: np.ndarray, found: Detections) -> FrameDetections:
        crops = [encode_crop(crop_face(frame.image, face, geometry), geometry.format) for face in found]
        size = frame.image.shape[1], frame.image.shape[0]
        return FrameDetections(frame.number, frame.time, size, small, found, crops)

    previous: FrameDetections | None = None
    pending: tuple[Frame, FrameDetections] | None = None  # a frame that was not searched
    for frame in frames:
        small = thumbnail(frame.image)
        if previous and not pending and _continues(frame, small, previous):
            redetected = detector.redetect(frame.image, previous.detections)
            if redetected is not None:
                previous = result(frame, small, redetected)
                pending = frame, previous
                continue
        found = detector.detect(frame.image)
        if pending:
            earlier, incomplete = pending
            if any(_is_additional(box, incomplete.detections) for box in found.boxes):
                incomplete = result(earlier, incomplete.thumbnail, detector.detect(earlier.image))
            yield incomplete
            pending = None
        previous = result(frame, small, found)
        yield previous
    if pending:
        yield pending[1]


def _continues(frame: Frame, small: np.ndarray, previous: FrameDetections) -> bool:
    """Whether the faces of `previous` can be looked for at their places in `frame`, whose thumbnail is `small`."""
    return (
        frame.time - previous.time <= NEAR
        and (frame.image.shape[1], frame.image.shape[0]) == previous.size
        and similarity(previous.thumbnail, small) >= DIFFERENT
    )


def _is_additional(box: np.ndarray, known: Detections) -> bool:
    return all(box_distance(box, other) > MAX_DISTANCE for other in known.boxes)


def crop_face(image: np.ndarray, face: Detection, geometry: Geometry) -> np.ndarray:
    """Cut one face out of a uint8 BGR image: uint8 BGR (size, size, 3)."""
    if geometry.align == "box":
        return crop_box(image, face.box, geometry.size, geometry.margin)
    return align_face(image, face.landmarks, geometry.size, geometry.margin)
