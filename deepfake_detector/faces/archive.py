"""Archives of face crops: one zip without compression per video, one image per face.

Any zip tool opens them, and data versioning handles one file per video. They lie in one folder, and in its 256 shards
if there are more than MAX_FLAT videos.
"""

import hashlib
import io
import os
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from deepfake_detector.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

MEMBER_NAME = re.compile(r"\d{3,}_\d{6,}(_original)?\.(jpg|png)")  # track and frame; see Face.member, original_member
MAX_SIDE = 1024  # pixels of a crop
MAX_MEMBER = 2**23  # bytes of a crop: more than one of MAX_SIDE takes as PNG
MAX_DIRECTORY = 2**24  # bytes of the directory of an archive: 200,000 crops

MAX_FLAT = 10_000  # videos whose archives may lie in one folder: listing a folder of a million files takes minutes
SHARDS = [f"{number:02x}" for number in range(256)]

JPEG_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


class ArchiveError(Exception):
    """An archive of face crops is missing or damaged; the message names it and the member."""


def archive_path(folder: Path, video_id: str) -> Path:
    """Where the archive of a video is, or is to be written: `folder/<video_id>.zip`.

    In a folder of shards it is `folder/<shard>/<video_id>.zip`, where the shard is the first two hexadecimal digits of
    the SHA-256 of the id.
    """
    shard = folder / hashlib.sha256(os.fsencode(video_id)).hexdigest()[:2]
    return (shard if shard.is_dir() else folder) / f"{video_id}.zip"


def make_shards(folder: Path, videos: int) -> None:
    """Make the shards of an empty folder if it is to hold the archives of more than MAX_FLAT videos."""
    if videos > MAX_FLAT:
        for shard in SHARDS:
            (folder / shard).mkdir()


def encode_crop(crop: np.ndarray, format: str = "jpg") -> bytes:
    """Encode a crop, uint8 BGR (height, width, 3), as JPEG (quality 95, 4:4:4), or as PNG if `format` is png."""
    data: np.ndarray = cv2.imencode(f".{format}", crop, JPEG_OPTIONS if format == "jpg" else [])[1]
    return data.tobytes()


def decode_crop(data: bytes) -> np.ndarray:
    """Decode a JPEG or PNG file to uint8 BGR (height, width, 3).

    Raises ArchiveError for anything else, and for a picture larger than a crop can be: a few kilobytes of PNG may
    decode to gigabytes.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:  # reads the header only
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ArchiveError("it is no JPEG or PNG picture") from error
    if max(width, height) > MAX_SIDE:
        raise ArchiveError(f"a picture of {width} x {height} pixels is no face crop, which has at most {MAX_SIDE}")
    crop: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if crop is None:
        raise ArchiveError("its picture is damaged")
    return crop


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive of (name, content) pairs. The same members give the same bytes."""
    with atomic_path(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)


def read_crops(path: Path, members: Sequence[str]) -> list[np.ndarray]:
    """The named crops of one archive, each uint8 BGR (height, width, 3), in the order of `members`.

    Raises ArchiveError.
    """
    try:
        archive = _open_archive(path, path.stat().st_mtime_ns)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise ArchiveError(f"{path} cannot be read ({error}); run the extract stage again") from error
    crops = []
    for member in members:
        try:
            crops.append(decode_crop(_read_member(archive, member)))
        except (ArchiveError, OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise ArchiveError(f"{path}: {member}: {error}; run the extract stage again") from error
    return crops


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a member that is stored as `write_archive` stores it; its CRC is checked. Raises ArchiveError."""
    if name not in archive.NameToInfo:
        raise ArchiveError("there is no such member")
    info = archive.getinfo(name)
    if info.flag_bits & 1:
        raise ArchiveError("it is encrypted")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ArchiveError("it is compressed, and face crops are stored")
    if info.file_size > MAX_MEMBER:
        raise ArchiveError(f"it has {info.file_size:,} bytes, and a face crop at most {MAX_MEMBER:,}")
    return archive.read(info)


@lru_cache(maxsize=256)
def _open_archive(path: Path, modified: int) -> zipfile.ZipFile:
    """An archive that stays open: its directory takes longer to read than a face, and training reads single faces."""
    return zipfile.ZipFile(ArchiveFile(path))


class ArchiveFile(io.BufferedReader):
    """The file of an archive, for ZipFile, which reads the directory at once and makes an object of each entry.

    Raises BadZipFile where the directory is too large.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, more than {MAX_DIRECTORY:,}")
        return super().read(size)


def read_table_crops(faces: "pd.DataFrame", folder: Path) -> Iterator[np.ndarray]:
    """The crops of a table of faces (`video_id,member`), each uint8 BGR (height, width, 3), from archives in `folder`.

    They come in the order of the table, in which the faces of a video must be together, and are all of one size.
    Raises ArchiveError.
    """
    size = None
    for video_id, members in faces.groupby("video_id", sort=False)["member"]:
        path = archive_path(folder, video_id)
        for member, crop in zip(members, read_crops(path, members.tolist()), strict=True):
            size = size or crop.shape
            check_size(crop, size, f"{path}: {member}")
            yield crop


def check_size(crop: np.ndarray, expected: tuple[int, ...], name: str) -> None:
    """Raises ArchiveError unless a crop has the shape of the others."""
    if crop.shape != expected:
        shapes = [f"{shape[1]} x {shape[0]}" for shape in (crop.shape, expected)]
        raise ArchiveError(f"{name} has {shapes[0]} pixels, and other crops {shapes[1]}; run the extract stage again")
