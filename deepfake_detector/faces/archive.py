"""One stored zip for each video, one image for each face: any zip tool opens it, and data versioning sees one file."""

import zipfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def encode(crop: np.ndarray, form: str = "jpg") -> bytes:
    """uint8 BGR (height, width, 3) as JPEG 95 4:4:4, or as PNG if `form` is png."""
    return cv2.imencode(f".{form}", crop, _JPEG if form == "jpg" else [])[1].tobytes()


def decode(data: bytes) -> np.ndarray:
    """JPEG or PNG as uint8 BGR (height, width, 3)."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write name-bytes pairs as a zip that has the same bytes for the same members; whole or not at all."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    part.replace(path)


def read_crops(path: Path, members: Sequence[str]) -> list[np.ndarray]:
    """The named crops of one archive, uint8 BGR, in the order asked."""
    archive = _opened(path, path.stat().st_mtime_ns)
    return [decode(archive.read(member)) for member in members]


@lru_cache(maxsize=256)
def _opened(path: Path, changed: int) -> zipfile.ZipFile:
    """An archive that stays open: faces are drawn from all of them in turn, and its list takes longer to read than a face."""
    return zipfile.ZipFile(path)
