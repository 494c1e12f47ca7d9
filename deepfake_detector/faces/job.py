"""What a worker process does with one video of a corpus. It imports little: each process would pay for it."""

from pathlib import Path
from typing import Any

from deepfake_detector.faces.archive import write_archive
from deepfake_detector.faces.detectors import create_detector
from deepfake_detector.faces.extraction import Geometry, extract_faces, index_rows
from deepfake_detector.faces.sources import local_file
from deepfake_detector.faces.video import VideoError

COUNTS = ("frames_wanted", "frames_read", "faces", "faces_dropped", "people")
Record = dict[str, Any]  # "report": its row without the name of the video; "index": its rows, likewise


def extract_video(task: tuple[str, str], geometry: Geometry, people: int | str, folder: Path) -> Record:
    """Write the archive of one video (video_id, path); return its rows of the report and the index."""
    video_id, path = task
    detector = create_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    try:
        with local_file(path) as file:
            video = extract_faces(file, geometry, detector, people)
    except VideoError as error:
        return failed_record("unreadable", str(error))
    if video.faces:
        write_archive(folder / f"{video_id}.zip", [(face.member, face.data) for face in video.faces])
    reason = video.reason.replace(str(file), Path(path).name)
    counts = (video.frames_wanted, video.frames_read, len(video.faces), video.faces_dropped, video.tracks)
    report = {"status": video.status, "reason": reason, **dict(zip(COUNTS, counts, strict=True))}
    return {"report": report, "index": index_rows(video.faces)}


def failed_record(status: str, reason: str) -> Record:
    """The record of a video that gave nothing."""
    return {"report": {"status": status, "reason": reason, **dict.fromkeys(COUNTS, 0)}, "index": []}
