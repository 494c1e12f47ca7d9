"""Judge videos: a verdict, an annotated video and a timeline for each.

    python -m stages.infer clip.mp4
    python -m stages.infer folder/ 'more/**/*.mov' list.txt https://host/clip.mp4 --output results
    python -m stages.infer clips/ --runtime onnx --overlay none --timeline false

PATH is a file, a folder, a glob, an fsspec URL, or a .txt file with one of these in each line. A run that was
interrupted goes on where it was: give the same command again. A score is evidence, not proof.
Exit status 0: each video has a verdict (no_face is one); 3: some could not be read; 2: a mistake in the command.
"""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deepfake_detector.faces.sources import find_videos, is_url, name_videos, printable
from deepfake_detector.files import file_sha256
from deepfake_detector.inference.task import OutputError, PredictionSettings, PredictionTask, run_task, verdict_text
from deepfake_detector.parallel_map import parallel_map
from deepfake_detector.training.detector_config import CheckpointError
from stages.params import fail, parse

COLUMNS = ["filepath", "video_id", "verdict", "probability", "frames", "faces", "message"]  # what others read
COLUMNS += ["frames_wanted", "frames_with_face", "person"]
NOTE = "A score is evidence, not proof."


def main() -> None:
    params = parse("infer", __doc__ or "", operands="infer.videos")
    chosen = params.infer
    output = Path(chosen.output)
    places = chosen.videos if isinstance(chosen.videos, list) else [chosen.videos]
    videos, others = find_videos(places, output)
    if not videos:
        fail(
            f"no video in {', '.join(places)}"
            + (f"; {others} files there are no videos by their names" if others else "")
        )
    if chosen.overlay == "heatmap" and chosen.runtime == "onnx":
        fail("infer.overlay = 'heatmap' needs gradients, which only infer.runtime = 'torch' has")
    inside = [video for video in videos if Path(video).exists() and Path(video).resolve().parent == output.resolve()]
    if inside:
        fail(
            f"infer.output = {chosen.output!r} is the folder of {inside[0]}, which results might overwrite; choose another"
        )
    try:
        settings = PredictionSettings.of(params)
        output.mkdir(parents=True, exist_ok=True)
        names = name_videos(videos)
        jobs = [
            PredictionTask(video, name, chosen.output, settings, chosen.device)
            for video, name in zip(videos, names, strict=True)
        ]
        rows = predict_all(jobs, output, chosen.workers, chosen.timeout)
    except CheckpointError as error:
        fail(str(error))
    except (OutputError, OSError) as error:
        fail(f"results cannot be written: {error}")
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    counts = Counter(row["verdict"] for row in rows)
    print(
        ", ".join(f"{count} {verdict_text(verdict)}" for verdict, count in sorted(counts.items())) + f"; see {output}"
    )
    if others:
        print(f"{others} files in folders are no videos by their names and were left out.")
    print(NOTE)
    sys.exit(3 if counts["error"] else 0)


def predict_all(jobs: list[PredictionTask], output: Path, workers: int, timeout: float) -> list[dict[str, Any]]:
    """Judge all jobs, but for those that an interrupted run finished; write the tables; return the rows in order of jobs.

    While it lasts, `predictions.csv.part` holds the rows so far, in order of finishing; it also says that the run is not over.
    """
    part = output / "predictions.csv.part"
    rows = finished(jobs) if part.exists() else {}
    if rows:
        print(f"{len(rows)} of {len(jobs)} videos were judged before; going on with the others")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows.values())
        for i, record in run_tasks(jobs, [i for i in range(len(jobs)) if i not in rows], workers, timeout):
            rows[i] = {column: record[column] for column in COLUMNS}
            table.writerow(rows[i])
            file.flush()
            tqdm.write(f"{verdict_text(rows[i]['verdict'], rows[i]['probability']):>22}  {rows[i]['filepath']}")
    ordered = [rows[i] for i in range(len(jobs))]
    write_tables(ordered, jobs, output)
    part.unlink()
    return ordered


def finished(jobs: list[PredictionTask]) -> dict[int, dict[str, Any]]:
    """Rows of the jobs whose JSON, written last of all, is there and speaks of the same file and settings. Errors are retried."""
    rows = {}
    for i, job in enumerate(jobs):
        try:
            record = json.loads(job.result(".json").read_text(encoding="utf-8"))
            same = (record["filepath"], record["settings"]) == (printable(job.place), job.settings.record())
            if (
                same
                and record["verdict"] != "error"
                and (is_url(job.place) or record["sha256"] == file_sha256(job.place))
            ):
                rows[i] = {column: record[column] for column in COLUMNS}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not there, or not ours: it is judged again
    return rows


def run_tasks(
    jobs: list[PredictionTask], positions: list[int], workers: int, timeout: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Positions of jobs with their records, as they finish: each in a process that may die without harm to the others."""
    if not positions:
        return
    for at, result in parallel_map(run_task, [jobs[i] for i in positions], workers, "infer", "video", timeout):
        job = jobs[positions[at]]
        if isinstance(result, CheckpointError | OutputError):
            raise result
        if isinstance(result, BaseException):
            from deepfake_detector.inference.predict import record_error  # here: what judges takes seconds to import

            result = record_error(job, explain(job.place, result, timeout))
        yield positions[at], result


def explain(place: str, error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"{place} took longer than infer.timeout = {timeout:g} seconds"
    return f"{place}: {type(error).__name__}: {error}"


def write_tables(rows: list[dict[str, Any]], jobs: list[PredictionTask], output: Path) -> None:
    """predictions.csv and predictions.json, each whole or not at all."""
    part = output / "predictions.json.part"
    content = {"note": NOTE, "settings": jobs[0].settings.record(), "videos": rows}
    part.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(output / "predictions.json")
    part = output / "predictions.csv.new"
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    part.replace(output / "predictions.csv")


if __name__ == "__main__":
    main()
