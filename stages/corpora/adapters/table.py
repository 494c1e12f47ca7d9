"""Any CSV whose columns have other names."""

from pathlib import Path

import pandas as pd

from stages.corpora.adapters.listing import COLUMNS, CorpusError, Listing, videos_below

NAME = "csv"


def read(root: Path, path: Path, columns: dict[str, str], words: dict[str, str]) -> Listing:
    """Rows of the table `path`, in its order, all of its columns kept.

    Args:
        root: folder that file paths in the table start from.
        columns: our name of a column -> the table's; those with our name already need no entry.
        words: the table's label (in any case) -> real or fake.

    Raises CorpusError.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python")
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as CSV: {error}") from error
    odd = [ours for ours in columns if ours not in COLUMNS]
    absent = [theirs for theirs in columns.values() if theirs not in table]
    if odd or absent:
        raise CorpusError(
            f"--columns: {', '.join(odd + absent)} unknown; ours are {', '.join(COLUMNS)}, {path} has {', '.join(table.columns)}"
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
    listing.missing = [name for name in table["filepath"] if "://" not in name and not (root / name.replace("\\", "/")).is_file()]
    named = {name.replace("\\", "/").removeprefix("./") for name in table["filepath"]}
    listing.unlisted = [video for video in videos_below(root) if video not in named and str(root / video) not in named]
    return listing
