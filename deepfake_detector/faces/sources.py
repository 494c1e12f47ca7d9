"""Which videos somebody means, and a local file for each of them."""

import glob
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_detector.faces.video import VideoError

SUFFIXES = {
    ".mp4",
    ".mov",
    ".m4v",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
    ".ts",
    ".mts",
    ".ogv",
}
SUFFIXES |= {".asf", ".f4v", ".3g2", ".m2ts", ".vob", ".mxf", ".gif"}
LONGEST_NAME = 180  # bytes of a video_id: room for suffixes within the 255 that file systems allow
RESERVED = {"predictions"}  # names that infer's own tables have


def find_videos(places: list[str], output: Path | None = None) -> tuple[list[str], int]:
    """The videos at `places`, in order, each once; and how many files in folders were left out as no videos by their names.

    A place is a file, a folder (everything below it that has the suffix of a video, but for what lies in `output`), a glob,
    a .txt file with a place in each line (one that starts with `# ` is a comment), or any of them as an fsspec URL. What is not
    there is returned as it is: it gets its row as an error.
    """
    videos: list[str] = []
    others = 0
    for place in places:
        if place.lower().endswith(".txt") and Path(place).is_file():
            found, left_out = find_videos(_of_list(Path(place)), output)
        elif is_url(place):
            found, left_out = _of_url(place)
        elif Path(place).is_dir():
            found, left_out = _of_folder(Path(place), output)
        elif glob.has_magic(place) and not Path(place).exists():
            matches = sorted(path for path in glob.glob(place, recursive=True) if Path(path).is_file())  # noqa: PTH207 (not absolute)
            found, left_out = matches or [place], 0
        else:
            found, left_out = [place], 0
        videos += found
        others += left_out
    return list(dict.fromkeys(videos)), others


def _of_list(path: Path) -> list[str]:
    """The places that a list names; other lists are none. Bytes that are no UTF-8 stay as they are: file names may have such."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines())
    return [line for line in lines if line and not line.startswith("# ") and not line.lower().endswith(".txt")]


def _of_folder(folder: Path, output: Path | None) -> tuple[list[str], int]:
    skip = output.resolve() if output else None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [
        path for path in files if skip is None or skip == folder.resolve() or not path.resolve().is_relative_to(skip)
    ]
    videos = [str(path) for path in files if path.suffix.lower() in SUFFIXES]
    return videos, len(files) - len(videos)


def _of_url(url: str) -> tuple[list[str], int]:
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url)
        if glob.has_magic(path):
            return [system.unstrip_protocol(match) for match in sorted(system.glob(path))] or [url], 0
        if Path(path).suffix.lower() in SUFFIXES or not system.isdir(path):
            return [url], 0
        files = sorted(system.find(path))
    except (OSError, ValueError, ImportError):
        return [url], 0  # opening it will say what is wrong, in its row
    videos = [system.unstrip_protocol(file) for file in files if Path(file).suffix.lower() in SUFFIXES]
    return videos, len(files) - len(videos)


def is_url(place: str) -> bool:
    return "://" in place


def name_videos(videos: list[str]) -> list[str]:
    """A `video_id` for each, fit for a file name: its own name without suffix, numbered where two share it."""
    names: list[str] = []
    taken = set(RESERVED)
    for video in videos:
        stem = Path(video.split("?")[0] if is_url(video) else video).stem
        stem = "".join("_" if unicodedata.category(c) == "Cc" else c for c in printable(stem).replace("\\", "_"))
        stem = stem.encode()[:LONGEST_NAME].decode(errors="ignore") or "video"
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def printable(place: str) -> str:
    """A path that is not valid UTF-8 with its odd bytes written out, so that it can stand in a table."""
    return os.fsencode(place).decode("utf-8", "backslashreplace")


@contextmanager
def local_file(place: str) -> Iterator[Path]:
    """The file itself, or a copy of what the URL `place` gives, which lasts as long as the context.

    Raises VideoError where it cannot be fetched.
    """
    if not is_url(place):
        yield Path(place)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{Path(place.split('?')[0]).suffix[:8]}"
        try:
            with fsspec.open(place, "rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except Exception as error:  # each file system raises kinds of its own, all of which mean: not to be had
            raise VideoError(f"{place} cannot be fetched: {type(error).__name__}: {error}") from error
        yield path
