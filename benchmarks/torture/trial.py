"""How inputs are tried: by a stage as a program, or by a function in worker processes."""

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from benchmarks.torture.tally import HANG, TRACEBACK, Tally
from deepfake_detector.parallel_map import parallel_map

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / "models" / "face_resnet18_int8.onnx"  # the quickest that comes with the project
STAGE_SECONDS = 900  # after which a stage counts as hanging
ITEM_SECONDS = 300  # the same for an input of a function, which may be the first to import PyTorch
ITEM_GIGABYTES = 4.0
CLEAN_CODES = (0, 2, 3)  # all went well; the command or its files are wrong; some videos cannot be read
AT_ONCE = 4  # stages, which wait for each other and for the disk
# The name of an exception in a message: nobody meant to say it.
EXCEPTION = re.compile(r"\b(?!VideoError|MemoryError)[A-Z]\w*(Error|Exception|Expired)\b|its process died|Traceback")

Item = TypeVar("Item")
Problem = tuple[str, str] | None


@dataclass(frozen=True)
class Workshop:
    """Where and on what the inputs are made: an empty `folder`, real `clips`, a `seed`, and how many at `most`."""

    folder: Path
    clips: Sequence[Path]
    seed: int
    most: int

    def rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *numbers])

    @property
    def few(self) -> int:
        """How many inputs at most of a kind in which each takes several runs of a stage."""
        return max(self.most // 12, 2)

    def choose(self, items: Iterable[Item], most: int) -> list[Item]:
        """At most `most` of the items, in their order; fewer if the workshop is for few."""
        given, most = list(items), min(most, self.most)
        if len(given) <= most:
            return given
        return [given[i] for i in sorted(self.rng(0).choice(len(given), most, replace=False).tolist())]

    def room(self, name: str) -> Path:
        """A new folder with the params of the project, for a stage to run in."""
        path = self.folder / name
        path.mkdir(parents=True)
        shutil.copy(ROOT / "params.yaml", path)
        return path


@dataclass(frozen=True)
class Run:
    """A stage that ended: its exit status, all that it said, and its largest process in bytes."""

    code: int
    said: str
    peak: int
    timed_out: bool

    def problem(self, codes: Collection[int] = CLEAN_CODES) -> Problem:
        if self.timed_out:
            return HANG, self.last_line
        if "Traceback (most recent call last)" in self.said or self.code not in codes:
            return TRACEBACK, f"exit status {self.code}: {self.last_line}"
        return None

    @property
    def last_line(self) -> str:
        return next((line for line in reversed(self.said.splitlines()) if line.strip()), "")[-300:]


class Started:
    """A stage that runs as a program of its own in `folder`, in a process group of its own."""

    def __init__(
        self,
        stage: str,
        arguments: Sequence[object],
        folder: Path,
        *,
        launcher: str = "",
        settings: Mapping[str, str] = MappingProxyType({}),
        limit: float = STAGE_SECONDS,
    ) -> None:
        """`launcher`: Python code that starts the stage, which it finds in sys.argv[1], as the `settings` in its
        environment say.
        """
        program = ["-c", launcher, stage] if launcher else ["-m", f"stages.{stage}"]
        self._said = folder / f"said-{os.urandom(4).hex()}.txt"
        environment = os.environ | {"PYTHONPATH": str(ROOT), **settings}
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *program, *map(_word, arguments)],
                cwd=folder,
                env=environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self._timed_out = False
        self._timer = threading.Timer(limit, self._stop)
        self._timer.start()

    def _stop(self) -> None:
        self._timed_out = True
        os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> Run:
        """The end. The largest process may also be one that the stage started and waited for."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self._timer.cancel()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        said = self._said.read_text(errors="replace")
        self._said.unlink()
        return Run(self.process.returncode, said, usage.ru_maxrss * 1024, self._timed_out)


def _word(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)


def run_stage(stage: str, *arguments: object, folder: Path, limit: float = STAGE_SECONDS) -> Run:
    return Started(stage, arguments, folder, limit=limit).wait()


def side_by_side(function: Callable[[Item], Any], items: Sequence[Item]) -> list[Any]:
    """The function of each item, some at a time; for functions that mostly wait for a stage."""
    with ThreadPool(AT_ONCE) as pool:
        return pool.map(function, items, chunksize=1)


def try_each(
    tally: Tally, attempt: Callable[[Any], Problem], items: Mapping[str, Any], seconds: float = ITEM_SECONDS
) -> None:
    """Call `attempt` on each item in worker processes, and count what becomes of it.

    `attempt` returns a problem or None, and an exception is a problem, too: it catches those that are meant.
    """
    names = list(items)
    work = parallel_map(partial(_measured, attempt), list(items.values()), 0, "try", "input", seconds, ITEM_GIGABYTES)
    for i, outcome in work:
        if isinstance(outcome, TimeoutError):
            tally.add(names[i], (HANG, f"more than {seconds:g} seconds"))
        elif isinstance(outcome, BaseException):
            tally.add(names[i], (TRACEBACK, f"{type(outcome).__name__}: {str(outcome)[:300]}"))
        else:
            tally.add(names[i], *outcome)


def _measured(attempt: Callable[[Any], Problem], item: Any) -> tuple[Problem, int]:
    problem = attempt(item)
    return problem, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def digests(*paths: Path) -> dict[str, str]:
    """SHA-256 of each file and of all files in each folder, by name."""
    found = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            name = f"{path.name}/{file.relative_to(path)}" if path.is_dir() else path.name
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def difference(expected: Mapping[str, object], found: Mapping[str, object]) -> str:
    """In which names two mappings differ; empty if they do not."""
    names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    return ", ".join(names[:5])
