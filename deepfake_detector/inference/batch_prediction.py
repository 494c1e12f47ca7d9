"""Many videos in worker processes: their records, the tables of their results, and what an interrupted run finished."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_detector.files import atomic_path
from deepfake_detector.foreign_text import spreadsheet_cell
from deepfake_detector.inference.prediction_task import CAUTION, FATAL_ERRORS, PredictionTask, run_task
from deepfake_detector.inference.records import TO_DRAW, give_up_pictures, read_record
from deepfake_detector.parallel_map import is_memory_error, parallel_map
from deepfake_detector.ray_map import ray_map

Row = dict[str, Any]
# Other programs read these.
TABLE_COLUMNS = ["filepath", "video_id", "verdict", "probability", "frames", "faces", "message"]
TABLE_COLUMNS += ["frames_wanted", "frames_with_face", "person", "prior", "faces_too_small"]
TABLE_COLUMNS += ["suspicious_from", "suspicious_to", "suspicious_probability"]


def table_row(record: dict[str, Any]) -> Row:
    """The columns of the tables from the record of a video."""
    return {column: record[column] for column in TABLE_COLUMNS}


def finished_rows(tasks: Sequence[PredictionTask]) -> dict[int, Row]:
    """Rows of the tasks that an earlier run finished, by position in `tasks`.

    A task is finished if there is a record of the same file and the same settings, and no picture is to come. Errors
    are not finished: they are tried again.
    """
    records = {i: read_record(task) for i, task in enumerate(tasks)}
    return {
        i: table_row(record)
        for i, record in records.items()
        if record and record.keys() >= set(TABLE_COLUMNS) and TO_DRAW not in record and record["verdict"] != "error"
    }


def run_tasks(
    tasks: Sequence[PredictionTask],
    workers: int,
    timeout: float,
    memory: float,
    executor: str = "local",
    gpus_per_worker: float = 0,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Predict all tasks in `workers` processes (0: one for each core), and give position and record as they finish.

    The processes run on this machine (`executor` local), or on a Ray cluster (ray) with a share of a GPU for each.

    A video that crashes its process, takes longer than `timeout` seconds or needs more than `memory` gigabytes keeps
    the verdict that it has by then, and loses the pictures to come. Without a verdict it gets a record with the verdict
    `error`.

    Raises:
        one of FATAL_ERRORS, as `predict_video` does.
        ClusterError: if the Ray cluster cannot be used.
    """
    if not tasks:
        return
    spread = partial(ray_map, gpus_per_worker=gpus_per_worker) if executor == "ray" else parallel_map
    for position, result in spread(run_task, tasks, workers, "infer", "video", timeout, memory):
        if isinstance(result, FATAL_ERRORS):
            raise result
        if isinstance(result, BaseException):
            result = _end_record(tasks[position], result, timeout, memory)
        yield position, result


def _end_record(task: PredictionTask, error: BaseException, timeout: float, memory: float) -> dict[str, Any]:
    """The record of a task that was interrupted: with its verdict if there is one, else with the verdict `error`."""
    if isinstance(error, TimeoutError):
        problem = f" took longer than infer.timeout = {timeout:g} seconds"
    elif is_memory_error(error):
        problem = f" needed more than infer.memory = {memory:g} gigabytes"
    else:
        problem = f": {type(error).__name__}: {error}"
    record = give_up_pictures(task, f"it{problem}".removeprefix("it: "))
    if record:
        return record
    from deepfake_detector.inference.predict import record_error  # here: what it imports takes seconds

    return record_error(task, f"{task.video}{problem}")


def write_tables(rows: Sequence[Row], settings: dict[str, object], folder: Path) -> None:
    """Write predictions.csv and predictions.json, each atomically. The CSV has no formula for a spreadsheet."""
    content = {"note": CAUTION, "settings": settings, "videos": rows}
    with atomic_path(folder / "predictions.json") as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic_path(folder / "predictions.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, TABLE_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows({column: spreadsheet_cell(value) for column, value in row.items()} for row in rows)


def delete_partial_files(tasks: Sequence[PredictionTask], folder: Path) -> None:
    """Delete the temporary files that a killed process left."""
    names = {"predictions", *(task.video_id for task in tasks)}
    for path in folder.glob("*.part"):
        match = re.fullmatch(r"(.+?)(\.faces)?\.(json|csv|mp4|png)\.\d+\.part", path.name)
        if match and match[1] in names:
            path.unlink(missing_ok=True)
