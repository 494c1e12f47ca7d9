"""Many videos in worker processes: their records, the tables of their results, and what an interrupted run finished."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_detector.faces.sources import is_url, printable
from deepfake_detector.files import atomic_path, file_sha256
from deepfake_detector.inference.prediction_task import CAUTION, FATAL_ERRORS, PredictionTask, run_task
from deepfake_detector.parallel_map import parallel_map
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

    A task is finished if its JSON, which is written last of all, names the same file (by SHA-256) and the same
    settings. Errors are not finished: they are tried again.
    """
    rows = {}
    for i, task in enumerate(tasks):
        try:
            record = json.loads(task.result_path(".json").read_text(encoding="utf-8"))
            same_task = (record["filepath"], record["settings"]) == (printable(task.video), task.settings.record())
            if same_task and record["verdict"] != "error" and _same_file(task, record["sha256"]):
                rows[i] = table_row(record)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no JSON, or that of another program: the video is predicted again
    return rows


def _same_file(task: PredictionTask, sha256: str) -> bool:
    return is_url(task.video) or file_sha256(task.video) == sha256


def run_tasks(
    tasks: Sequence[PredictionTask], workers: int, timeout: float, executor: str = "local", gpus_per_worker: float = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Predict all tasks in `workers` processes (0: one for each core), and give position and record as they finish.

    The processes run on this machine (`executor` local), or on a Ray cluster (ray) with a share of a GPU for each.

    A video that crashes its process or takes longer than `timeout` seconds gets a record with the verdict `error`.

    Raises:
        CheckpointError, DeviceError, OutputError: as `predict_video` does.
        ClusterError: if the Ray cluster cannot be used.
    """
    if not tasks:
        return
    spread = partial(ray_map, gpus_per_worker=gpus_per_worker) if executor == "ray" else parallel_map
    for position, result in spread(run_task, tasks, workers, "infer", "video", timeout):
        if isinstance(result, FATAL_ERRORS):
            raise result
        if isinstance(result, BaseException):
            from deepfake_detector.inference.predict import record_error  # here: what it imports takes seconds

            task = tasks[position]
            result = record_error(task, _describe(task.video, result, timeout))
        yield position, result


def _describe(video: str, error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"{video} took longer than infer.timeout = {timeout:g} seconds"
    return f"{video}: {type(error).__name__}: {error}"


def write_tables(rows: Sequence[Row], settings: dict[str, object], folder: Path) -> None:
    """Write predictions.csv and predictions.json, each atomically."""
    content = {"note": CAUTION, "settings": settings, "videos": rows}
    with atomic_path(folder / "predictions.json") as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic_path(folder / "predictions.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, TABLE_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def delete_partial_files(tasks: Sequence[PredictionTask], folder: Path) -> None:
    """Delete the temporary files that a killed process left."""
    names = {"predictions", *(task.video_id for task in tasks)}
    for path in folder.glob("*.part"):
        match = re.fullmatch(r"(.+?)(\.faces)?\.(json|csv|mp4|png)\.\d+\.part", path.name)
        if match and match[1] in names:
            path.unlink(missing_ok=True)
