"""Predict whether videos are fake: a verdict, an annotated video and a timeline for each.

    python -m stages.infer clip.mp4
    python -m stages.infer folder/ 'more/**/*.mov' list.txt https://host/clip.mp4 --output judged
    python -m stages.infer clips/ --checkpoint checkpoints/best.onnx --overlay none --timeline false

A bare argument is a file, a folder, a glob, an fsspec URL, or a .txt file with one of these on each line. The suffix
of the checkpoint names the runtime: .safetensors PyTorch, .onnx ONNX Runtime. To resume an interrupted run, give the
same command again. A score is evidence, not proof. Exit status 0: every video has a verdict (no_face is one);
infer.error_status: some videos could not be read; 2: the command is wrong.
"""

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from deepfake_detector.faces.remote import local_path
from deepfake_detector.faces.sources import describe_others, file_mode, find_videos, name_videos
from deepfake_detector.files import lock_file
from deepfake_detector.foreign_text import terminal_text
from deepfake_detector.inference.batch_prediction import (
    TABLE_COLUMNS,
    Row,
    delete_partial_files,
    finished_rows,
    run_tasks,
    table_row,
    write_tables,
)
from deepfake_detector.inference.prediction_task import (
    CAUTION,
    FATAL_ERRORS,
    PredictionSettings,
    PredictionTask,
    backend_name,
    verdict_text,
)
from deepfake_detector.ray_map import ClusterError
from stages.params import Infer, fail, parse, say


def main() -> None:
    params = parse("infer", __doc__ or "", operands="infer.videos").infer
    output = Path(params.output)
    videos, others = choose_videos(params, output)
    try:
        tasks = prediction_tasks(params, videos)
        output.mkdir(parents=True, exist_ok=True)
        rows = predict_all(tasks, output, params)
    except (*FATAL_ERRORS, ClusterError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"results cannot be written: {error}")
    counts = Counter(row["verdict"] for row in rows)
    summary = ", ".join(f"{count} {verdict_text(verdict)}" for verdict, count in sorted(counts.items()))
    say(f"{summary}; see {output}")
    if others:
        say(f"Files in folders that are no videos by their suffix: {describe_others(others)}")
    say(CAUTION)
    sys.exit(params.error_status if counts["error"] else 0)


def choose_videos(params: Infer, output: Path) -> tuple[list[str], Counter[str]]:
    """The videos that infer.videos names, and how many other files are in its folders, by suffix."""
    sources = [params.videos] if isinstance(params.videos, str) else list(params.videos)
    videos, others = find_videos(sources, output, params.url_limits)
    if not videos:
        rest = f"; files there that are no videos by their suffix: {describe_others(others)}" if others else ""
        fail(f"no video in {', '.join(sources)}{rest}")
    for video in videos:
        if file_mode(local_path(video)) and Path(local_path(video)).resolve().parent == output.resolve():
            fail(
                f"infer.output = {params.output!r} holds {video}, which results might overwrite; choose another folder"
            )
    return videos, others


def prediction_tasks(params: Infer, videos: list[str]) -> list[PredictionTask]:
    """A task for each video. Raises CheckpointError where there is no detector."""
    if params.overlay == "heatmap" and backend_name(params.checkpoint) != "torch":
        fail("infer.overlay = 'heatmap' needs gradients, which only a .safetensors checkpoint gives")
    settings = PredictionSettings.with_checkpoint(
        params.checkpoint,
        prior=params.prior,
        fps=params.fps,
        max_people=params.max_people,
        overlay=params.overlay,
        timeline=params.timeline,
    )
    return [
        PredictionTask(video, video_id, params.output, settings, params.device, url_limits=params.url_limits)
        for video, video_id in zip(videos, name_videos(videos), strict=True)
    ]


def predict_all(tasks: Sequence[PredictionTask], output: Path, params: Infer) -> list[Row]:
    """Predict what an interrupted run did not finish, write the tables, and return the rows in the order of `tasks`.

    During the run `predictions.csv.part` holds the rows so far, as they finished. Its presence marks a run as
    interrupted. A lock on it keeps other runs out of the folder.
    """
    unfinished = output / "predictions.csv.part"
    interrupted = unfinished.exists()
    with open_for_one_run(unfinished) as file:
        rows = finished_rows(tasks) if interrupted else {}
        if rows:
            say(f"{len(rows)} of {len(tasks)} videos were finished before; resuming with the others")
        remaining = [i for i in range(len(tasks)) if i not in rows]
        file.truncate(0)
        table = csv.DictWriter(file, TABLE_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows.values())
        spread = run_tasks(
            [tasks[i] for i in remaining],
            params.workers,
            params.timeout,
            params.memory,
            params.executor,
            params.gpus_per_worker,
        )
        for position, record in spread:
            row = rows[remaining[position]] = table_row(record)
            table.writerow(row)
            file.flush()
            text = verdict_text(record["verdict"], record["probability"], record["threshold"])
            shown = "; ".join(filter(None, [f"{record['filepath']}: {text}", record["message"]]))
            tqdm.write(terminal_text(shown))
        ordered = [rows[i] for i in range(len(tasks))]
        write_tables(ordered, tasks[0].settings.record(), output)
        delete_partial_files(tasks, output)
    unfinished.unlink()
    return ordered


def open_for_one_run(path: Path) -> IO[str]:
    """The file, open to append to, that only one run has at a time where the file system knows locks."""
    try:
        return lock_file(path)
    except BlockingIOError:
        fail(f"{path.parent} is in use by another run; wait for its end, or choose another folder for infer.output")
    except OSError:
        return path.open("a", newline="", encoding="utf-8")


if __name__ == "__main__":
    main()
