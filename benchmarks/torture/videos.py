"""Damaged videos, predicted and extracted beside clips that nobody touched, whose results must stay the same."""

import csv
import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.torture.mutants import BUILT, GROWN_SIDES, write_grown, write_mutants
from benchmarks.torture.tally import HANG, LOST_ROW, TRACEBACK, WRONG_BYTES, Tally
from benchmarks.torture.trial import DETECTOR, EXCEPTION, STAGE_SECONDS, Problem, Run, Workshop, difference, run_stage
from deepfake_detector.faces.sources import printable
from deepfake_detector.inference.records import PICTURES
from deepfake_detector.parallel_map import parallel_map

MUTANTS = 520
VIDEO_SECONDS = 120  # that one video may take on a busy machine
VERDICTS = ("real", "fake", "uncertain", "no_face", "error")
PREDICT = ("--checkpoint", DETECTOR, "--timeout", VIDEO_SECONDS)
EXTRACT = ("--data.faces", "faces", "--data.index", "faces.parquet", "--max-failed", 1, "--timeout", VIDEO_SECONDS)
DRAWN = ("timeline", "annotated video")
CONTROL = "control"  # how the names of clips start that nobody touched


def write_videos(shop: Workshop, folder: Path) -> None:
    """Fill `folder` with mutants, files that never were videos, and untouched clips."""
    folder.mkdir()
    write_mutants(shop.clips, folder, min(MUTANTS, shop.most), shop.seed)
    for name, content in shop.choose(BUILT.items(), len(BUILT)):
        (folder / f"b-{name}").write_bytes(content)
    grown = [(folder / f"g-{side}.ts", side) for side in shop.choose(GROWN_SIDES, len(GROWN_SIDES))]
    for _, failed in parallel_map(_write_grown, grown, 1, "make", "video"):
        if failed:
            raise failed
    for i, clip in enumerate(shop.clips[:3]):
        shutil.copy(clip, folder / f"{CONTROL}-{i}{clip.suffix}")


def _write_grown(task: tuple[Path, int]) -> None:
    write_grown(*task)


def untouched(room: Path) -> None:
    """A folder `alone` with the untouched clips only."""
    (room / "alone").mkdir()
    for path in (room / "videos").glob(f"{CONTROL}*"):
        shutil.copy(path, room / "alone")


def predicted(shop: Workshop) -> Tally:
    """Each video gets a row with a verdict or a reason, and the pictures that go with a verdict."""
    room, tally = shop.room("predicted"), Tally()
    write_videos(shop, room / "videos")
    untouched(room)
    videos = sorted((room / "videos").iterdir())
    alone = run_stage("infer", "alone", "--output", "expected", *PREDICT, folder=room)
    run = run_stage("infer", "videos", "--output", "found", *PREDICT, folder=room, limit=STAGE_SECONDS * 4)
    rows = read_rows(room / "found")
    for video in videos:
        row = rows.get(f"videos/{video.name}")
        tally.add(video.name, row_problem(row) or picture_problem(row, room / "found"))
        if video.name.startswith(CONTROL):
            tally.blame(video.name, changed_result(room / "expected", room / "found", video.stem))
    return judge_runs(tally, alone, run)


def judge_runs(tally: Tally, *runs: Run) -> Tally:
    """Blame what the stages themselves did wrong."""
    for run in runs:
        tally.blame("the run", run.problem())
        tally.peak = max(tally.peak, run.peak)
    return tally


