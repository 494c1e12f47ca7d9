"""Inputs given by the user: paths, folders, globs, lists and URLs become videos, names and local files."""

import glob
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from deepfake_detector.faces.remote import (
    DEFAULT_LIMITS,
    HTTP,
    UrlLimits,
    check_scheme,
    fetched,
    is_url,
    local_path,
    open_system,
    url_schemes,
)
from deepfake_detector.faces.video_file import VideoError, check_file
from deepfake_detector.parallel_map import parallel_map

MAC_ATTRIBUTES = "._*"  # how the files that macOS names so are counted
# Kinds that FFmpeg opens and that phones, cameras, recorders, editors or the web write.
VIDEO_SUFFIXES = {
    ".264", ".265", ".266", ".360", ".3g2", ".3gp", ".3gp2", ".3gpp", ".amv", ".apng", ".asf", ".avc", ".avi", ".cmfv",
    ".dav", ".divx", ".dv", ".dvr-ms", ".evo", ".f4v", ".flv", ".gif", ".gxf", ".h264", ".h265", ".h266", ".hevc",
    ".insv", ".ismv", ".ivf", ".lrv", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg",
    ".mk3d", ".mkv", ".mod", ".mov", ".mp2v", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpeg4", ".mpg", ".mpv", ".mpv2",
    ".mqv", ".mts", ".mxf", ".nsv", ".nut", ".obu", ".ogm", ".ogv", ".ogx", ".qt", ".rm", ".rmvb", ".tod", ".tp",
    ".trp", ".ts", ".vob", ".vro", ".vvc", ".webm", ".wmv", ".wtv", ".xvid", ".y4m",
}  # fmt: skip
MAX_NAME_BYTES = 180  # of a video_id; file systems allow 255, which leaves space for suffixes
SHOWN_SUFFIXES = 10  # kinds of files that a summary names
SEARCH_SECONDS = 600  # after which the search for videos at one URL, or by one glob, is given up
SEARCH_GIGABYTES = 2  # that it may use
RESERVED_NAMES = {"predictions"}  # names of tables that stand beside the results of the videos


def find_videos(
    inputs: list[str], output: Path | None = None, limits: UrlLimits = DEFAULT_LIMITS
) -> tuple[list[str], Counter[str]]:
    """List the videos that `inputs` stand for.

    An input is one of these, or an fsspec URL of one of them, except of a list:

    - a file;
    - a folder: all files below it with a suffix of a video, except those in `output`;
    - a glob: all files that match, except those in `output`, unless the glob begins there;
    - a .txt file with one input per line. Lines that start with `# ` are comments. A list in it stands for itself.

    URLs, and globs of folders of any depth, are searched in worker processes, so that no server and no links that lead
    back can end, block or fill this one.

    Returns:
        Paths and URLs in the order of `inputs`, each once, and the number of files in folders that were left out
        because of their suffix, by suffix. An input that does not exist, cannot be searched or is beyond the `limits`
        is returned as it is; reading it fails with a message.
    """
    inputs = list(dict.fromkeys(line for given in inputs for line in _read_list(given)))
    to_search = [given for given in inputs if _is_allowed(given, limits) and _may_take_long(given)]
    searched = dict(zip(to_search, _search_all(to_search), strict=True))
    videos: list[str] = []
    others: Counter[str] = Counter()
    for given in inputs:
        if given in searched:
            found, left_out = searched[given]
        elif is_url(given) or not _is_allowed(given, limits):
            found, left_out = [given], Counter()
        else:
            found, left_out = _find_at_path(given, output)
        if output and not is_url(given) and glob.has_magic(local_path(given)):
            found = _without_results(found, given, output)
        videos += found
        others += left_out
    return list(dict.fromkeys(videos)), others


def _is_allowed(given: str, limits: UrlLimits) -> bool:
    try:
        check_scheme(given, limits)
    except VideoError:
        return False
    return True


