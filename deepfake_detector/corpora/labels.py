"""The labels CSV, the input of the pipeline: one row for each video of a corpus."""

import os.path
import re
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.text_table import (
    UNREADABLE,
    Problems,
    composed,
    raise_problems,
    read_text,
    require_columns,
)
from deepfake_detector.corpora.text_table import LabelsError as LabelsError
from deepfake_detector.faces.extraction import INDEX_COLUMNS
from deepfake_detector.faces.sources import is_file

REQUIRED = ("video_id", "filepath", "label")
OPTIONAL = ("identity", "donor", "source_video", "method", "quality", "subset", "upload")
LABELS = {"real": 0, "0": 0, "fake": 1, "1": 1}


def read_labels(path: Path | str, videos: Path | str, files: bool = False, subset: str = "") -> pd.DataFrame:
    """Read and check a labels CSV.

    Args:
        path: the CSV, with the columns `video_id,filepath,label` and any others.
        videos: folder that relative file paths start from.
        files: whether a missing file is a problem. The extract stage reports missing files itself.
        subset: a value of the column `subset`; the other rows are left out. Empty: all rows.

    Returns:
        The rows in their order. All columns are text, empty where absent, except `label`: 0 (real) or 1 (fake).
        `filepath` is as written; `path` is resolved: below `videos`, absolute, or a URL. A `source_video` that is the
        `filepath` of a row, in any spelling, becomes its `video_id`. A column with the name of one of the face index,
        such as `time`, becomes `labels_time`, so that tables of both can be joined.

    Raises:
        LabelsError: with all problems in one message. Rows are numbered as a text editor numbers lines; the header is
            row 1.
    """
    path, videos = Path(path), Path(videos)
    table = read_text(path, "set data.labels to your labels CSV, or run the sample stage")
    table.columns = table.columns.str.strip().str.lower()
    require_columns(table, REQUIRED, path)
    table = table.rename(columns={name: f"labels_{name}" for name in (*INDEX_COLUMNS[1:], "path") if name in table})
    twice = [name for name in (*REQUIRED, *OPTIONAL) if f"{name}.1" in table]  # as pandas calls the second
    if twice := [*twice, *table.columns[table.columns.duplicated()]]:
        raise LabelsError(f"{path} has the column {twice[0]} twice")
    table = table.apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)]  # an empty line is no video, but it counts in the numbering
    if table.empty:
        raise LabelsError(f"{path} lists no video")
    for name in table.columns.drop("filepath"):
        table[name] = table[name].map(composed)
    if "subset" in table:
        table["subset"] = table["subset"].str.lower()
    table["path"] = [_resolve(filepath, videos) for filepath in table["filepath"]]
    if "source_video" in table:
        ids = dict(zip(table["path"].map(_one_spelling), table["video_id"], strict=True))
        known = set(table["video_id"]) | {""}
        table["source_video"] = [
            name if name in known else ids.get(_one_spelling(_resolve(name, videos)), name)
            for name in table["source_video"]
        ]
    unreadable = table.apply(lambda column: column.str.contains(UNREADABLE, regex=False)).any(axis=1)
    problems = [(row, "not UTF-8 text; save the file as UTF-8") for row in _rows(unreadable)]
    problems += _id_problems(table, unreadable) + _path_problems(table, videos, unreadable) + _label_problems(table)
    problems += _missing_files(table) if files else []
    raise_problems(problems, path)
    table["label"] = table["label"].str.lower().map(LABELS).astype(int)
    return _in_subset(table, subset.lower(), path).reset_index(drop=True)


def _in_subset(table: pd.DataFrame, subset: str, path: Path) -> pd.DataFrame:
    if not subset:
        return table
    subsets = table["subset"] if "subset" in table else pd.Series("", index=table.index)
    if subset not in set(subsets):
        found = ", ".join(sorted(set(subsets) - {""})) or "not named"
        raise LabelsError(f"{path} has no video with the subset {subset!r}; its subsets are {found}")
    return table[subsets == subset]


def _resolve(filepath: str, videos: Path) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", filepath) or not filepath:
        return filepath
    return str(videos / filepath.replace("\\", "/"))


def _one_spelling(path: str) -> str:
    """What all spellings of a resolved path have in common."""
    return composed(os.path.normpath(path if "://" in path else Path.cwd() / path))


def _id_problems(table: pd.DataFrame, unreadable: pd.Series) -> Problems:
    """Ids that cannot name a file, and duplicate ids."""
    name = table["video_id"]
    invalid = name.isin(["", ".", ".."]) | name.str.contains(r"[/\\\0\r]")
    folded = name.str.casefold()  # some file systems take A and a for one name
    first = _first_rows(folded)
    rule = "cannot name a file: it must not be empty or contain /, \\ or a carriage return"
    problems = [(row, f"video_id {name[row]!r} {rule}") for row in _rows(invalid)]
    for row in _rows(folded.duplicated() & ~invalid & ~unreadable):
        other = name[first[row]]
        written = f" as {other!r}" if other != name[row] else ""
        problems.append((row, f"video_id {name[row]!r} is in row {first[row] + 2} already{written}"))
    return problems


def _path_problems(table: pd.DataFrame, videos: Path, unreadable: pd.Series) -> Problems:
    """Empty paths, files that are listed twice, and paths that leave the folder of the videos."""
    filepath, path, label = table["filepath"], table["path"], table["label"].str.lower()
    problems = [(row, "filepath is empty") for row in _rows(filepath == "")]
    normal = path.map(_one_spelling)
    first = _first_rows(normal)
    for row in _rows(normal.duplicated() & (filepath != "") & ~unreadable):
        other = label[first[row]]
        contradiction = f" as {other}, here as {label[row]}" if LABELS.get(other) != LABELS.get(label[row]) else ""
        problems.append((row, f"filepath {filepath[row]!r} is in row {first[row] + 2} already{contradiction}"))
    root = videos.resolve()
    for row in _rows(filepath.str.contains("..", regex=False)):
        text = filepath[row].replace("\\", "/")
        relative = not Path(text).is_absolute() and ".." in text.split("/") and path[row] != filepath[row]
        if relative and "\0" not in text and not Path(path[row]).resolve().is_relative_to(root):
            problems.append((row, f"filepath {filepath[row]!r} leaves the folder {videos}"))
    return problems


def _label_problems(table: pd.DataFrame) -> Problems:
    label = table["label"]
    odd = ~label.str.lower().isin(LABELS)
    problems = [(row, f"label {label[row]!r} is neither real (0) nor fake (1)") for row in _rows(odd)]
    if "subset" in table:
        subset = table["subset"]
        odd = ~subset.isin(["", *PARTITIONS])
        problems += [(row, f"subset {subset[row]!r} is none of {', '.join(PARTITIONS)}") for row in _rows(odd)]
    return problems


def _missing_files(table: pd.DataFrame) -> Problems:
    missing = table["path"].map(lambda path: bool(path) and "://" not in path and not is_file(path))
    return [(row, f"filepath {table['filepath'][row]!r}: there is no such file") for row in _rows(missing)]


def _rows(mask: pd.Series) -> list[int]:
    return [int(row) for row in mask.index[mask]]


def _first_rows(values: pd.Series) -> pd.Series:
    """For each row, the first row with the same value."""
    rows = pd.Series(values.index, index=values.index)
    return rows.groupby(values.to_numpy()).transform("first")