def read_rows(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of predictions.csv by file; none if there is no such table."""
    table = folder / "predictions.csv"
    if not table.exists():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        return {row["filepath"].removeprefix("'"): row for row in csv.DictReader(file)}


def row_problem(row: dict[str, str] | None) -> Problem:
    """What is wrong with the row of a video."""
    if row is None:
        return LOST_ROW, "no row"
    verdict, message = row["verdict"], row["message"]
    if verdict not in VERDICTS or (verdict == "error") != (row["probability"] == "" and verdict != "no_face"):
        return LOST_ROW, f"verdict {verdict!r} with probability {row['probability']!r}"
    if verdict == "error" and not message:
        return LOST_ROW, "an error without a reason"
    return message_problem(message)


def message_problem(message: str) -> Problem:
    if "took longer than" in message:
        return HANG, message
    return (TRACEBACK, message) if EXCEPTION.search(message) else None


def picture_problem(row: dict[str, str] | None, folder: Path, pictures: Sequence[str] = DRAWN) -> Problem:
    """Whether the record or one of the `pictures` of a row is missing."""
    if row is None:
        return None
    name = row["video_id"].removeprefix("'")
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError) as error:
        return LOST_ROW, f"record: {error}"
    if record["verdict"] != row["verdict"] or "to_draw" in record:
        return LOST_ROW, "the record is not that of the row"
    for picture in pictures if row["verdict"] != "error" else ():
        if not (folder / f"{name}{PICTURES[picture]}").exists() and picture not in row["message"]:
            return LOST_ROW, f"the {picture} is missing, and nothing says why"
    return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def changed_result(expected: Path, found: Path, name: str) -> Problem:
    """Whether a clip beside damaged ones has other results than alone."""
    for suffix in (".json", ".mp4", ".png"):
        contents = [(folder / f"{name}{suffix}").read_bytes() for folder in (expected, found)]
        if suffix == ".json":
            contents = [re.sub(rb'"filepath": "[^"]*"', b"", content) for content in contents]
        if contents[0] != contents[1]:
            return WRONG_BYTES, f"{name}{suffix}"
    return None


def extracted(shop: Workshop) -> Tally:
    """Each video has a row in the report, and each face of the index a crop in its archive."""
    room, tally = shop.room("extracted"), Tally()
    write_videos(shop, room / "videos")
    untouched(room)
    names = sorted(path.name for path in (room / "videos").iterdir())
    alone = run_stage("extract", *EXTRACT[4:], *_outputs("alone", "expected"), folder=room)
    run = run_stage("extract", *EXTRACT[4:], *_outputs("videos", "found"), folder=room, limit=STAGE_SECONDS * 4)
    judge_runs(tally, alone, run)
    report = read_report(room / "found/extract_report.csv")
    faces = room / "found/faces.parquet"
    index = pd.read_parquet(faces) if faces.exists() else pd.DataFrame({"video_id": [], "member": []})
    members = {name: set(part["member"]) for name, part in index.groupby("video_id")}
    for name in names:
        stem = Path(name).stem
        row = report.get(stem) or report.get(printable(stem))
        tally.add(name, report_problem(row) or archive_problem(row, room / "found/faces", members))
        if name.startswith(CONTROL):
            tally.blame(name, _changed_archive(room, stem))
    return tally


def _outputs(videos: str, output: str) -> tuple[object, ...]:
    tables = (
        "--data.faces",
        f"{output}/faces",
        "--data.index",
        f"{output}/faces.parquet",
        "--cache",
        f"{output}/cache",
    )
    return ("--data.videos", videos, "--data.labels", "none", *tables)


def read_report(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["video_id"]: row for row in csv.DictReader(file)}


def report_problem(row: dict[str, str] | None) -> Problem:
    if row is None:
        return LOST_ROW, "no row in the report"
    if row["status"] not in ("ok", "no_face") and not row["reason"]:
        return LOST_ROW, f"{row['status']} without a reason"
    return message_problem(row["reason"])


def archive_problem(row: dict[str, str] | None, folder: Path, members: dict[str, set[str]]) -> Problem:
    """Whether an archive lacks a face of the index, or there is one that the report does not mention."""
    if row is None:
        return None
    path, indexed = folder / f"{row['video_id']}.zip", members.get(row["video_id"], set())
    held = set(zipfile.ZipFile(path).namelist()) if path.exists() else set()
    if held != indexed or len(held) != int(row["faces"]):
        return (
            WRONG_BYTES,
            f"{row['faces']} faces in the report, {len(indexed)} in the index, {len(held)} in the archive",
        )
    return None


def _changed_archive(room: Path, name: str) -> Problem:
    paths = [room / folder / "faces" / f"{name}.zip" for folder in ("expected", "found")]
    contents = [path.read_bytes() if path.exists() else b"" for path in paths]
    return None if contents[0] == contents[1] else (WRONG_BYTES, difference({name: contents[0]}, {name: contents[1]}))
