"""Write the labels CSV of a corpus, or check a labels CSV.

    python -m deepfake_detector.corpora faceforensics ROOT --output labels.csv
    python -m deepfake_detector.corpora csv ROOT --output labels.csv --table mine.csv \\
        --columns filepath=clip label=class --labels genuine=real spoof=fake
    python -m deepfake_detector.corpora check ROOT --table labels.csv

Then set data.videos to ROOT and data.labels to the labels CSV in params.yaml.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake_detector.corpora.adapters import ADAPTERS
from deepfake_detector.corpora.adapters.listing import SHOWN, CorpusError, Listing
from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.faces.sources import describe_others
from deepfake_detector.files import atomic_path
from deepfake_detector.foreign_text import terminal_lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(argv)
    if given.name in ("csv", "check") and not given.table:
        parser.error(f"{given.name} needs --table")
    if given.name != "check" and not given.output:
        parser.error(f"{given.name} needs --output")
    try:
        if given.name == "check":
            print_counts(read_labels(given.table, given.root, files=True))
            show(f"{given.table} is valid.")
        else:
            options: dict[str, Any] = {}
            if given.name == "csv":
                options = {"path": given.table, "columns": _mapping(given.columns), "words": _mapping(given.labels)}
            listing = ADAPTERS[given.name].read(given.root, **options)
            print_counts(write_labels(listing.table(), given.output, given.root))
            print_remaining(listing, given.output)
            show(
                f"{given.output}: {len(listing.rows)} videos. "
                f"In params.yaml set data.videos: {given.root} and data.labels: {given.output}"
            )
    except (CorpusError, LabelsError) as error:
        parser.exit(2, terminal_lines(f"error: {error}\n"))


def show(text: str) -> None:
    """Print `text`. The names in it are a stranger's: no character of them commands the terminal."""
    print(terminal_lines(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m deepfake_detector.corpora", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [f"{name}: {adapter.TITLE}" for name, adapter in ADAPTERS.items()]
    names.append("check: report every problem of a labels CSV")
    parser.add_argument("name", choices=[*ADAPTERS, "check"], help="\n".join(names))
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the corpus")
    parser.add_argument("--output", type=Path, help="labels CSV to write")
    parser.add_argument("--table", type=Path, help="csv, check: the table to read")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="OURS=THEIRS",
        help="csv: column of the labels CSV = column of the table",
    )
    parser.add_argument(
        "--labels", nargs="+", default=[], metavar="WORD=real|fake", help="csv: label in the table = real or fake"
    )
    return parser


def _mapping(words: list[str]) -> dict[str, str]:
    """Words of the form name=value as a dictionary. Raises CorpusError."""
    if odd := [word for word in words if "=" not in word]:
        raise CorpusError(f"{odd[0]!r} has no =; write it like filepath=clip")
    mapping = dict(word.split("=", 1) for word in words)
    if len(mapping) < len(words):
        raise CorpusError(f"{' '.join(words)}: a name is before = more than once")
    return mapping


def write_labels(rows: pd.DataFrame, path: Path, root: Path) -> pd.DataFrame:
    """Write the labels CSV, and return it as `read_labels` reads it.

    Raises LabelsError if it is not valid, and CorpusError if it cannot be written; nothing is written then.
    """
    try:
        with atomic_path(path) as part:
            rows.to_csv(part, index=False, lineterminator="\n")
            try:
                return read_labels(part, root)
            except LabelsError as error:
                raise LabelsError(str(error).replace(str(part), f"{path} (not written)")) from None
    except (OSError, UnicodeEncodeError) as error:
        raise CorpusError(f"{path} cannot be written: {error}") from error


def print_counts(labels: pd.DataFrame) -> None:
    """Print the number of videos by label, method, quality and official partition."""
    words = labels.assign(label=labels["label"].map({0: "real", 1: "fake"}))
    for column in ("label", "method", "quality", "subset"):
        if column in words:
            counts = words[column].replace("", "(none)").value_counts()
            show(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


def print_remaining(listing: Listing, output: Path) -> None:
    """Print the files without a row. Longer lists are written beside the labels CSV, one name a line."""
    for title, names in (("listed but missing", listing.missing), ("present but unlisted", listing.unlisted)):
        more = ""
        if len(names) > SHOWN:
            path = output.with_suffix(f".{title.split()[-1]}.txt")
            path.write_text("\n".join(names) + "\n", encoding="utf-8", errors="surrogateescape")
            more = f", ...; all in {path}"
        show(f"{title}: {len(names)}" + (": " + ", ".join(names[:SHOWN]) if names else "") + more)
    show(f"no videos by their suffix: {describe_others(listing.others)}")
    for note in listing.notes:
        show(f"note: {note}")


if __name__ == "__main__":
    main(sys.argv[1:])