def _read_list(given: str) -> list[str]:
    """The inputs in a list; `given` alone if it is no list that can be read.

    Bytes that are not UTF-8 stay as they are, since file names may contain them.
    """
    if not given.lower().endswith(".txt") or not is_file(given):
        return [given]
    try:
        text = Path(given).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError:
        return [given]
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("# ")]


def _find_at_path(given: str, output: Path | None) -> tuple[list[str], Counter[str]]:
    """As `find_videos`, for one path, glob or file URL."""
    path = local_path(given)
    mode = file_mode(path)
    if stat.S_ISDIR(mode):
        return _find_in_folder(Path(path), output)
    if mode or not glob.has_magic(path):
        return [given], Counter()
    try:
        return _search_glob(path) or [given], Counter()
    except (ValueError, OSError, RecursionError):  # such as a zero byte in it
        return [given], Counter()


def _search_glob(path: str) -> list[str]:
    matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (not absolute)
    return [match for match in matches if not stat.S_ISDIR(file_mode(match))]


def _without_results(found: list[str], given: str, output: Path) -> list[str]:
    """What the glob `given` found, except what is in `output`: results of an interrupted run are no videos to judge."""
    start = Path(re.split(r"[*?[]", local_path(given))[0] + "_").parent
    if start.resolve() == output.resolve():
        return found
    folders = {video: Path(video).parent.resolve() for video in found if video != given}
    return [video for video in found if video == given or not folders[video].is_relative_to(output.resolve())]


