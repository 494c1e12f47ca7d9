"""From a video to aligned face crops. Training and inference crop faces by this one path."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from deepfake_detector.faces.alignment import sharpness
from deepfake_detector.faces.archive import archive_path, decode_crop, encode_crop, write_archive
from deepfake_detector.faces.detected_frames import FrameDetections, crop_face, detect_frames
from deepfake_detector.faces.detections import Detection
from deepfake_detector.faces.detectors import FaceDetector, create_face_detector
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.nearby_frames import number_shots, tracks_seen_again
from deepfake_detector.faces.remote import DEFAULT_LIMITS, UrlLimits
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.sources import local_file
from deepfake_detector.faces.tracking import Track, link_detections
from deepfake_detector.faces.video_file import VideoError, VideoInfo, probe
from deepfake_detector.faces.video_reader import read_frames

LANDMARKS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
INDEX_COLUMNS = (
    ["video_id", "track", "frame", "time", "x1", "y1", "x2", "y2", "score"]
    + [f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy"]
    + ["sharpness", "member", "original"]
)
COUNTS = ("frames_wanted", "frames_read", "faces", "faces_dropped", "faces_too_small", "people")
SINGLE_PICTURE = "it is a single picture, not a video"
GEOMETRY_KEY = b"geometry"  # of the Parquet metadata of a face index
ROW_GROUP = 2**17  # faces that are written to a face index at once
Record = dict[
    str, Any
]  # "report": the report row of a video, "index": its rows of the face index, both without video_id


class FaceIndexError(Exception):
    """The file is no face index of this project; the message names it."""


@dataclass(frozen=True)
class Face:
    """One person in one frame.

    Attributes:
        track: number of the person in the video, from 0, most prominent first.
        frame: number of the frame in the video.
        time: seconds since the first frame.
        detection: in pixels of the upright frame.
        data: the crop as an encoded image.
    """

    track: int
    frame: int
    time: float
    detection: Detection
    data: bytes

    @property
    def crop(self) -> np.ndarray:
        """uint8 BGR (size, size, 3); the same pixels as from an archive."""
        return decode_crop(self.data)

    @property
    def member(self) -> str:
        """Name of the crop in an archive."""
        suffix = "png" if self.data.startswith(b"\x89PNG") else "jpg"
        return f"{self.track:03d}_{self.frame:06d}.{suffix}"


@dataclass
class VideoFaces:
    """The result of extraction from one video.

    Attributes:
        status: ok, partial (some frames do not decode), no_face or unreadable.
        reason: what is wrong, in words, or that it is a single picture or has further tracks; empty if nothing is.
        frames_wanted: number of frames to sample.
        frames_read: number of them that were decoded.
        faces_dropped: number of faces that no second frame shows, or of people beyond the limit.
        too_small: faces of people whose eyes are nearer to each other than the geometry allows, in the same order.
        faces: by track, then in order of time.
        beyond_limit: how many of `faces_dropped` are of people beyond the limit.
    """

    status: str
    reason: str = ""
    frames_wanted: int = 0
    frames_read: int = 0
    faces_dropped: int = 0
    faces: list[Face] = field(default_factory=list)
    too_small: list[Face] = field(default_factory=list)
    beyond_limit: int = 0

    @property
    def tracks(self) -> int:
        """The number of people."""
        return len({face.track for face in self.faces})


def extract_faces(
    path: Path | str,
    geometry: Geometry,
    detector: FaceDetector,
    max_people: int | str,
    least_fps: float | None = None,
    info: VideoInfo | None = None,
) -> VideoFaces:
    """Extract the faces of the most prominent people of a video. One person in two shots counts as two people.

    At most two images are in memory at a time. A file that cannot be read does not raise; its status says so.

    Args:
        path: a local file.
        geometry: frames to sample, and how faces are cropped.
        detector: the face detector.
        max_people: number of people; "all" for everybody.
        least_fps: frames of each second to sample if that is more than the geometry gives.
        info: from `probe`, which is called without it.
    """
    wanted: list[int] = []
    try:
        info = info or probe(path)
        wanted = choose_frames(info, geometry.frames, geometry.fps)
        if least_fps:
            wanted = max(wanted, choose_frames(info, geometry.frames, least_fps), key=len)
        frames = list(detect_frames(read_frames(path, wanted, info), geometry, detector))
        shots = number_shots(path, info, frames)
        found = link_detections([frame.detections for frame in frames], shots, [frame.size for frame in frames])
        tracks = tracks_seen_again(path, info, frames, found, detector)
    except VideoError as error:
        return VideoFaces("unreadable", str(error), len(wanted))
    if not frames:
        return VideoFaces("unreadable", f"{path}: none of the sampled frames can be decoded", len(wanted))
    unsupported = len(found) - len(tracks)
    small = [track for track in tracks if track.eye_distance < geometry.min_eye_distance]
    tracks = [track for track in tracks if track.eye_distance >= geometry.min_eye_distance]
    kept = tracks if max_people == "all" else tracks[: int(max_people)]
    faces, too_small = _faces_of(kept, frames), _faces_of(small, frames)
    beyond_limit = sum(len(track.detections) for track in tracks[len(kept) :])
    dropped = unsupported + beyond_limit
    missing = _describe_missing_frames(info, [frame.moment.number for frame in frames], wanted)
    notes = [SINGLE_PICTURE] if info.frames == 1 and not missing else []
    if info.other_tracks:
        further = (
            "1 further video track is" if info.other_tracks == 1 else f"{info.other_tracks} further video tracks are"
        )
        notes.append(f"{further} not read")
    if faces:
        status = "partial" if missing else "ok"
        reason = "; ".join(filter(None, [missing, *notes]))
        return VideoFaces(status, reason, len(wanted), len(frames), dropped, faces, too_small, beyond_limit)
    reason = "no face in more than one frame" if unsupported else "no face in any frame"
    if too_small:
        reason = f"all faces are too small: less than {geometry.min_eye_distance:g} pixels between the eyes"
    reason = "; ".join(filter(None, [reason, missing, *notes]))
    return VideoFaces("no_face", reason, len(wanted), len(frames), dropped, [], too_small, beyond_limit)


def _faces_of(tracks: list[Track], frames: list[FrameDetections]) -> list[Face]:
    return [
        Face(number, frames[i].moment.number, frames[i].moment.time, detection, frames[i].crops[index])
        for number, track in enumerate(tracks)
        for i, index, detection in zip(track.frames, track.indices, track.detections, strict=True)
    ]


def _describe_missing_frames(info: VideoInfo, read: list[int], wanted: list[int]) -> str:
    """Which frames of a video are missing, in words; empty if none is.

    Frames shown before the first keyframe may need one that was cut off with them, as where a broadcast is trimmed
    without encoding it again: nothing of the file is missing there.
    """
    problems = []
    if info.missing:
        listed = info.frames + info.missing
        problems.append(f"the file holds {info.frames} of the {listed} frames that its header states")
    elif info.ends_early:
        problems.append("the file ends before the end that its header states")
    first = min(info.keyframes, default=0)
    lost = sum(number >= first for number in wanted) - sum(number >= first for number in read)
    if lost > 0:
        problems.append(f"{lost} of {len(wanted)} frames cannot be decoded")
    return "; ".join(problems)


def crop_originals(faces: list[Face], path: Path | str, original: Path | str, geometry: Geometry) -> dict[str, bytes]:
    """What the original of a fake shows at the same times and in the same places: encoded crops by member of the face.

    The original is cut by the landmarks of the fake, so that both crops differ only where the fake was changed.
    Cut by its own landmarks, which are never quite the same, it would differ everywhere. A time at which
    the original shows nothing has no crop; a video of another size has none at all.
    """
    info, own = probe(original), probe(path)
    if (info.width, info.height) != (own.width, own.height):
        return {}
    times = np.array(info.times) - info.times[0]  # sound before the first frame moves the clock of one alone
    shown: dict[int, list[Face]] = defaultdict(list)  # by frame of the original
    for face in faces:
        distances = np.abs(times - (face.time - own.times[0]))
        if distances.min() <= 0.5 / info.rate:
            shown[int(distances.argmin())].append(face)
    return {
        face.member: encode_crop(crop_face(frame.image, face.detection, geometry), geometry.format)
        for frame in read_frames(original, sorted(shown), info)
        for face in shown[frame.number]
    }


def original_member(member: str) -> str:
    """Name in an archive of the crop of the original beside the crop `member` of a fake."""
    stem, _, suffix = member.rpartition(".")
    return f"{stem}_original.{suffix}"


def extract_video(
    task: tuple[str, str, str],
    geometry: Geometry,
    max_people: int | str,
    folder: Path,
    url_limits: UrlLimits = DEFAULT_LIMITS,
) -> Record:
    """Write the archive of one video and return its record; worker processes call this.

    Args:
        task: video_id; path or URL; and that of the original that a fake was made from, or an empty text.
        geometry: as for `extract_faces`.
        max_people: as for `extract_faces`.
        folder: of the archives; a video without faces has none.
        url_limits: of the videos at URLs.
    """
    video_id, source, original = task
    detector = create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    try:
        with local_file(source, url_limits) as path:
            video = extract_faces(path, geometry, detector, max_people)
            originals = _originals_of(video.faces, path, original, geometry, url_limits)
    except VideoError as error:
        return failed_record("unreadable", str(error).replace(source, Path(source).name))  # no path of this machine
    if video.faces:
        crops = [(face.member, face.data) for face in video.faces]
        crops += [(original_member(member), data) for member, data in originals.items()]
        write_archive(archive_path(folder, video_id), crops)
    reason = video.reason.replace(str(path), Path(source).name)
    counts = (
        video.frames_wanted,
        video.frames_read,
        len(video.faces),
        video.faces_dropped,
        len(video.too_small),
        video.tracks,
    )
    report = {"status": video.status, "reason": reason, **dict(zip(COUNTS, counts, strict=True))}
    return {"report": report, "index": index_rows(video.faces, originals)}


def _originals_of(
    faces: list[Face], path: Path, original: str, geometry: Geometry, url_limits: UrlLimits
) -> dict[str, bytes]:
    """`crop_originals`; nothing if there is no original that can be read, which its own row of the report says."""
    if not original or not faces:
        return {}
    try:
        with local_file(original, url_limits) as original_path:
            return crop_originals(faces, path, original_path, geometry)
    except VideoError:
        return {}


def failed_record(status: str, reason: str) -> Record:
    """The record of a video without a result."""
    return {"report": {"status": status, "reason": reason, **dict.fromkeys(COUNTS, 0)}, "index": []}


def index_rows(faces: list[Face], originals: Collection[str] = ()) -> list[list[object]]:
    """Rows of the face index for one video, with INDEX_COLUMNS except video_id.

    `originals`: members of the faces beside which the archive holds the crop of the original.
    """
    return [
        [
            *(face.track, face.frame, face.time, *_numbers(face.detection), sharpness(face.crop), face.member),
            original_member(face.member) if face.member in originals else "",
        ]
        for face in faces
    ]


def _numbers(detection: Detection) -> list[float]:
    return [*detection.box.tolist(), detection.score, *detection.landmarks.ravel().tolist()]


def write_index(path: Path, rows: Iterable[list[object]], geometry: Geometry) -> None:
    """Write the face index as Parquet: `rows` of INDEX_COLUMNS, and `geometry` as JSON in the metadata.

    No more than ROW_GROUP rows are in memory at a time beside what `rows` holds itself.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    def following() -> pa.Table:
        columns = pd.DataFrame(list(islice(remaining, ROW_GROUP)), columns=INDEX_COLUMNS)
        return pa.Table.from_pandas(columns, preserve_index=False)

    remaining = iter(rows)
    table = following()
    schema = table.schema.with_metadata({**table.schema.metadata, GEOMETRY_KEY: json.dumps(asdict(geometry))})
    with parquet.ParquetWriter(path, schema) as writer:
        writer.write_table(table.cast(schema))
        while len(table := following()):
            writer.write_table(table.cast(schema))


def read_geometry(index_path: Path | str) -> Geometry:
    """Read from a face index how its crops were made.

    Raises FaceIndexError if the file does not say it, FileNotFoundError if there is no such file.
    """
    from pyarrow import ArrowException, parquet

    try:
        metadata = parquet.read_schema(index_path).metadata or {}
        return TypeAdapter(Geometry).validate_json(metadata[GEOMETRY_KEY])
    except FileNotFoundError:
        raise
    except (KeyError, TypeError, ValueError, OSError, ArrowException) as error:
        raise FaceIndexError(
            f"{index_path} does not say how its crops were made: its Parquet metadata have no valid key"
            f" {GEOMETRY_KEY.decode()}; run the extract stage again"
        ) from error
