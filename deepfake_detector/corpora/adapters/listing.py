"""What an adapter returns: rows of the labels CSV, and the files that belong to no row."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake_detector.corpora.labels import OPTIONAL, REQUIRED
from deepfake_detector.faces.sources import files_below, split_by_suffix

LABEL_COLUMNS = (*REQUIRED, *OPTIONAL)
SHOWN = 10  # names that a message lists


class CorpusError(Exception):
    """The folder is not that corpus, or its lists cannot be read. The message says what was expected."""


@dataclass
class Listing:
    """Rows of the labels CSV, and files without a row.

    Attributes:
        rows: column -> text; absent columns are empty.
        missing: files that an official list or the metadata name and that are not there.
        unlisted: videos that are there and that no list or naming scheme explains.
        others: the number of files that are no videos, by suffix.
        notes: further remarks for the user.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def list_videos(self, root: Path) -> list[str]:
        """Paths of all videos below `root`, relative to it, with forward slashes, sorted; count all other files.

        Raises CorpusError if a folder cannot be searched.
        """
        files, unreadable = files_below(root)
        if unreadable and root.is_dir():
            raise CorpusError(f"{unreadable[0]} cannot be searched; make it readable, or remove it from {root}")
        videos, self.others = split_by_suffix([path.relative_to(root).as_posix() for path in files])
        return sorted(videos)

    def table(self) -> pd.DataFrame:
        """The rows as text: the columns of LABEL_COLUMNS, then all others, without optional columns that are empty.

        Raises CorpusError if a file name is not UTF-8.
        """
        try:
            table = pd.DataFrame(self.rows).fillna("")
        except UnicodeEncodeError as error:
            raise CorpusError(f"{error.object!r} is not UTF-8 text; rename that file or folder") from error
        names = [name for name in LABEL_COLUMNS if name in table] + [
            name for name in table if name not in LABEL_COLUMNS
        ]
        return table[[name for name in names if name not in OPTIONAL or (table[name] != "").any()]]


def video_ids(paths: list[str]) -> list[str]:
    """A `video_id` for each path: its parts without the suffix, or with it where two would have one name."""
    names = [path.rsplit(".", 1)[0].replace("/", "_") for path in paths]
    count = Counter(names)
    return [  # a_b.mp4 beside a/b.mp4, or a.mp4 beside a.mov
        name if count[name] == 1 else path.replace("_", "__").replace("/", "_").replace(".", "_")
        for name, path in zip(names, paths, strict=True)
    ]


def unexpected_folder(root: Path, corpus: str, expected: str) -> CorpusError:
    """The error for a folder that is not `corpus`. It names what was expected and what is there."""
    if not root.is_dir():
        return CorpusError(f"{root} is not a folder")
    entries = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    found = ", ".join(entries[:SHOWN]) + more or "nothing"
    return CorpusError(f"{root} is not {corpus}: expected {expected}; found {found}")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file. Raises CorpusError."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as UTF-8 text: {error}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises CorpusError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{path} cannot be read as JSON: {error}") from error


def first_file(folders: Iterable[Path], name: str) -> Path | None:
    """The path of the file `name` in the first of the folders that has it."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