def file_mode(path: str) -> int:
    """`st_mode` of a path; 0 if there is none, or none can be, such as of a name that is too long."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return 0


def is_file(path: str) -> bool:
    return stat.S_ISREG(file_mode(path))


def _find_in_folder(folder: Path, output: Path | None) -> tuple[list[str], Counter[str]]:
    """As `find_videos`, for one folder. `output` is searched if it is the folder itself."""
    skip = output if output and output.resolve() != folder.resolve() else None
    files, unreadable = files_below(folder, skip)
    videos, others = split_by_suffix([str(path) for path in files])
    return videos + unreadable, others


def files_below(folder: Path, skip: Path | None = None) -> tuple[list[Path], list[str]]:
    """All files below `folder`, sorted, and the folders that cannot be searched. Links to folders are followed.

    Each folder is searched once, and `skip` never.
    """
    files: list[Path] = []
    unreadable: list[str] = []
    visited = {_identity(skip)} if skip and file_mode(str(skip)) else set()
    open_folders = [str(folder)]  # `os.walk` fails on deep trees: it is recursive in Python 3.11
    while open_folders:
        parent = open_folders.pop()
        try:
            if _identity(parent) in visited:  # by a link, perhaps one that leads back
                continue
            visited.add(_identity(parent))
            entries = sorted(os.scandir(parent), key=lambda entry: entry.name, reverse=True)
        except OSError:
            unreadable.append(parent)
            continue
        open_folders += [entry.path for entry in entries if _is_folder(entry)]
        files += [Path(entry.path) for entry in entries if not _is_folder(entry)]
    return sorted(files), sorted(unreadable)


def _identity(folder: Path | str) -> tuple[int, int]:
    """What is the same for all paths of one folder."""
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def split_by_suffix(files: list[str]) -> tuple[list[str], Counter[str]]:
    """Those of `files` that are videos by their suffix, and the number of others by suffix, in lower case.

    macOS writes a file `._NAME` of attributes beside each file on disks of other systems. It counts as `._*`.
    """
    kinds = [MAC_ATTRIBUTES if Path(file).name.startswith("._") else Path(file).suffix.lower() for file in files]
    videos = [file for file, kind in zip(files, kinds, strict=True) if kind in VIDEO_SUFFIXES]
    return videos, Counter(kind for kind in kinds if kind not in VIDEO_SUFFIXES)


def describe_others(others: Counter[str]) -> str:
    """Such as "12 (10 .jpg, 2 .txt)", the most frequent first."""
    if not others:
        return "0"
    kinds = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {printable(suffix) or 'without suffix'}" for suffix, count in kinds[:SHOWN_SUFFIXES]]
    if more := sum(count for _, count in kinds[SHOWN_SUFFIXES:]):
        shown.append(f"{more} of other kinds")
    return f"{others.total()} ({', '.join(shown)})"


def _search_all(inputs: list[str]) -> list[tuple[list[str], Counter[str]]]:
    """As `search`, for each input. One whose search fails stands for itself."""
    found: list[tuple[list[str], Counter[str]]] = [([given], Counter()) for given in inputs]
    if inputs:
        for i, outcome in parallel_map(search, inputs, 0, "search", "input", SEARCH_SECONDS, SEARCH_GIGABYTES):
            if not isinstance(outcome, BaseException):
                found[i] = outcome
    return found


def search(given: str) -> tuple[list[str], Counter[str]]:
    """As `find_videos`, for one URL or glob; worker processes call this. Raises anything, as file systems do."""
    if is_url(given):
        return search_url(given)
    return _search_glob(local_path(given)) or [given], Counter()


def search_url(url: str) -> tuple[list[str], Counter[str]]:
    """As `search`, for one URL."""
    system, path = open_system(url)
    if _has_magic(url):
        matches = sorted(system.glob(path, detail=True).items())
        files = [system.unstrip_protocol(match) for match, info in matches if info["type"] != "directory"]
        return files or [url], Counter()
    if not system.isdir(path):
        return [url], Counter()
    videos, others = split_by_suffix(sorted(system.find(path)))
    return [system.unstrip_protocol(file) for file in videos], others


def _may_take_long(given: str) -> bool:
    """Whether an input is a URL that may be that of a folder or a glob, or a glob of folders of any depth."""
    if not is_url(given):
        return "**" in given and not file_mode(local_path(given))
    return _has_magic(given) or Path(_url_path(given)).suffix.lower() not in VIDEO_SUFFIXES


def _has_magic(url: str) -> bool:
    return glob.has_magic(_url_path(url))


def _url_path(url: str) -> str:
    """What follows the host in a URL, without the query that HTTP has."""
    path = url.partition("://")[2].partition("/")[2]
    return re.split("[?#]", path)[0] if url_schemes(url)[0] in HTTP else path


def name_videos(videos: list[str]) -> list[str]:
    """A unique `video_id` for each path or URL, valid as a file name: its stem, with a number where two share it.

    Names are unique without regard to case and to how accents are encoded, as macOS compares them, and none is in
    RESERVED_NAMES.
    """
    names: list[str] = []
    taken = set(RESERVED_NAMES)
    numbers: dict[str, int] = {}  # by stem, the next one: ten thousand cameras may name their videos alike
    for video in videos:
        stem = Path(video.split("?")[0] if is_url(video) else video).stem
        stem = "".join("_" if unicodedata.category(c) == "Cc" else c for c in printable(stem).replace("\\", "_"))
        stem = stem.encode()[:MAX_NAME_BYTES].decode(errors="ignore") or "video"
        name, number = stem, numbers.get(stem, 2)
        while (key := unicodedata.normalize("NFC", name).casefold()) in taken:
            name, number = f"{stem}-{number}", number + 1
        numbers[stem] = number
        taken.add(key)
        names.append(name)
    return names


def printable(path: str) -> str:
    """A path as valid UTF-8, in which other bytes are written as escapes; tables can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def local_file(source: str, limits: UrlLimits = DEFAULT_LIMITS) -> Iterator[Path]:
    """A local path of `source`: the path itself, or for a URL a copy that is gone when the context ends.

    A VideoError that is raised in the context for a URL names `source`, and not the copy.

    Raises:
        VideoError: if the path is no file with content, and if the URL may not be opened or cannot be fetched.
        TemporaryFileError: if the copy cannot be stored.
    """
    check_scheme(source, limits)
    with fetched(source, limits) if is_url(source) else nullcontext(local_path(source)) as path:
        try:
            check_file(path)
            yield Path(path)
        except VideoError as error:
            if not url_schemes(source):
                raise
            raise VideoError(str(error).replace(str(path), source)) from error
