"""A video in, aligned faces out: the one way to crop a face, for training and for judging."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.faces.alignment import crop_face, sharpness
from stages.faces.archive import decode, encode
from stages.faces.detectors import Detector
from stages.faces.tracks import link
from stages.faces.video import VideoError, evenly_spread, probe, read_frames
from stages.params import Extract

if TYPE_CHECKING:
    import pandas as pd

POINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
INDEX_COLUMNS = (
    ["video_id", "track", "frame", "time", "x1", "y1", "x2", "y2", "score"]
    + [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    + ["sharpness", "member"]
)


@dataclass(frozen=True)
class Geometry:
    """How faces are found and cropped. A detector carries the geometry that it was trained with."""

    frames: int
    size: int
    margin: float
    detector: str
    threshold: float

    @classmethod
    def of(cls, settings: Extract) -> "Geometry":
        return cls(settings.frames, settings.size, settings.margin, settings.detector, settings.threshold)


@dataclass(frozen=True)
class Face:
    """One person in one frame: `detection` (15,) as detectors return it, `jpeg` the aligned crop as it is stored."""

    track: int
    frame: int
    time: float
    detection: np.ndarray
    jpeg: bytes

    @property
    def crop(self) -> np.ndarray:
        """uint8 BGR (size, size, 3), the same whether it came from an archive or straight from a video."""
        return decode(self.jpeg)


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


def extract_faces(path: Path | str, geometry: Geometry, detector: Detector, people: int | str) -> VideoFaces:
    """Faces of the `people` ("all" or a number) most prominent people on evenly spread frames. Never raises for a bad file."""
    try:
        wanted = evenly_spread(probe(path).frames, geometry.frames)
        frames = []
        found = []
        for frame in read_frames(path, wanted):
            frames.append(frame)
            found.append(detector.detect(frame.image))
    except VideoError as error:
        return VideoFaces("unreadable", str(error))
    if not frames:
        return VideoFaces("unreadable", f"{path}: none of the frames wanted can be decoded", len(wanted))
    tracks, unsupported = link(found)
    kept = tracks if people == "all" else tracks[: int(people)]
    faces = [
        Face(
            t,
            frames[i].number,
            frames[i].time,
            face,
            encode(crop_face(frames[i].image, face[5:].reshape(5, 2), geometry.size, geometry.margin)),
        )
        for t, track in enumerate(kept)
        for i, face in zip(track.frames, track.faces, strict=True)
    ]
    dropped = unsupported + sum(len(track.faces) for track in tracks[len(kept) :])
    status, reason = "ok", ""
    if len(frames) < len(wanted):
        status, reason = "partial", f"{len(wanted) - len(frames)} of {len(wanted)} frames cannot be decoded"
    if not faces:
        status, reason = "no_face", "no face in any frame" if not unsupported else "no face seen in more than one frame"
    return VideoFaces(status, reason, len(wanted), len(frames), dropped, faces)


def index_rows(video_id: str, faces: list[Face]) -> "pd.DataFrame":
    """Rows of the face index for one video."""
    import pandas as pd  # here: judging needs none of it, and it takes seconds to import

    rows = [
        [video_id, f.track, f.frame, f.time, *f.detection[:5], *f.detection[5:], sharpness(f.crop), member_name(f)] for f in faces
    ]
    return pd.DataFrame(rows, columns=INDEX_COLUMNS)


def member_name(face: Face) -> str:
    return f"{face.track:03d}_{face.frame:06d}.jpg"
