"""The trial by hostile inputs in a short form, and that it sees what it looks for."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.torture import __main__ as command
from benchmarks.torture.mutants import MUTATIONS, write_mutants
from benchmarks.torture.tally import (
    FAULTS,
    HANG,
    LOST_ROW,
    TRACEBACK,
    WRONG_BYTES,
    Fault,
    Tally,
    as_rows,
    read_rows,
    table,
)
from benchmarks.torture.trial import Run, Started, try_each
from benchmarks.torture.videos import archive_problem, changed_result, report_problem, row_problem

ROOT = Path(__file__).parent.parent
ROW = {"verdict": "real", "probability": "0.25", "message": ""}
REPORT = {"video_id": "a", "status": "ok", "reason": "", "faces": "1"}


def test_no_hostile_input_ends_in_a_traceback_a_hang_a_lost_row_or_wrong_bytes():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.torture", "--most", "10"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kinds = {line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines() if line.startswith("| ")}
    assert set(command.KINDS) < kinds


def kind_of(problem):
    return problem and problem[0]


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (Run(0, "all well", 0, False), None),
        (Run(2, "error: no such file", 0, False), None),
        (Run(0, "Traceback (most recent call last):\nKeyError: 1\n", 0, False), TRACEBACK),
        (Run(1, "", 0, False), TRACEBACK),
        (Run(-11, "", 0, False), TRACEBACK),
        (Run(-9, "", 0, True), HANG),
    ],
)
def test_end_of_a_run_is_judged(run, kind):
    assert kind_of(run.problem()) == kind


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (ROW, None),
        (None, LOST_ROW),
        (ROW | {"verdict": "error", "probability": "", "message": "a.mp4 is damaged from its start"}, None),
        (ROW | {"verdict": "error", "probability": ""}, LOST_ROW),
        (ROW | {"verdict": "maybe"}, LOST_ROW),
        (ROW | {"probability": ""}, LOST_ROW),
        (ROW | {"message": "it took longer than infer.timeout = 9 seconds"}, HANG),
        (ROW | {"message": "the timeline could not be written: KeyError: 3"}, TRACEBACK),
        (ROW | {"message": "ProcessExpired: Abnormal termination"}, TRACEBACK),
    ],
)
def test_row_of_a_video_is_judged(row, kind):
    assert kind_of(row_problem(row)) == kind


def test_report_and_archive_of_a_video_are_judged(tmp_path):
    assert report_problem(REPORT) is None and kind_of(report_problem(None)) == LOST_ROW
    assert kind_of(report_problem(REPORT | {"status": "unreadable"})) == LOST_ROW
    assert kind_of(report_problem(REPORT | {"status": "crashed", "reason": "its process died (SIGSEGV)"})) == TRACEBACK
    assert kind_of(archive_problem(REPORT, tmp_path, {"a": {"x.jpg"}})) == WRONG_BYTES


def test_result_that_differs_from_that_of_the_clip_alone_is_found(tmp_path):
    for folder, path in (("a", "alone/x.mp4"), ("b", "together/x.mp4")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.json").write_text(f'{{"filepath": "{path}", "verdict": "real"}}')
        for suffix in (".mp4", ".png"):
            (tmp_path / folder / f"x{suffix}").write_bytes(b"picture")
    assert changed_result(tmp_path / "a", tmp_path / "b", "x") is None
    (tmp_path / "b/x.png").write_bytes(b"another")
    assert kind_of(changed_result(tmp_path / "a", tmp_path / "b", "x")) == WRONG_BYTES


def act(how):
    if how == "wait":
        time.sleep(60)
    if how == "raise":
        raise KeyError(how)
    return (WRONG_BYTES, how) if how == "wrong" else None


def test_call_that_raises_waits_or_is_wrong_is_counted():
    tally = Tally()
    try_each(tally, act, {how: how for how in ("raise", "wait", "wrong", "well")}, seconds=5)
    assert tally.tried == 4 and tally.peak > 1e7
    assert {fault.name: fault.kind for fault in tally.faults} == {
        "raise": TRACEBACK,
        "wait": HANG,
        "wrong": WRONG_BYTES,
    }


def test_run_beyond_its_time_is_ended_and_is_a_hang(tmp_path):
    run = Started("none", [], tmp_path, launcher="import time; time.sleep(60)", limit=0.5).wait()
    assert kind_of(run.problem()) == HANG


def test_table_counts_each_kind_of_fault_and_the_largest_process():
    faults = [Fault(FAULTS[0], "a", ""), Fault(FAULTS[0], "b", ""), Fault(FAULTS[3], "b", "")]
    rows = as_rows({"one": Tally(5, faults, 300_000_000), "two": Tally(2, [], 1_100_000_000, "needs root")})
    lines = table(rows).splitlines()
    assert lines[2] == "| one | 5 | 2 | 0 | 0 | 1 | 0.3 |" and lines[3] == "| two | 2 | 0 | 0 | 0 | 0 | 1.1 |"
    assert lines[4] == "| all | 7 | 2 | 0 | 0 | 1 | 1.1 |"
    assert lines[-1] == "two: needs root." and read_rows(table(rows)) == rows


def test_rows_of_a_kind_take_the_place_of_the_earlier_ones(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n" + "".join(command.MARKS) + "after\n")
    monkeypatch.setattr(command, "PAGE", page)
    command.write_page("By `x`", {"URLs": Tally(5), "kills": Tally(3)})
    command.write_page("By `x`", {"kills": Tally(7, note="slow")})
    start, end = command.MARKS
    text = page.read_text().removeprefix(f"before\n{start}").removesuffix(f"{end}after\n")
    assert text.count("By `x`:") == 1 and read_rows(text) == as_rows({"URLs": Tally(5), "kills": Tally(7, note="slow")})
    assert "| all | 12 |" in text


def test_same_seed_makes_the_same_mutants(tmp_path, real_clip):
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        paths = write_mutants([real_clip], tmp_path / name, len(MUTATIONS), seed)
        made.append({path.name: path.read_bytes()[:100_000] for path in paths})
    assert made[0] == made[1] != made[2] and len(made[0]) == len(MUTATIONS)
