"""Runs that are killed, run out of disk, or meet another one; then the same command again, and the bytes compared."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.torture.tally import TRACEBACK, WRONG_BYTES, Tally
from benchmarks.torture.trial import (
    DETECTOR,
    Problem,
    Run,
    Started,
    Workshop,
    difference,
    digests,
    run_stage,
    side_by_side,
)

SIGNALS = {"SIGKILL": (signal.SIGKILL, 1), "SIGTERM": (signal.SIGTERM, 1), "SIGINT": (signal.SIGINT, 3)}
ENDED = (0, 2, 3, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
IN_WINDOWS, AT_TIMES, WITHOUT_WORKER = 24, 9, 2  # runs that are killed
EARLIEST = 0.1  # share of the time of a run before which Python may not have loaded anything of it
DISKS = 8  # sizes of the full disk
TOGETHER = 2  # times that two runs of each sort meet
# Starts a stage as `python -m` does, and sends it a signal before or after one of its changes to the file system.
MEETINGS = (("infer", True), ("extract", True), ("extract", False), ("split", True))  # stage, on the same output or not
LAUNCHER = """
import os, runpy, signal, sys
number, moment, name, times = (os.environ[key] for key in ("AT", "MOMENT", "SIGNAL", "TIMES"))
number, times = int(number), int(times)
count = 0
def send():
    for _ in range(times):
        os.kill(os.getpid(), getattr(signal, name))
def watched(change):
    def changed(*given, **options):
        global count
        count += 1
        if count == number and moment == "before":
            send()
        result = change(*given, **options)
        if count == number and moment == "after":
            send()
        return result
    return changed
stage = sys.argv.pop(1)
sys.argv[0] = "-m"
sys.path.insert(0, os.environ["PYTHONPATH"])
import stages
for change in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
    setattr(os, change, watched(getattr(os, change)))
try:
    runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)
finally:
    if number == 0:
        print(f"changes: {count}")
