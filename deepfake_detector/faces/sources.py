"""Inputs given by the user: paths, folders, globs, lists and URLs become videos, names and local files."""

import glob
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_detector.faces.video_reader import VideoError

VIDEO_SUFFIXES = {
    ".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
}  # fmt: skip
MAX_NAME_BYTES = 180  # of a video_id; file systems allow 255, which leaves space for suffixes
RESERVED_NAMES = {"predictions"}  # names of tables that stand beside the results of the videos


def find_videos(inputs: list[str], output: Path | None = None) -> tuple[list[str], int]:
    """List the videos that `inputs` stand for.

    An input is one of these, or an fsspec URL of one of them, except of a list:

    - a file;
    - a folder: all files below it with a suffix of a video, except those in `output`;
    - a glob;
    - a .txt file with one input per line. Lines that start with `# ` are comments, and other lists in it are ignored.

    Returns:
        Paths and URLs in the order of `inputs`, each once, and the number of files in folders that were left out
        because of their suffix. An input that does not exist is returned as it is; reading it fails with a message.
    """
    videos: list[str] = []
    others = 0
    for given in inputs:
        if given.lower().endswith(".txt") and Path(given).is_file():
            found, left_out = find_videos(_read_list(Path(given)), output)
        elif is_url(given):
            found, left_out = _find_at_url(given)
        elif Path(given).is_dir():
            found, left_out = _find_in_folder(Path(given), output)
        elif glob.has_magic(given) and not Path(given).exists():
            matches = sorted(path for path in glob.glob(given, recursive=True) if Path(path).is_file())  # noqa: PTH207 (not absolute)
            found, left_out = matches or [given], 0
        else:
            found, left_out = [given], 0
        videos += found
        others += left_out
    return list(dict.fromkeys(videos)), others


def _read_list(path: Path) -> list[str]:
    """The inputs in a list. Bytes that are not UTF-8 stay as they are, since file names may contain them."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines())
    return [line for line in lines if line and not line.startswith("# ") and not line.lower().endswith(".txt")]


def _find_in_folder(folder: Path, output: Path | None) -> tuple[list[str], int]:
    """As `find_videos`, for one folder. `output` is searched if it is the folder itself."""
    skip = output.resolve() if output else None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if skip and skip != folder.resolve():
        files = [path for path in files if not path.resolve().is_relative_to(skip)]
    videos = [str(path) for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    return videos, len(files) - len(videos)


def _find_at_url(url: str) -> tuple[list[str], int]:
    """As `find_videos`, for one URL."""
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url)
        if glob.has_magic(path):
            return [system.unstrip_protocol(match) for match in sorted(system.glob(path))] or [url], 0
        if Path(path).suffix.lower() in VIDEO_SUFFIXES or not system.isdir(path):
            return [url], 0
        files = sorted(system.find(path))
    except (OSError, ValueError, ImportError):
        return [url], 0  # reading it will fail with a message about the cause
    videos = [system.unstrip_protocol(file) for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES]
    return videos, len(files) - len(videos)


def is_url(text: str) -> bool:
    return "://" in text


def name_videos(videos: list[str]) -> list[str]:
    """A unique `video_id` for each path or URL, valid as a file name: its stem, with a number where two share it.

    Names are unique without regard to case, and none is in RESERVED_NAMES.
    """
    names: list[str] = []
    taken = set(RESERVED_NAMES)
    for video in videos:
        stem = Path(video.split("?")[0] if is_url(video) else video).stem
        stem = "".join("_" if unicodedata.category(c) == "Cc" else c for c in printable(stem).replace("\\", "_"))
        stem = stem.encode()[:MAX_NAME_BYTES].decode(errors="ignore") or "video"
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def printable(path: str) -> str:
    """A path as valid UTF-8, in which other bytes are written as escapes; tables can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def local_file(source: str) -> Iterator[Path]:
    """A local path of `source`: the path itself, or for a URL a copy that is deleted when the context ends.

    Raises VideoError if the URL cannot be fetched.
    """
    if not is_url(source):
        yield Path(source)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{Path(source.split('?')[0]).suffix[:8]}"
        try:
            with fsspec.open(source, "rb") as remote, path.open("wb") as copy:
                shutil.copyfileobj(remote, copy, 1 << 20)
        except Exception as error:  # each file system raises its own kinds, and all mean that it cannot be fetched
            raise VideoError(f"{source} cannot be fetched: {type(error).__name__}: {error}") from error
        yield path
