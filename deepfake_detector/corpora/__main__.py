"""Write the labels CSV of a corpus that you have, or check one that you wrote.

    python -m deepfake_detector.corpora faceforensics ROOT --output labels.csv
    python -m deepfake_detector.corpora csv ROOT --table mine.csv --columns filepath=clip label=class --labels genuine=real spoof=fake
    python -m deepfake_detector.corpora check ROOT --table labels.csv

Then set data.videos to ROOT and data.labels to the labels CSV in params.yaml.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.adapters import ADAPTERS, table
from deepfake_detector.corpora.adapters.listing import CorpusError, Listing
from deepfake_detector.corpora.labels import LabelsError, read_labels
from stages.params import fail

SHOWN = 10


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m deepfake_detector.corpora", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [f"{name}: {module.TITLE}" for name, module in ADAPTERS.items()]
    meanings = [
        *names,
        f"{table.NAME}: any table, columns mapped by name",
        "check: report every problem of a labels CSV",
    ]
    parser.add_argument("name", choices=[*ADAPTERS, table.NAME, "check"], help="\n".join(meanings))
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the corpus")
    parser.add_argument("--output", type=Path, help="labels CSV to write")
    parser.add_argument("--table", type=Path, help="csv, check: the table to read")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="OURS=THEIRS", help="csv: which of its columns is which of ours"
    )
    parser.add_argument("--labels", nargs="+", default=[], metavar="WORD=real|fake", help="csv: what its labels mean")
    given = parser.parse_args(argv)
    if given.name in (table.NAME, "check") and not given.table:
        parser.error(f"{given.name} needs --table")
    if given.name != "check" and not given.output:
        parser.error(f"{given.name} needs --output")
    try:
        if given.name == "check":
            print_counts(read_labels(given.table, given.root, files=True))
            print(f"{given.table} keeps to the contract.")
            return
        if given.name == table.NAME:
            columns, words = _pairs(given.columns), _pairs(given.labels)
            listing = table.read(
                given.root, given.table, columns, {word.lower(): label for word, label in words.items()}
            )
            rows = pd.DataFrame(listing.rows)
        else:
            listing = ADAPTERS[given.name].read(given.root)
            rows = listing.table()
        labels = write_checked(rows, given.output, given.root)
    except (CorpusError, LabelsError) as error:
        fail(str(error))
    print_counts(labels)
    print_rest(listing, given.output)
    print(
        f"{given.output}: {len(labels)} videos. In params.yaml set data.videos: {given.root} and data.labels: {given.output}"
    )


def write_checked(rows: pd.DataFrame, path: Path, root: Path) -> pd.DataFrame:
    """Write the labels CSV and return it as the stages will read it.

    Raises LabelsError where it breaks the contract, CorpusError where it cannot be written; nothing is written then.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(part, index=False, lineterminator="\n")
        labels = read_labels(part, root)
        part.replace(path)
    except LabelsError as error:
        raise LabelsError(str(error).replace(str(part), f"{path} (not written)")) from None
    except (OSError, UnicodeEncodeError) as error:
        raise CorpusError(f"{path} cannot be written: {error}") from error
    finally:
        if part.exists():
            part.unlink()
    return labels


def _pairs(words: list[str]) -> dict[str, str]:
    odd = [word for word in words if "=" not in word]
    if odd:
        fail(f"{odd[0]!r} has no =; write OURS=THEIRS, as in filepath=clip")
    pairs = dict(word.split("=", 1) for word in words)
    if len(pairs) < len(words):
        fail(f"{' '.join(words)}: one name stands before = more than once")
    return pairs


def print_counts(labels: pd.DataFrame) -> None:
    """How many videos there are by label, method, quality and official partition."""
    words = labels.assign(label=labels["label"].map({0: "real", 1: "fake"}))
    for column in ("label", "method", "quality", "subset"):
        if column in words:
            counts = words[column].replace("", "(none)").value_counts()
            print(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


def print_rest(listing: Listing, output: Path) -> None:
    """What was left out; lists too long to show are written beside the labels CSV, one name a line."""
    for title, names in (("listed but missing", listing.missing), ("present but unlisted", listing.unlisted)):
        more = ""
        if len(names) > SHOWN:
            path = output.with_suffix(f".{title.split()[-1]}.txt")
            path.write_text("\n".join(names) + "\n", encoding="utf-8")
            more = f", ...; all in {path}"
        print(f"{title}: {len(names)}" + (": " + ", ".join(names[:SHOWN]) if names else "") + more)
    for note in listing.notes:
        print(f"note: {note}")


if __name__ == "__main__":
    main(sys.argv[1:])