"""


@dataclass(frozen=True)
class Job:
    """A stage with its arguments, and its outputs, which are all in the folder `out`."""

    stage: str
    arguments: Sequence[object]


JOBS = {
    "infer": Job("infer", ["videos", "--checkpoint", DETECTOR, "--output", "out", "--workers", 1]),
    "extract": Job(
        "extract",
        [
            *("--data.videos", "videos", "--data.labels", "none", "--data.faces", "out/faces"),
            *("--data.index", "out/faces.parquet", "--cache", "cache", "--frames", 4, "--size", 64),
            *("--workers", 1),
        ],
    ),
    "split": Job(
        "split", ["--data.labels", "labels.csv", "--data.videos", "videos", "--data.splits", "out/splits.csv"]
    ),
}


def prepare(shop: Workshop, name: str, videos: int = 2) -> Path:
    """A room with some short videos and a labels CSV."""
    room = shop.room(name)
    (room / "videos").mkdir()
    for i, clip in enumerate(shop.clips[:videos]):
        shutil.copy(clip, room / "videos" / f"{i}{clip.suffix}")
    rows = [f"v{i},{i}.mp4,{'fake' if i % 2 else 'real'},p{i // 2}" for i in range(40)]
    (room / "labels.csv").write_text("\n".join(["video_id,filepath,label,identity", *rows]) + "\n")
    return room


def undisturbed(shop: Workshop, job: Job, name: str) -> tuple[dict[str, str], Run, float]:
    """The outputs of a run that nothing disturbs, the run, which says how many changes it made, and its seconds."""
    room = prepare(shop, name)
    start = time.monotonic()
    run = start_watched(job, room, 0, "", "SIGINT", 0).wait()
    return digests(room / "out"), run, time.monotonic() - start


def start_watched(job: Job, room: Path, at: int, moment: str, name: str, times: int) -> Started:
    settings = {"AT": str(at), "MOMENT": moment, "SIGNAL": name, "TIMES": str(times)}
    return Started(job.stage, job.arguments, room, launcher=LAUNCHER, settings=settings)


@dataclass(frozen=True)
class Kill:
    """A signal to a run: at the change number `at`, or after this share of its time; or to one of its workers."""

    job: str
    signal: str
    at: int = 0
    moment: str = ""
    share: float = 0.0
    to_worker: bool = False


def killed(shop: Workshop) -> Tally:
    """Killed inside the windows of writing and swapping, and at any time; then resumed."""
    tally = Tally()
    known = {name: undisturbed(shop, job, f"whole-{name}") for name, job in JOBS.items()}
    kills = []
    rng = shop.rng(1)
    for name, (_, run, _) in known.items():
        tally.blame(name, run.problem())
        changes = int(run.said.rpartition("changes: ")[2])
        windows = [(at, moment) for at in range(1, changes + 1) for moment in ("before", "after")]
        for at, moment in shop.choose(windows, IN_WINDOWS // len(JOBS)):
            kills.append(Kill(name, str(rng.choice(list(SIGNALS))), at, moment))
        for _ in range(AT_TIMES // len(JOBS)):
            kills.append(Kill(name, str(rng.choice(list(SIGNALS))), share=float(rng.uniform(EARLIEST, 1))))
    for i in range(WITHOUT_WORKER):
        kills.append(Kill(("infer", "extract")[i % 2], "SIGKILL", share=0.5 + 0.1 * i, to_worker=True))

    def attempt(task: tuple[int, Kill]) -> tuple[list[Run], Problem]:
        number, kill = task
        room = prepare(shop, f"kill-{number}")
        expected, _, seconds = known[kill.job]
        job = JOBS[kill.job]
        first = _kill(kill, job, room, seconds)
        second = run_stage(job.stage, *job.arguments, folder=room)
        found = digests(room / "out")
        shutil.rmtree(room)
        wrong = difference(expected, found)
        return [first, second], (WRONG_BYTES, wrong) if wrong else None

    kills = shop.choose(kills, shop.few)
    for kill, (runs, problem) in zip(kills, side_by_side(attempt, list(enumerate(kills))), strict=True):
        codes = [ENDED, (0,)]
        problems = [run.problem(allowed) for run, allowed in zip(runs, codes, strict=True)]
        tally.add(str(kill), next(filter(None, [*problems, problem]), None), max(run.peak for run in runs))
    return tally


def _kill(kill: Kill, job: Job, room: Path, seconds: float) -> Run:
    number, times = SIGNALS[kill.signal]
    if kill.at:
        return start_watched(job, room, kill.at, kill.moment, kill.signal, times).wait()
    started = Started(job.stage, job.arguments, room)
    time.sleep(seconds * kill.share)
    targets = _workers(started.process.pid)[:1] if kill.to_worker else [started.process.pid]
    for target in targets * times:
        with suppress(ProcessLookupError):  # a worker may have ended
            os.kill(target, number)
    return started.wait()


def _workers(process: int) -> list[int]:
    """The process numbers of the children that work on videos."""
    children = Path(f"/proc/{process}/task/{process}/children")
    found = [int(word) for word in children.read_text().split()] if children.exists() else []
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def full_disk(shop: Workshop) -> Tally:
    """Outputs on a disk that is too small, which then grows: a sentence first, and the same bytes afterwards."""
    tally = Tally()
    expected = {name: undisturbed(shop, JOBS[name], f"room-{name}")[0] for name in ("infer", "extract")}
    largest = 8 * 2**20
    sizes = [int(4096 * (largest / 4096) ** (i / (DISKS - 1))) // 4096 * 4096 for i in range(DISKS)]
    tasks = shop.choose([(name, size) for size in sizes for name in expected], shop.few)

    def attempt(task: tuple[str, int]) -> tuple[list[Run], Problem]:
        name, size = task
        room = prepare(shop, f"disk-{name}-{size}")
        with small_disk(room / "out", size) as grow:
            first = run_stage(JOBS[name].stage, *JOBS[name].arguments, folder=room)
            grow()
            second = run_stage(JOBS[name].stage, *JOBS[name].arguments, folder=room)
            wrong = difference(expected[name], digests(room / "out"))
        return [first, second], (WRONG_BYTES, wrong) if wrong else None

    try:
        with small_disk(shop.room("probe") / "out", 4096):
            pass
    except (OSError, subprocess.CalledProcessError):
        return Tally(note=f"none of {len(tasks)} tried: mounting a small disk needs root")
    for task, (runs, problem) in zip(tasks, side_by_side(attempt, tasks), strict=True):
        problems = [runs[0].problem((0, 2, 3)), runs[1].problem((0,)), problem]
        tally.add(str(task), next(filter(None, problems), None), max(run.peak for run in runs))
    return tally


def together(shop: Workshop) -> Tally:
    """Two runs at once on one output, or on one cache: each ends well or says why not, and the bytes are right."""
    tally = Tally()
    expected = {name: undisturbed(shop, job, f"one-{name}")[0] for name, job in JOBS.items()}
    tasks = shop.choose([(name, same, i) for i in range(TOGETHER) for name, same in MEETINGS], shop.few)
    for task in tasks:
        name, same, i = task
        job, room = JOBS[name], prepare(shop, f"two-{name}-{same}-{i}")
        others = list(job.arguments) if same else [str(word).replace("out", "out2") for word in job.arguments]
        first = Started(job.stage, job.arguments, room)
        time.sleep(float(shop.rng(i).random()) * 2)
        second = Started(job.stage, others, room)
        runs = [first.wait(), second.wait()]
        problems = [run.problem((0, 2)) for run in runs]
        if min(run.code for run in runs) > 0:
            problems.append((TRACEBACK, "both gave up"))
        for folder in {"out", "out" if same else "out2"}:
            found = {f"out/{key.partition('/')[2]}": value for key, value in digests(room / folder).items()}
            wrong = difference(expected[name], found)
            problems.append((WRONG_BYTES, wrong) if wrong else None)
        tally.add(str(task), next(filter(None, problems), None), max(run.peak for run in runs))
    return tally


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], object]]:
    """A disk of `size` bytes at `folder`; the block gets a function that makes it large enough."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "torture", folder], check=True, capture_output=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64M", folder], check=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
