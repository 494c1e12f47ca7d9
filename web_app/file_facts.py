"""What a report says of a video file: its bytes, its container, and whether it carries Content Credentials (C2PA)."""

import struct
from pathlib import Path
from typing import IO, Any

from deepfake_detector.faces.mp4_boxes import FIRST_BOXES, MAX_BOXES, outer_boxes, read_at
from deepfake_detector.faces.video_reader import VideoInfo, open_video, picture_stream
from deepfake_detector.files import file_sha256

# Box of a C2PA manifest store in MP4 and its kin: C2PA specification 2.2, A.5. In AVI it is a chunk: A.3.7.
C2PA_UUID, C2PA_CHUNK = bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"C2PA"
MAX_TEXT = 200  # characters of a value
# Words in the names of the metadata that are shown. Others, such as the place of recording, are nobody's business.
CREATION_WORDS = ("creation", "date", "encoder", "software", "make", "model", "tool")


def content_facts(path: Path) -> dict[str, Any]:
    """What the bytes of any file tell: `bytes`, `sha256` and `c2pa` (see `has_c2pa`)."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path), "c2pa": has_c2pa(path)}


def container_facts(path: Path, info: VideoInfo) -> dict[str, Any]:
    """What the container of a video tells. Raises VideoError.

    Returns:
        `seconds`, `codec`, `container` (their names), `width`, `height` (pixels as stored), `rate` (frames per
        second), and `creation`: texts by the names that the container gives them.
    """
    with open_video(path) as container:
        stream = picture_stream(container)
        tags = {**container.metadata, **stream.metadata}
        return {
            "seconds": round(info.times[-1] + float(1 / info.rate), 3),
            "codec": stream.codec_context.name,
            "container": container.format.long_name,
            "width": info.width,
            "height": info.height,
            "rate": round(float(info.rate), 3),
            "creation": {
                str(name)[:MAX_TEXT]: str(value)[:MAX_TEXT]
                for name, value in sorted(tags.items())
                if any(word in name.lower() for word in CREATION_WORDS)
            },
        }


def has_c2pa(path: Path) -> bool | None:
    """Whether a file carries a C2PA manifest; None for containers other than MP4, its kin, and RIFF (AVI).

    Only the presence is told: neither the signature nor what it signs is checked.
    """
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in FIRST_BOXES:
            return any(
                kind == b"uuid" and read_at(file, first, 16) == C2PA_UUID for kind, first, _ in outer_boxes(file, path)
            )
        if start[:4] == b"RIFF":
            return _has_chunk(file)
    return None


def _has_chunk(file: IO[bytes]) -> bool:
    """Whether one of the outer chunks of a RIFF file is that of C2PA."""
    position = 12
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return False
        kind, size = struct.unpack("<4sI", header)
        if kind == C2PA_CHUNK:
            return True
        position += 8 + size + size % 2
    return False
