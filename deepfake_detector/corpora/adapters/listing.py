"""What an adapter returns: rows of the labels CSV, and the files that belong to no row."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake_detector.corpora.labels import REQUIRED
from deepfake_detector.faces.sources import VIDEO_SUFFIXES

OPTIONAL = ("identity", "donor", "source_video", "method", "quality", "subset", "upload")
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
        notes: further remarks for the user.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """The rows as text: the columns of LABEL_COLUMNS, then all others, without optional columns that are empty."""
        table = pd.DataFrame(self.rows).fillna("")
        names = [name for name in LABEL_COLUMNS if name in table] + [
            name for name in table if name not in LABEL_COLUMNS
        ]
        return table[[name for name in names if name not in OPTIONAL or (table[name] != "").any()]]


def list_videos(root: Path) -> list[str]:
    """Paths of all videos below `root`, relative to it, with forward slashes, sorted. Links to folders are followed."""
    found = []
    visited = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in visited:
            folders.clear()  # a link that leads back
            continue
        visited.add(real)
        paths = (Path(folder, name) for name in files)
        found += [path.relative_to(root).as_posix() for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    return sorted(found)


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
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as JSON: {error}") from error


def first_file(folders: Iterable[Path], name: str) -> Path | None:
    """The path of the file `name` in the first of the folders that has it."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
