"""The labels CSV: the one way in which a corpus enters the pipeline."""

from pathlib import Path

import pandas as pd

REQUIRED = ("video_id", "filepath", "label")
LABELS = {"real": 0, "0": 0, "fake": 1, "1": 1}


class LabelsError(Exception):
    """The labels CSV breaks its contract; the message lists every problem with its row."""


def read_labels(path: Path | str, videos: Path | str) -> pd.DataFrame:
    """Read and check a labels CSV.

    Args:
        path: the CSV; columns `video_id,filepath,label` and any others.
        videos: folder that relative `filepath`s start from.

    Returns:
        The rows in their order, all columns as text (empty where absent), but `label` as 0 (real) or 1 (fake); `filepath` as
        written, and `path` resolved. Files need not exist: extract reports those that do not.

    Raises:
        LabelsError: with every problem in one message; rows are numbered as a text editor shows them, the header being 1.
    """
    path, videos = Path(path), Path(videos)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except FileNotFoundError:
        raise LabelsError(f"{path} does not exist; set data.labels to your labels CSV, or run the sample stage") from None
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LabelsError(f"{path} is not a CSV table: {error}") from error
    table.columns = table.columns.str.strip().str.lower()
    missing = [column for column in REQUIRED if column not in table]
    if missing:
        raise LabelsError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}")
    if table.empty:
        raise LabelsError(f"{path} lists no video")
    table = table.apply(lambda column: column.str.strip())
    table["path"] = [str(videos / filepath.replace("\\", "/")) for filepath in table["filepath"]]
    problems = _problems(table, videos)
    if problems:
        shown = "\n".join(f"  row {row + 2}: {text}" for row, text in problems[:50])
        more = f"\n  and {len(problems) - 50} more" if len(problems) > 50 else ""
        raise LabelsError(f"{path} has {len(problems)} problem(s):\n{shown}{more}")
    table["label"] = table["label"].str.lower().map(LABELS).astype(int)
    return table


def _problems(table: pd.DataFrame, videos: Path) -> list[tuple[int, str]]:
    first_id: dict[str, int] = {}
    first_file: dict[str, int] = {}
    problems = []
    root = videos.resolve()
    for row, (name, filepath, label, path) in enumerate(
        zip(table["video_id"], table["filepath"], table["label"], table["path"], strict=True)
    ):
        if not name or name in {".", ".."} or set(name) & set("/\\\0"):
            problems.append((row, f"video_id {name!r} cannot name a file: it must not be empty or hold / or \\"))
        elif name in first_id:
            problems.append((row, f"video_id {name!r} is in row {first_id[name] + 2} already"))
        if not filepath:
            problems.append((row, "filepath is empty"))
        elif filepath in first_file:
            problems.append((row, f"filepath {filepath!r} is in row {first_file[filepath] + 2} already"))
        elif not Path(filepath).is_absolute() and ".." in Path(path).parts and not Path(path).resolve().is_relative_to(root):
            problems.append((row, f"filepath {filepath!r} climbs out of {videos}"))
        if label.lower() not in LABELS:
            problems.append((row, f"label {label!r} is neither real (0) nor fake (1)"))
        first_id.setdefault(name, row)
        first_file.setdefault(filepath, row)
    return problems
