"""Try hostile inputs on the pipeline, and write what became of them into docs/reliability.md.

    python -m benchmarks.torture [VIDEOS]
    python -m benchmarks.torture --most 24 --kinds URLs checkpoints     # a short trial of two kinds

VIDEOS is a folder of clips to damage; without it, clips of the sample corpus are made. The same seed makes the same
inputs. With --kinds only the rows of these kinds are written anew; with --most the table is printed only. Exit status
1: something happened that must not.
"""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.command import command_line
from benchmarks.torture import checkpoints, interruptions, names, settings, tables, urls, videos
from benchmarks.torture.clips import find_clips, make_sample_clips, write_short_versions
from benchmarks.torture.tally import Tally, as_rows, read_rows, table
from benchmarks.torture.trial import ROOT, Workshop

PAGE = ROOT / "docs" / "reliability.md"
MARKS = ("<!-- the table of make torture -->\n", "<!-- its end -->\n")
SEED = 1
ALL = 10**6
LARGEST_CLIP = 500_000  # bytes; larger ones are damaged in short versions only
KINDS: dict[str, Callable[[Workshop], Tally]] = {
    "videos, predicted": videos.predicted,
    "videos, extracted": videos.extracted,
    "names and special files": names.named,
    "URLs": urls.fetched,
    "params, parsed": settings.parsed,
    "params, in use": settings.in_use,
    "tables, archives, caches": tables.read,
    "checkpoints": checkpoints.opened,
    "kills": interruptions.killed,
    "full disk": interruptions.full_disk,
    "two runs at once": interruptions.together,
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("videos", nargs="?", default="", help="folder of clips to damage")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--most", type=int, default=ALL, help="inputs of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # what runs in the background ignores it, and so would stages
    with tempfile.TemporaryDirectory() as folder:
        tallies = try_all(Path(folder), given.videos, given.seed, given.most, given.kinds)
    print(table(as_rows(tallies)))
    if given.most == ALL:
        clips = " VIDEOS" if given.videos else ""
        write_page(f"By `python -m benchmarks.torture{clips} --seed {given.seed}`", tallies)
    sys.exit(1 if any(tally.faults for tally in tallies.values()) else 0)


def try_all(folder: Path, videos: str, seed: int, most: int, kinds: list[str]) -> dict[str, Tally]:
    given = find_clips(videos) if videos else make_sample_clips(folder / "sample")
    small = [clip for clip in given if clip.stat().st_size <= LARGEST_CLIP]
    clips = write_short_versions(given, folder / "short") + small[:4]
    tallies = {}
    for i, kind in enumerate(kinds):
        (folder / str(i)).mkdir()
        tallies[kind] = KINDS[kind](Workshop(folder / str(i), clips, seed, most))
        print(f"{kind}: {tallies[kind].tried} tried, {len(tallies[kind].faults)} faults", file=sys.stderr)
        for fault in tallies[kind].faults:
            print(f"  {fault.kind}: {fault.name}: {fault.seen}", file=sys.stderr)
    return tallies


def write_page(title: str, tallies: dict[str, Tally]) -> None:
    """Put the rows of `tallies` into the table between its marks on the page, in the place of those of earlier runs."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    earlier, _, after = rest.partition(MARKS[1])
    rows = {row.kind: row for row in [*read_rows(earlier), *as_rows(tallies)]}
    text = f"{title}:\n\n{table([rows[kind] for kind in KINDS if kind in rows])}"
    PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
