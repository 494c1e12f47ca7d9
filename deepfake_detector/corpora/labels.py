"""The labels CSV: the one way in which a corpus enters the pipeline."""

import csv
import io
import os.path
import re
import unicodedata
from pathlib import Path

import pandas as pd

from stages.params import Data, fail

REQUIRED = ("video_id", "filepath", "label")
LABELS = {"real": 0, "0": 0, "fake": 1, "1": 1}
SUBSETS = ("", "train", "val", "test")
SHOWN = 50
UNREADABLE = "\N{REPLACEMENT CHARACTER}"


class LabelsError(Exception):
    """The labels CSV breaks its contract; the message lists every problem with its row."""


def labels_or_fail(data: Data) -> pd.DataFrame:
    """`read_labels` for a stage: ends it with the list of problems."""
    try:
        return read_labels(data.labels, data.videos)
    except LabelsError as error:
        fail(str(error))


def read_labels(path: Path | str, videos: Path | str, files: bool = False) -> pd.DataFrame:
    """Read and check a labels CSV.

    Args:
        path: the CSV; columns `video_id,filepath,label` and any others.
        videos: folder that relative `filepath`s start from.
        files: whether a file that is not there is a problem, too; the extract stage reports those by itself.

    Returns:
        The rows in their order, all columns as text (empty where absent), but `label` as 0 (real) or 1 (fake); `filepath` as
        written, and `path` resolved: below `videos`, absolute, or a URL.

    Raises:
        LabelsError: with every problem in one message; rows are numbered as a text editor shows them, the header being 1.
    """
    path, videos = Path(path), Path(videos)
    table = _read_text(path)
    table.columns = table.columns.str.strip().str.lower()
    twice = table.columns[table.columns.duplicated()]
    missing = [column for column in REQUIRED if column not in table]
    if missing:
        raise LabelsError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}")
    if len(twice):
        raise LabelsError(f"{path} has the column {twice[0]} twice")
    table = table[(table != "").any(axis=1)]  # an empty line is no row, but counts in the numbering
    if table.empty:
        raise LabelsError(f"{path} lists no video")
    table = table.apply(lambda column: column.str.strip())
    table["path"] = [_resolve(filepath, videos) for filepath in table["filepath"]]
    problems = _problems(table, videos) + (_missing_files(table) if files else [])
    if problems:
        shown = "\n".join(f"  row {row + 2}: {text}" for row, text in sorted(problems)[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise LabelsError(f"{path} has {len(problems)} problem(s):\n{shown}{more}")
    table["label"] = table["label"].str.lower().map(LABELS).astype(int)
    return table.reset_index(drop=True)


def _read_text(path: Path) -> pd.DataFrame:
    """The table as text, with UNREADABLE for bytes that are not UTF-8."""
    try:
        table = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
            skipinitialspace=True,
            skip_blank_lines=False,
        )
    except FileNotFoundError:
        raise LabelsError(
            f"{path} does not exist; set data.labels to your labels CSV, or run the sample stage"
        ) from None
    except OSError as error:
        raise LabelsError(f"{path} cannot be read: {error.strerror}") from error
    except pd.errors.EmptyDataError as error:
        raise LabelsError(f"{path} is not a CSV table: {error}") from error
    except pd.errors.ParserError as error:
        raise LabelsError(_long_rows(path) or f"{path} is not a CSV table: {error}") from error
    if not isinstance(
        table.index, pd.RangeIndex
    ):  # the first row is longer than the header, so that all columns are shifted
        raise LabelsError(_long_rows(path))
    if UNREADABLE in "".join(table.columns):
        raise LabelsError(f"{path}, row 1, is not UTF-8 text; save the file as UTF-8")
    return table


def _long_rows(path: Path) -> str:
    """The rows with more fields than the header has columns, as a message; empty if there are none."""
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8-sig", "replace")), skipinitialspace=True)
    except csv.Error:
        return ""
    long = [f"  row {number}: {len(row)} fields" for number, row in enumerate(rows, 2) if len(row) > len(header)]
    more = f"\n  and {len(long) - SHOWN} more" if len(long) > SHOWN else ""
    title = f"{path} has {len(header)} columns, but {len(long)} row(s) with more fields (a comma too many, or text to quote):\n"
    return title + "\n".join(long[:SHOWN]) + more if long else ""


def _resolve(filepath: str, videos: Path) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", filepath) or not filepath:
        return filepath
    return str(videos / filepath.replace("\\", "/"))


def _problems(table: pd.DataFrame, videos: Path) -> list[tuple[int, str]]:
    """(row, what is wrong) of every row that breaks the contract."""
    name, filepath, label, path = (table[column] for column in ("video_id", "filepath", "label", "path"))
    normal = name.map(_composed)
    word = label.str.lower()
    unread = table.apply(lambda column: column.str.contains(UNREADABLE, regex=False)).any(axis=1)
    cannot = name.isin(["", ".", ".."]) | name.str.contains(r"[/\\\0]")
    problems = [
        (row, f"video_id {name[row]!r} cannot name a file: it must not be empty or hold / or \\")
        for row in _rows(cannot)
    ]
    first = _first_rows(normal)
    problems += [
        (row, f"video_id {name[row]!r} is in row {first[row] + 2} already")
        for row in _rows(normal.duplicated() & ~cannot & ~unread)
    ]
    problems += [(row, "not UTF-8 text; save the file as UTF-8") for row in _rows(unread)]
    problems += [(row, "filepath is empty") for row in _rows(filepath == "")]
    place = path.map(lambda path: _composed(os.path.normpath(path)))
    first = _first_rows(place)
    for row in _rows(place.duplicated() & (filepath != "") & ~unread):
        other = word[first[row]]
        contrary = f" as {other}, here as {word[row]}" if LABELS.get(other) != LABELS.get(word[row]) else ""
        problems.append((row, f"filepath {filepath[row]!r} is in row {first[row] + 2} already{contrary}"))
    root = videos.resolve()
    for row in _rows(filepath.str.contains("..", regex=False)):
        text = filepath[row].replace("\\", "/")
        climbs = not Path(text).is_absolute() and ".." in text.split("/") and path[row] != filepath[row]
        if climbs and not Path(path[row]).resolve().is_relative_to(root):
            problems.append((row, f"filepath {filepath[row]!r} climbs out of {videos}"))
    problems += [(row, f"label {label[row]!r} is neither real (0) nor fake (1)") for row in _rows(~word.isin(LABELS))]
    if "subset" in table:
        odd = ~table["subset"].str.lower().isin(SUBSETS)
        problems += [(row, f"subset {table['subset'][row]!r} is none of train, val, test") for row in _rows(odd)]
    return problems


def _missing_files(table: pd.DataFrame) -> list[tuple[int, str]]:
    absent = table["path"].map(lambda path: bool(path) and "://" not in path and not Path(path).is_file())
    return [(row, f"filepath {table['filepath'][row]!r}: there is no such file") for row in _rows(absent)]


def _rows(mask: pd.Series) -> list[int]:
    return mask.index[mask].tolist()


def _first_rows(values: pd.Series) -> pd.Series:
    """For each row the row in which its value is first."""
    rows = pd.Series(values.index, index=values.index)
    return rows.groupby(values.to_numpy()).transform("first")


def _composed(text: str) -> str:
    """One spelling of accented letters, which file systems write in two ways."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
