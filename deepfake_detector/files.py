"""Files that are written whole or not at all, and their digests."""

import errno
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

MAX_FILE_NAME = 255  # bytes of a file name in the usual file systems
PART_NAME_BYTES = 200  # of a file's name in that of its temporary file, which leaves space for a process number


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an exception.

    The folder is made if it is missing. The temporary name ends in `.part` and carries the process number, so that two
    processes do not write into one file. An exception leaves `path` as it was.

    Raises OSError if `path` is a device, a pipe or a socket, which a file would replace for all programs.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "This is no file; give the path of one", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_name_start(path)}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def delete_partial_files(*paths: Path | str) -> None:
    """Delete what killed processes left of files that they wrote by `atomic_path`.

    Only for files that one process writes at a time: the temporary file of a process that still runs is deleted, too.
    """
    for path in map(Path, paths):
        for part in path.parent.glob("*.part"):
            if re.fullmatch(rf"{re.escape(_name_start(path))}\.\d+\.part", part.name):
                part.unlink(missing_ok=True)


def lock_file(path: Path) -> IO[str]:
    """Open a text file at its end, and lock it until it is closed or this process ends, however it ends.

    Raises BlockingIOError if another process holds the lock, and other OSErrors if the file cannot be written or its
    file system knows no locks.
    """
    file = path.open("a", newline="", encoding="utf-8")
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)  # the byte that is locked
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError as error:
                raise BlockingIOError(*error.args) from error
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _name_start(path: Path) -> str:
    """What the name of the temporary file of `path` starts with."""
    return os.fsencode(path.name)[:PART_NAME_BYTES].decode(errors="ignore")


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ffmpeg_name(path: Path | str) -> str:
    """The name under which FFmpeg opens a file: an absolute path, since a relative one with a colon may be a URL."""
    return str(Path(path).absolute())
