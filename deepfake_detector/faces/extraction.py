"""A video in, aligned faces out: the one way to crop a face, for training and for judging."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepfake_detector.faces.alignment import crop_box, crop_face, sharpness
from deepfake_detector.faces.archive import decode, encode
from deepfake_detector.faces.detectors import Detector
from deepfake_detector.faces.tracking import FEW, REACH, box_distance, color_histogram, link_detections, same_shot
from deepfake_detector.faces.video import Frame, VideoError, VideoInfo, choose_frames, probe, read_frames
from stages.params import Extract

POINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
INDEX_COLUMNS = (
    ["video_id", "track", "frame", "time", "x1", "y1", "x2", "y2", "score"]
    + [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    + ["sharpness", "member"]
)


@dataclass(frozen=True)
class Geometry:
    """How faces are found and cropped. A detector carries the geometry that it was trained with."""

    frames: int | str
    size: int
    margin: float
    detector: str
    threshold: float
    detector_weights: str = "none"
    fps: float | None = None
    align: str = "landmarks"
    format: str = "jpg"

    @classmethod
    def of(cls, settings: Extract) -> "Geometry":
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Face:
    """One person in one frame: `detection` (15,) as detectors return it, `data` the aligned crop as it is stored."""

    track: int
    frame: int
    time: float
    detection: np.ndarray
    data: bytes

    @property
    def crop(self) -> np.ndarray:
        """uint8 BGR (size, size, 3), the same whether it came from an archive or straight from a video."""
        return decode(self.data)

    @property
    def member(self) -> str:
        """Its name in an archive."""
        suffix = "png" if self.data.startswith(b"\x89PNG") else "jpg"
        return f"{self.track:03d}_{self.frame:06d}.{suffix}"


@dataclass
class VideoFaces:
    """What came out of one video. `status`: ok, no_face, partial (some frames would not decode), unreadable."""

    status: str
    reason: str = ""
    frames_wanted: int = 0
    frames_read: int = 0
    faces_dropped: int = 0
    faces: list[Face] = field(default_factory=list)

    @property
    def tracks(self) -> int:
        return len({face.track for face in self.faces})


@dataclass
class FrameDetections:
    """What is kept of a frame once its picture is gone: `faces` (n, 15) and their encoded crops, and the frame's colours."""

    number: int
    time: float
    colours: np.ndarray
    faces: np.ndarray
    crops: list[bytes]


def extract_faces(path: Path | str, geometry: Geometry, detector: Detector, people: int | str) -> VideoFaces:
    """Faces of the `people` ("all" or a number) most prominent people on the frames chosen. Never raises for a bad file.

    At most two pictures are held at a time.
    """
    wanted: list[int] = []
    try:
        info = probe(path)
        wanted = choose_frames(info, geometry.frames, geometry.fps)
        seen = list(detect_frames(read_frames(path, wanted, info), geometry, detector, every=len(wanted) <= FEW))
    except VideoError as error:
        return VideoFaces("unreadable", str(error), len(wanted))
    if not seen:
        return VideoFaces("unreadable", f"{Path(path).name}: none of the frames wanted can be decoded", len(wanted))
    cuts = {i for i in range(1, len(seen)) if not same_shot(seen[i - 1].colours, seen[i].colours)}
    tracks, unsupported = link_detections([sighting.faces for sighting in seen], cuts)
    kept = tracks if people == "all" else tracks[: int(people)]
    faces = [
        Face(t, seen[i].number, seen[i].time, face, seen[i].crops[row])
        for t, track in enumerate(kept)
        for i, row, face in zip(track.frames, track.rows, track.faces, strict=True)
    ]
    dropped = unsupported + sum(len(track.faces) for track in tracks[len(kept) :])
    lost = _loss(info, len(seen), len(wanted))
    if faces:
        return VideoFaces("partial" if lost else "ok", lost, len(wanted), len(seen), dropped, faces)
    nobody = "no face seen in more than one frame" if unsupported else "no face in any frame"
    return VideoFaces("no_face", f"{nobody}; {lost}" if lost else nobody, len(wanted), len(seen), dropped)


def _loss(info: VideoInfo, read: int, wanted: int) -> str:
    """What of a video cannot be seen, in words; nothing, if all can."""
    losses = []
    if info.frames < info.promised:
        losses.append(f"the file holds {info.frames} of the {info.promised} frames that its header promises")
    if read < wanted:
        losses.append(f"{wanted - read} of {wanted} frames cannot be decoded")
    return "; ".join(losses)


def detect_frames(
    frames: Iterable[Frame], geometry: Geometry, detector: Detector, every: bool
) -> Iterator[FrameDetections]:
    """The faces in each frame. Every other frame is searched (with `every`, each); between, faces are followed.

    In a frame between, a search is made after all if a face is lost there, if the frame after shows one more, or if another
    shot begins: so no face is missed that a neighbouring frame supports, and others would be dropped.
    """
    before: FrameDetections | None = None
    held: tuple[Frame, FrameDetections] | None = None  # a frame that was not searched
    for frame in frames:
        tint = color_histogram(frame.image)
        near = before is not None and not every and held is None and same_shot(before.colours, tint)
        followed = detector.follow(frame.image, before.faces) if before and near else None
        if followed is not None:
            before = _frame_detections(frame, tint, followed, geometry)
            held = frame, before
            continue
        found = detector.detect(frame.image)
        if held:
            picture, sighting = held
            if any(all(box_distance(face, known) > REACH for known in sighting.faces) for face in found):
                sighting = _frame_detections(picture, sighting.colours, detector.detect(picture.image), geometry)
            yield sighting
            held = None
        before = _frame_detections(frame, tint, found, geometry)
        yield before
    if held:
        yield held[1]


def _frame_detections(frame: Frame, tint: np.ndarray, faces: np.ndarray, geometry: Geometry) -> FrameDetections:
    crops = []
    for face in faces:
        if geometry.align == "box":
            crop = crop_box(frame.image, face[:4], geometry.size, geometry.margin)
        else:
            crop = crop_face(frame.image, face[5:].reshape(5, 2), geometry.size, geometry.margin)
        crops.append(encode(crop, geometry.format))
    return FrameDetections(frame.number, frame.time, tint, faces, crops)


def index_rows(faces: list[Face]) -> list[list[object]]:
    """Rows of the face index for one video, as INDEX_COLUMNS has them but for the name of the video."""
    return [[f.track, f.frame, f.time, *map(float, f.detection), sharpness(f.crop), f.member] for f in faces]
