"""What became of the inputs of one kind, and the table over all kinds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# What must not happen to any input, as the columns of the table name it.
TRACEBACK, HANG, LOST_ROW, WRONG_BYTES = FAULTS = ("tracebacks", "hangs", "lost rows", "wrong bytes")
ALL_KINDS = "all"
NOTE = re.compile(r"[^|:`]+: ")


class Fault(NamedTuple):
    """One of FAULTS, the input that it happened to, and what was seen."""

    kind: str
    name: str
    seen: str


@dataclass
class Tally:
    """The inputs of one kind: how many were `tried`, their `faults`, and the largest process in bytes."""

    tried: int = 0
    faults: list[Fault] = field(default_factory=list)
    peak: int = 0
    note: str = ""  # why some or all were not tried

    def add(self, name: str, problem: tuple[str, str] | None, peak: int = 0) -> None:
        """Count the input `name`; `problem` is one of FAULTS and what was seen."""
        self.tried += 1
        self.blame(name, problem)
        self.peak = max(self.peak, peak)

    def blame(self, name: str, problem: tuple[str, str] | None) -> None:
        """Note a problem of an input that is counted already."""
        if problem:
            self.faults.append(Fault(problem[0], name, problem[1]))

    def count(self, kind: str) -> int:
        return sum(fault.kind == kind for fault in self.faults)


class Row(NamedTuple):
    """A row of the table: a kind of input, how many were tried, how often each of FAULTS occurred, and gigabytes."""

    kind: str
    counts: tuple[int, ...]
    peak: float
    note: str = ""


def as_rows(tallies: dict[str, Tally]) -> list[Row]:
    return [
        Row(kind, (tally.tried, *map(tally.count, FAULTS)), round(tally.peak / 1e9, 1), tally.note)
        for kind, tally in tallies.items()
    ]


def table(rows: Sequence[Row]) -> str:
    """The table in Markdown, with a row for all kinds together, and the notes below it."""
    lines = ["| kind of input | tried | " + " | ".join(FAULTS) + " | largest process, GB |"]
    lines.append("|---|" + "---:|" * (len(FAULTS) + 2))
    sums = tuple(map(sum, zip(*(row.counts for row in rows), strict=True)))
    for row in [*rows, Row(ALL_KINDS, sums, max(row.peak for row in rows))]:
        lines.append(f"| {row.kind} | {' | '.join(map(str, row.counts))} | {row.peak:.1f} |")
    return "\n".join([*lines, *(f"\n{row.kind}: {row.note}." for row in rows if row.note)])


def read_rows(text: str) -> list[Row]:
    """The rows of a table that `table` wrote, without that for all kinds."""
    notes = dict(line.removesuffix(".").split(": ", 1) for line in text.splitlines() if NOTE.match(line))
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| .* \| \d", line)]
    rows = [(kind, tuple(map(int, counts)), float(peak)) for kind, *counts, peak in cells]
    return [Row(kind, counts, peak, notes.get(kind, "")) for kind, counts, peak in rows if kind != ALL_KINDS]
