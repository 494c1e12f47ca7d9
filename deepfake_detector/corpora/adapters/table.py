"""Any table whose columns have other names."""

import csv
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.adapters.listing import LABEL_COLUMNS, CorpusError, Listing, video_ids
from deepfake_detector.faces.sources import is_file

TITLE = "any table, with --columns and --labels"


def read(root: Path, path: Path, columns: dict[str, str], words: dict[str, str]) -> Listing:
    """Rows of the table, in its order, with all of its columns.

    Args:
        root: folder that relative file paths in the table start from.
        path: the table, with any separator.
        columns: column of the labels CSV -> column of the table. Columns with equal names need no entry.
        words: label of the table (in any case) -> real or fake.

    Raises CorpusError.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder")
    table = _rename(_read(path), path, columns)
    names = [name.replace("\\", "/") for name in table["filepath"]]
    if "video_id" not in table:
        table["video_id"] = video_ids(names)
    words = {word.lower(): label for word, label in words.items()}
    table["label"] = [words.get(word.lower(), word) for word in table["label"]]
    listing = Listing(rows=table.to_dict("records"))
    listing.missing = [name for name in names if "://" not in name and not is_file(str(root / name))]
    if len(listing.missing) == len(table):
        examples = ", ".join(listing.missing[:3])
        raise CorpusError(f"{root} has none of the {len(table)} files that {path} names: {examples}")
    listed = {name.removeprefix("./") for name in names}
    videos = listing.list_videos(root)
    listing.unlisted = [name for name in videos if name not in listed and str(root / name) not in listed]
    return listing


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python")
    except (OSError, ValueError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read as CSV: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise CorpusError(f"{path} has rows with more fields than the {len(table.columns)} columns of its header")
    table.columns = table.columns.str.strip()
    table = table.fillna("").apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)]  # a spreadsheet writes an empty row as separators
    if table.empty:
        raise CorpusError(f"{path} lists no video")
    return table


def _rename(table: pd.DataFrame, path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """The table with the column names of the labels CSV. Raises CorpusError if a name is unknown or ambiguous."""
    theirs = ", ".join(table.columns)
    unknown = [name for name in columns if name not in LABEL_COLUMNS] + [
        name for name in columns.values() if name not in table
    ]
    if unknown:
        raise CorpusError(
            f"--columns: {', '.join(unknown)} unknown; the labels CSV has {', '.join(LABEL_COLUMNS)}; "
            f"{path} has {theirs}"
        )
    if twice := (set(table) - set(columns.values())) & set(columns):
        raise CorpusError(f"--columns: {path} itself has a column {', '.join(sorted(twice))}; rename that column first")
    renamed = table.rename(columns={theirs: ours for ours, theirs in columns.items()})
    if missing := [name for name in ("filepath", "label") if name not in renamed]:
        raise CorpusError(
            f"{path} has no column {' or '.join(missing)}; it has {theirs}. Name one, as in "
            f"--columns {missing[0]}={table.columns[0]}"
        )
    return renamed
