"""What became of the inputs of one kind, and the table over all kinds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

# What must not happen to any input, as the columns of the table name it.
TRACEBACK, HANG, LOST_ROW, WRONG_BYTES = FAULTS = ("tracebacks", "hangs", "lost rows", "wrong bytes")


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


def table(tallies: dict[str, Tally]) -> str:
    """The table in Markdown, a row for each kind and one for all."""
    lines = ["| kind of input | tried | " + " | ".join(FAULTS) + " | largest process, GB |"]
    lines.append("|---|" + "---:|" * (len(FAULTS) + 2))
    for kind, tally in (tallies | {"all": total(tallies.values())}).items():
        counts = " | ".join(str(tally.count(fault)) for fault in FAULTS)
        lines.append(f"| {kind} | {tally.tried} | {counts} | {tally.peak / 1e9:.1f} |")
    return "\n".join([*lines, *(f"\n{kind}: {tally.note}" for kind, tally in tallies.items() if tally.note)])


def total(tallies: Iterable[Tally]) -> Tally:
    parts = list(tallies)
    faults = [fault for tally in parts for fault in tally.faults]
    return Tally(sum(t.tried for t in parts), faults, max((t.peak for t in parts), default=0))
