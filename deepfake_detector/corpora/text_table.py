"""CSV tables as text, checked: what is wrong is named with its row."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

SHOWN = 50  # problems that a message lists
UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # stands for bytes that are not UTF-8
Problems = list[tuple[int, str]]  # position of a row, and what is wrong with it


class LabelsError(Exception):
    """The labels CSV, or a table that belongs to it, is not valid. The message lists every problem with its row."""


def read_table(path: Path | str, columns: Sequence[str], advice: str) -> pd.DataFrame:
    """A CSV table of the pipeline, as text, with one row for each `video_id`. It has `columns` and perhaps others.

    `advice`: what to do if there is no file. Raises LabelsError.
    """
    path = Path(path)
    table = read_text(path, advice)
    require_columns(table, columns, path)
    table["video_id"] = table["video_id"].map(composed)
    name, unreadable = table["video_id"], table.apply(lambda column: column.str.contains(UNREADABLE, regex=False))
    problems = [(row, "not UTF-8 text; save the file as UTF-8") for row in table.index[unreadable.any(axis=1)]]
    first = pd.Series(table.index, index=table.index).groupby(name.to_numpy()).transform("first")
    problems += [(row, "video_id is empty") for row in table.index[name == ""]]
    problems += [
        (row, f"video_id {name[row]!r} is in row {first[row] + 2} already")
        for row in table.index[name.duplicated() & (name != "")]
    ]
    raise_problems(problems, path)
    return table


def composed(text: str) -> str:
    """The text with composed accented letters: file systems and programs write them composed or decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def whole_numbers(table: pd.DataFrame, column: str) -> Problems:
    """The rows in which a column is no whole number."""
    odd = ~table[column].str.fullmatch(r"-?[0-9]{1,9}")
    return [(row, f"{column} {table.loc[row, column]!r} is no whole number") for row in table.index[odd]]


def require_columns(table: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raises LabelsError if a column is missing."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise LabelsError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(table.columns)}")


def raise_problems(problems: Problems, path: Path) -> None:
    """Raises LabelsError if there are problems, with their rows as a text editor numbers lines."""
    if problems:
        lines = [f"  row {row + 2}: {text}" for row, text in sorted(problems)]
        raise LabelsError(f"{path} has {len(problems)} problem(s):\n" + _first_lines(lines))


def read_text(path: Path, advice: str) -> pd.DataFrame:
    """The table as text, with UNREADABLE for bytes that are not UTF-8. `advice`: what to do if there is no file.

    Raises LabelsError.
    """
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
        raise LabelsError(f"{path} does not exist; {advice}") from None
    except OSError as error:
        raise LabelsError(f"{path} cannot be read: {error.strerror}") from error
    except pd.errors.EmptyDataError as error:
        raise LabelsError(f"{path} is not a CSV table: {error}") from error
    except pd.errors.ParserError as error:
        raise LabelsError(_long_rows(path) or f"{path} is not a CSV table: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):  # the first row is longer than the header; all columns are shifted
        raise LabelsError(_long_rows(path))
    if UNREADABLE in "".join(table.columns):
        raise LabelsError(f"{path}, row 1, is not UTF-8 text; save the file as UTF-8")
    return table


def _long_rows(path: Path) -> str:
    """A message about the rows with more fields than the header has columns; empty if there are none."""
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8-sig", "replace")), skipinitialspace=True)
    except csv.Error:
        return ""
    lines = [f"  row {number}: {len(row)} fields" for number, row in enumerate(rows, 2) if len(row) > len(header)]
    if not lines:
        return ""
    title = f"{path} has {len(header)} columns, but {len(lines)} row(s) with more fields"
    return f"{title} (a surplus comma, or text that needs quotes):\n" + _first_lines(lines)


def _first_lines(lines: list[str]) -> str:
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(lines[:SHOWN] + more)
