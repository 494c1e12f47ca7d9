"""Faces in each of the sampled frames of a video, and their crops."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepfake_detector.faces.alignment import align_face, crop_box
from deepfake_detector.faces.archive import encode_crop
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.detectors.search import is_small
from deepfake_detector.faces.dissolves import DissolveFinder
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.shots import DIFFERENT, SIMILAR, Moment, find_leaps, similarity
from deepfake_detector.faces.tracking import MAX_DISTANCE, box_distance
from deepfake_detector.faces.video_reader import Frame

FINE_EVERY = 16  # frames of a scene, among which small faces are looked for once
NEAR = 1.0  # seconds after a frame within which its faces are first looked for near their places


@dataclass(frozen=True)
class FrameDetections:
    """The detections of one frame and their encoded crops.

    The image is not kept, only its width and height. `likeness` is its similarity to the frame before, `leaps` are
    those of `find_leaps` since then, and `dissolving` are the frames that `DissolveFinder` found with this one.
    """

    moment: Moment
    size: tuple[int, int]
    likeness: float
    leaps: list[tuple[int, int]]
    dissolving: list[int]
    detections: Detections
    crops: list[bytes]


def detect_frames(frames: Iterable[Frame], geometry: Geometry, detector: FaceDetector) -> Iterator[FrameDetections]:
    """Detect and crop the faces in each frame.

    Every other frame is searched as a whole, and some of these for small faces, too. In the frames between, the
    detector looks only near the faces of the frame before. Such a frame is searched after all if a face is not found
    again, if the next frame shows an additional face, if the frame before is not near, or if it is so different that
    another shot may have begun.

    Args:
        frames: in order of time.
        geometry: how faces are cropped.
        detector: the face detector.
    """
    until_fine = 0  # frames until small faces are looked for again

    def with_faces(undetected: FrameDetections, image: np.ndarray, found: Detections) -> FrameDetections:
        crops = [encode_crop(crop_face(image, face, geometry), geometry.format) for face in found]
        return replace(undetected, detections=found, crops=crops)

    def search(image: np.ndarray, near: Iterable[Detection]) -> Detections:
        """All faces of an image. Small ones of those `near`, of images shortly before or after, are not missed."""
        nonlocal until_fine
        found = detector.detect(image)
        if len(found) and until_fine <= 0:
            found = Detections.stack([*found, *detector.detect_small(image, found)])
            until_fine = FINE_EVERY
        return add_missed(found, image, near, detector)

    previous: FrameDetections | None = None
    pending: tuple[Frame, FrameDetections] | None = None  # a frame that was not searched
    finder = DissolveFinder()
    for frame in frames:
        current = _without_faces(frame, previous, finder)
        perhaps_cut = bool(current.leaps) and current.likeness < DIFFERENT
        until_fine = 0 if perhaps_cut else until_fine - 1
        if previous and not pending and _continues(previous, current):
            redetected = detector.redetect(frame.image, previous.detections)
            if redetected is not None:
                previous = with_faces(current, frame.image, redetected)
                pending = frame, previous
                continue
        found = search(frame.image, previous.detections if previous and not perhaps_cut else ())
        if pending:
            earlier, incomplete = pending
            if any(_is_additional(box, incomplete.detections) for box in found.boxes):
                near = [*incomplete.detections, *found]
                incomplete = with_faces(incomplete, earlier.image, search(earlier.image, near))
            yield incomplete
            pending = None
        previous = with_faces(current, frame.image, found)
        yield previous
    if pending:
        yield pending[1]


def _without_faces(frame: Frame, previous: FrameDetections | None, finder: DissolveFinder) -> FrameDetections:
    """What is known of a frame before its faces are detected; `previous` is the wanted frame before."""
    size = frame.image.shape[1], frame.image.shape[0]
    likeness, leaps = 1.0, []
    if previous:
        likeness = similarity(previous.moment.details, frame.moment.details)
        leaps = find_leaps([previous.moment, *frame.passed, frame.moment]) if likeness < SIMILAR else []
    return FrameDetections(frame.moment, size, likeness, leaps, finder.add(frame), Detections.stack([]), [])


def _continues(previous: FrameDetections, current: FrameDetections) -> bool:
    """Whether the faces of `previous` can be looked for at their places alone in the frame `current`."""
    return (
        current.moment.time - previous.moment.time <= NEAR
        and current.size == previous.size
        and current.likeness >= DIFFERENT
    )


def add_missed(found: Detections, image: np.ndarray, near: Iterable[Detection], detector: FaceDetector) -> Detections:
    """The faces `found` in an image, and those that were missed of the small ones in images shortly before or after.

    Args:
        found: by a search of `image`.
        image: uint8 BGR (height, width, 3).
        near: the faces of the other images.
        detector: the face detector.
    """
    for face in near:
        if is_small(face, image) and _is_additional(face.box, found):
            again = detector.redetect(image, Detections.stack([face]))
            if again and _is_additional(again.boxes[0], found):
                found = Detections.stack([*found, *again])
    return found


def _is_additional(box: np.ndarray, known: Detections) -> bool:
    return all(box_distance(box, other) > MAX_DISTANCE for other in known.boxes)


def crop_face(image: np.ndarray, face: Detection, geometry: Geometry) -> np.ndarray:
    """Cut one face out of a uint8 BGR image: uint8 BGR (size, size, 3)."""
    if geometry.align == "box":
        return crop_box(image, face.box, geometry.size, geometry.margin)
    return align_face(image, face.landmarks, geometry.size, geometry.margin)
