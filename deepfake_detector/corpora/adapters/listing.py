"""What an adapter finds: rows for the labels CSV, and what fits nowhere."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = (
    ["video_id", "filepath", "label", "identity", "donor", "source_video", "method", "quality", "subset", "upload"]
)  # fmt: skip
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"}


class CorpusError(Exception):
    """The folder is not that corpus, or its lists cannot be read; the message says what was looked for and what is there."""


@dataclass
class Listing:
    """Rows of the labels CSV (columns as in COLUMNS, absent ones empty), and what was left out.

    `missing`: files that an official list or the metadata name, but that are not there. `unlisted`: videos that are there,
    but that no list or naming scheme explains. `notes`: what else a user should know.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """The rows as text, without the optional columns that are empty throughout."""
        table = pd.DataFrame(self.rows, columns=COLUMNS).fillna("")
        return table[[name for name in table if name in COLUMNS[:3] or (table[name] != "").any()]]


def videos_below(root: Path) -> Iterator[str]:
    """Paths of all video files below `root`, relative to it, with forward slashes, sorted; links to folders are followed."""
    found = []
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(real)
        found += [
            Path(folder, name).relative_to(root).as_posix() for name in files if Path(name).suffix.lower() in VIDEOS
        ]
    return iter(sorted(found))


def refuse(root: Path, corpus: str, looked_for: str) -> CorpusError:
    """The error of a folder that is something else, with what is there."""
    if not root.is_dir():
        return CorpusError(f"{root} is no folder")
    entries = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    found = ", ".join(entries[:10]) + (f" and {len(entries) - 10} more" if len(entries) > 10 else "") or "nothing"
    return CorpusError(f"{root} is not {corpus}: looked for {looked_for}; found {found}")


def read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as UTF-8 text: {error}") from error


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as JSON: {error}") from error


def first_file(folders: Iterable[Path], name: str) -> Path | None:
    """The first of the folders that holds a file `name`, as the path of that file."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
