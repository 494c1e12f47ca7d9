"""Any CSV whose columns have other names."""

import csv
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.adapters.listing import COLUMNS, CorpusError, Listing, videos_below

NAME = "csv"


def read(root: Path, path: Path, columns: dict[str, str], words: dict[str, str]) -> Listing:
    """Rows of the table `path`, in its order, all of its columns kept.

    Args:
        root: folder that file paths in the table start from.
        columns: our name of a column -> the table's; those with our name already need no entry.
        words: the table's label (in any case) -> real or fake.

    Raises CorpusError.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is no folder")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python")
    except (OSError, ValueError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read as CSV: {error}") from error
    if table.empty:
        raise CorpusError(f"{path} lists no video")
    if not isinstance(table.index, pd.RangeIndex):
        raise CorpusError(f"{path} has rows with more fields than the {len(table.columns)} columns of its header")
    odd = [ours for ours in columns if ours not in COLUMNS]
    absent = [theirs for theirs in columns.values() if theirs not in table]
    if odd or absent:
        raise CorpusError(
            f"--columns: {', '.join(odd + absent)} unknown; ours are {', '.join(COLUMNS)}, {path} has {', '.join(table.columns)}"
        )
    kept = set(table) - set(columns.values())
    if both := kept & set(columns):
        raise CorpusError(
            f"--columns: {path} has a column {', '.join(sorted(both))} of its own, too; rename that first"
        )
    table = table.rename(columns={theirs: ours for ours, theirs in columns.items()})
    lacking = [name for name in ("filepath", "label") if name not in table]
    if lacking:
        raise CorpusError(
            f"{path} has no column {' nor '.join(lacking)}; it has {', '.join(table.columns)}: name one, as in "
            f"--columns {lacking[0]}={table.columns[0]}"
        )
    if "video_id" not in table:
        table["video_id"] = [name.replace("\\", "/").rsplit(".", 1)[0].replace("/", "_") for name in table["filepath"]]
    table["label"] = [words.get(word.strip().lower(), word) for word in table["label"]]
    listing = Listing(rows=table.to_dict("records"))
    listing.missing = [
        name for name in table["filepath"] if "://" not in name and not (root / name.replace("\\", "/")).is_file()
    ]
    if len(listing.missing) == len(table):
        raise CorpusError(
            f"{root} has none of the {len(table)} files that {path} names: {', '.join(listing.missing[:3])}"
        )
    named = {name.replace("\\", "/").removeprefix("./") for name in table["filepath"]}
    listing.unlisted = [video for video in videos_below(root) if video not in named and str(root / video) not in named]
    return listing
