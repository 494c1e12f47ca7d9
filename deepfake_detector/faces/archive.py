"""Archives of face crops: one zip without compression per video, one image per face.

Any zip tool opens them, and data versioning handles one file per video.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deepfake_detector.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

MEMBER_NAME = re.compile(r"\d{3,}_\d{6,}(_original)?\.(jpg|png)")  # track and frame; see Face.member, original_member
JPEG_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def encode_crop(crop: np.ndarray, format: str = "jpg") -> bytes:
    """Encode a crop, uint8 BGR (height, width, 3), as JPEG (quality 95, 4:4:4), or as PNG if `format` is png."""
    data: np.ndarray = cv2.imencode(f".{format}", crop, JPEG_OPTIONS if format == "jpg" else [])[1]
    return data.tobytes()


def decode_crop(data: bytes) -> np.ndarray:
    """Decode a JPEG or PNG file to uint8 BGR (height, width, 3)."""
    crop: np.ndarray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return crop


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive of (name, content) pairs. The same members give the same bytes."""
    with atomic_path(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)


def read_crops(path: Path, members: Sequence[str]) -> list[np.ndarray]:
    """The named crops of one archive, each uint8 BGR (height, width, 3), in the order of `members`."""
    archive = _open_archive(path, path.stat().st_mtime_ns)
    return [decode_crop(archive.read(member)) for member in members]


@lru_cache(maxsize=256)
def _open_archive(path: Path, modified: int) -> zipfile.ZipFile:
    """An archive that stays open: its directory takes longer to read than a face, and training reads single faces."""
    return zipfile.ZipFile(path)


def read_table_crops(faces: "pd.DataFrame", folder: Path) -> Iterator[np.ndarray]:
    """The crops of a table of faces (`video_id,member`), each uint8 BGR (height, width, 3), from archives in `folder`.

    They come in the order of the table, in which the faces of a video must be together.
    """
    for video_id, members in faces.groupby("video_id", sort=False)["member"]:
        yield from read_crops(folder / f"{video_id}.zip", members.tolist())
