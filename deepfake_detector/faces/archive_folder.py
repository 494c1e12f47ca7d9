"""The folder of archives that an extraction fills: replaced as a whole, by one process at a time.

An extraction works in a folder beside it, `<folder>.part`. The lock file there marks it as ours and is locked as long
as the process lives, however it ends. Nothing that is not recognised as written by an extraction is ever deleted.
"""

import os
import re
import shutil
import struct
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from deepfake_detector.faces.archive import MEMBER_NAME, SHARDS, ArchiveFile

LOCK = "extract.lock"
PREVIOUS = "previous"  # the archives so far, while those that replace them are moved into place
PARTIAL_ARCHIVE = re.compile(r".+\.zip\.\d+\.part")
ZIP_ERRORS = (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error)


class ArchiveFolderError(Exception):
    """A folder cannot be replaced by one of archives; the message says what it does, or is, that stands against it."""


@contextmanager
def replaced_folder(folder: Path, known: Collection[str] = ()) -> Iterator[Path]:
    """An empty folder for archives that replaces `folder` when the block ends without an exception.

    Args:
        folder: to be replaced; of a link, its target.
        known: names of the videos whose archives in `folder` are ours even if they are damaged.

    Raises:
        ArchiveFolderError: if `folder` holds anything but our archives, or if another process replaces it.
        OSError: if the folder cannot be written.
    """
    if folder.is_symlink() and not folder.exists():
        raise ArchiveFolderError("is a link to a folder that does not exist; is its disk mounted?")
    folder = Path(os.path.realpath(folder))
    if os.path.ismount(folder):
        raise ArchiveFolderError("is a disk of its own, which cannot be replaced; give a folder on it")
    with _workspace(folder) as workspace:
        _refuse_others(folder, known)
        part = workspace / str(os.getpid())
        part.mkdir()
        yield part
        for left_over in part.rglob("*.part"):
            left_over.unlink()  # of a worker that was stopped
        _refuse_others(folder, known)
        if folder.exists():
            folder.replace(workspace / PREVIOUS)
        part.replace(folder)


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """The locked folder `<folder>.part`, emptied of what a killed process left, and deleted at the end."""
    workspace = folder.with_name(f"{folder.name}.part")
    lock = workspace / LOCK
    if workspace.exists() and not (workspace.is_dir() and (lock.exists() or not any(workspace.iterdir()))):
        raise ArchiveFolderError(f"needs the place of {workspace}, which is no folder of extract; rename that")
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            _clear(workspace, folder)
            try:
                yield workspace
            finally:
                _clear(workspace, folder)
                with suppress(OSError):  # Windows does not delete a file that is open
                    lock.unlink()
                    workspace.rmdir()
    except Timeout:
        raise ArchiveFolderError("is being written by another extract; wait for it, or give another folder") from None


def _clear(workspace: Path, folder: Path) -> None:
    """Empty the workspace but for the lock, and take back the previous archives if nothing has replaced them."""
    if (workspace / PREVIOUS).exists() and not folder.exists():
        (workspace / PREVIOUS).replace(folder)
    for path in workspace.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path, ignore_errors=True)


def _refuse_others(folder: Path, known: Collection[str]) -> None:
    """Raise ArchiveFolderError if `folder` holds anything but our archives."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArchiveFolderError("is a file; give a folder")
    for path in _content(folder):
        if not (PARTIAL_ARCHIVE.fullmatch(path.name) or _is_archive(path, known)):
            raise ArchiveFolderError(
                f"holds {path.relative_to(folder)}, which is no archive of faces; "
                "move that, or give a folder of its own"
            )


def _content(folder: Path) -> Iterator[Path]:
    """What is in a folder of archives and in its shards."""
    for path in sorted(folder.iterdir()):
        if path.name in SHARDS and path.is_dir() and not path.is_symlink():
            yield from sorted(path.iterdir())
        else:
            yield path


def _is_archive(path: Path, known: Collection[str]) -> bool:
    """Whether a file is an archive of faces, by the names of its members; of a damaged file, by its own name."""
    if path.suffix != ".zip" or path.is_dir():
        return False
    try:
        with ArchiveFile(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.namelist()
    except ZIP_ERRORS:
        return path.stem in known
    return bool(members) and all(MEMBER_NAME.fullmatch(member) for member in members)
