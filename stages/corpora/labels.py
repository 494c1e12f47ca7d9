"""The labels CSV: the one way in which a corpus enters the pipeline."""

import re
import unicodedata
from pathlib import Path

import pandas as pd

from stages.params import Data, fail

REQUIRED = ("video_id", "filepath", "label")
LABELS = {"real": 0, "0": 0, "fake": 1, "1": 1}
SUBSETS = ("", "train", "val", "test")
SHOWN = 50


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
    try:
        return pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True, skip_blank_lines=False
        )
    except FileNotFoundError:
        raise LabelsError(f"{path} does not exist; set data.labels to your labels CSV, or run the sample stage") from None
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path}{_row_of(path, error)} is not UTF-8 text ({error}); save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LabelsError(f"{path} is not a CSV table: {error}") from error


def _row_of(path: Path, error: UnicodeDecodeError) -> str:
    """Where the first undecodable line is; the reader's own position counts from the start of some chunk."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line.decode("utf-8-sig")
        except UnicodeDecodeError:
            return f", row {number},"
    return ""


def _resolve(filepath: str, videos: Path) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", filepath) or not filepath:
        return filepath
    return str(videos / filepath.replace("\\", "/"))


def _problems(table: pd.DataFrame, videos: Path) -> list[tuple[int, str]]:
    """(row, what is wrong) of every row that breaks the contract."""
    name, filepath, label, path = (table[column] for column in ("video_id", "filepath", "label", "path"))
    normal = name.map(lambda text: unicodedata.normalize("NFC", text))
    word = label.str.lower()
    cannot = name.isin(["", ".", ".."]) | name.str.contains(r"[/\\\0]")
    problems = [(row, f"video_id {name[row]!r} cannot name a file: it must not be empty or hold / or \\") for row in _rows(cannot)]
    first = _first_rows(normal)
    problems += [
        (row, f"video_id {name[row]!r} is in row {first[row] + 2} already") for row in _rows(normal.duplicated() & ~cannot)
    ]
    problems += [(row, "filepath is empty") for row in _rows(filepath == "")]
    place = path.map(_plain)
    first = _first_rows(place)
    for row in _rows(place.duplicated() & (filepath != "")):
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


def _plain(path: str) -> str:
    """One spelling for each file: composed Unicode, no `./` or doubled slashes."""
    text = unicodedata.normalize("NFC", path)
    return re.sub(r"/(\./|/)+", "/", text) if "//" in text[8:] or "/./" in text else text
