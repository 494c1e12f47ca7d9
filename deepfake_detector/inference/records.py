"""The record of a video, as JSON beside its pictures. It is written before them, as soon as there is a verdict."""

import json
from typing import Any

from deepfake_detector.faces.remote import local_path
from deepfake_detector.faces.sources import is_url, printable
from deepfake_detector.files import atomic_path, file_sha256
from deepfake_detector.inference.prediction_task import OutputError, PredictionTask

PICTURES = {"timeline": ".png", "contact sheet": ".faces.png", "annotated video": ".mp4"}  # with the suffix of the file
TO_DRAW = "to_draw"  # the key of the record that lists pictures to come; a finished record has none


def start_record(
    task: PredictionTask, prediction: dict[str, Any], sha256: str | None, to_draw: list[str]
) -> dict[str, Any]:
    """Write and return the record of a verdict, and delete the pictures of an earlier one, which show another verdict.

    Args:
        prediction: the record of a Prediction.
        sha256: of the video; None if it could not be read.
        to_draw: keys of PICTURES that are still to be drawn.

    Raises:
        OutputError: if it cannot be written.
    """
    for name in {*_earlier_pictures(task), *to_draw}:
        task.result_path(PICTURES[name]).unlink(missing_ok=True)
    record = {"filepath": printable(task.video), "video_id": task.video_id, **prediction}
    record |= {"sha256": sha256, "settings": task.settings.record()}
    return _write(task, record | ({TO_DRAW: to_draw} if to_draw else {}))


def _earlier_pictures(task: PredictionTask) -> list[str]:
    """The pictures that go with the record which an earlier run left, of any video and settings."""
    try:
        settings = json.loads(task.result_path(".json").read_text(encoding="utf-8"))["settings"]
        drawn = {"timeline": settings["timeline"], "annotated video": settings["overlay"] != "none"}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [name for name, is_drawn in drawn.items() if is_drawn]


def amend_record(task: PredictionTask, record: dict[str, Any], drawn: list[str], problem: str = "") -> dict[str, Any]:
    """Write and return the record without `drawn` in its list of pictures to come, and with a `problem` in its message.

    Raises OutputError if it cannot be written.
    """
    message = "; ".join(filter(None, [record["message"], printable(problem)]))
    to_draw = [name for name in record[TO_DRAW] if name not in drawn]
    amended = {key: value for key, value in record.items() if key != TO_DRAW} | {"message": message}
    return _write(task, amended | ({TO_DRAW: to_draw} if to_draw else {}))


def give_up_pictures(task: PredictionTask, reason: str) -> dict[str, Any] | None:
    """End the record of a video whose pictures were interrupted: its message says which are missing and why.

    Returns:
        The record; None if there is no verdict yet.
    """
    record = read_record(task)
    if not record or TO_DRAW not in record:
        return None
    missing = [name for name in record[TO_DRAW] if not task.result_path(PICTURES[name]).exists()]
    names, verb = " and ".join(f"the {name}" for name in missing), "was" if len(missing) == 1 else "were"
    problem = f"{names} {verb} not finished: {reason}" if missing else ""
    return amend_record(task, record, record[TO_DRAW], problem)


def read_record(task: PredictionTask) -> dict[str, Any] | None:
    """The record that an earlier run wrote for the same file (by SHA-256) and the same settings; None without one."""
    try:
        record = json.loads(task.result_path(".json").read_text(encoding="utf-8"))
        same_task = (record["filepath"], record["settings"]) == (printable(task.video), task.settings.record())
        if same_task and (is_url(task.video) or file_sha256(local_path(task.video)) == record["sha256"]):
            return dict(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # no JSON, or that of another program
    return None


def _write(task: PredictionTask, record: dict[str, Any]) -> dict[str, Any]:
    try:
        with atomic_path(task.result_path(".json")) as part:
            part.write_text(json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"results cannot be written: {error}") from error
    return record
