"""Find, align and store the faces of every video in the labels CSV.

    python -m stages.extract
    python -m stages.extract --data.videos V --data.labels L.csv --data.faces OUT --data.index OUT.parquet
    python -m stages.extract --data.videos V --data.labels none --data.faces OUT --data.index OUT.parquet

Every row of the labels CSV gets a row in the report, whatever became of its video. What was done is kept in extract.cache: an
interrupted run goes on where it was, and new videos cost only themselves.
"""

import errno
import json
import shutil
import signal
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake_detector.corpora.labels import labels_or_fail
from deepfake_detector.faces.cache import FaceCache
from deepfake_detector.faces.detectors import DetectorError, create_detector, weights_hash
from deepfake_detector.faces.extraction import INDEX_COLUMNS, Geometry
from deepfake_detector.faces.job import Record, extract_video, failed_record
from deepfake_detector.faces.sources import find_videos, name_videos
from deepfake_detector.parallel_map import parallel_map
from stages.params import Data, Extract, fail, parse

STATUSES = ("ok", "partial", "no_face", "unreadable", "timeout", "crashed")
USERS_FAULT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
}  # of the machine: no property of a video


def record_of(outcome: Any, settings: Extract) -> Record:
    """The record of one video from what its worker returned, or the exception that it ended in."""
    if not isinstance(outcome, BaseException):
        return outcome
    if isinstance(outcome, TimeoutError):
        return failed_record("timeout", f"took longer than extract.timeout = {settings.timeout:g} seconds")
    if isinstance(outcome, OSError) and outcome.errno in USERS_FAULT:
        raise outcome
    if isinstance(outcome, MemoryError) or "bad_alloc" in str(outcome) or "Insufficient memory" in str(outcome):
        return failed_record("crashed", f"needed more than extract.memory = {settings.memory:g} gigabytes")
    code = getattr(outcome, "exitcode", None)
    if code is not None:
        return failed_record(
            "crashed", f"its process died ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"
        )
    return failed_record("crashed", f"{type(outcome).__name__}: {outcome}")


def listed_videos(data: Data) -> list[tuple[str, str]]:
    """(video_id, path) of every row of the labels CSV, or without one of every video in the folder."""
    if data.labels == "none":
        videos, others = find_videos([data.videos])
        if not videos or not Path(data.videos).exists():
            fail(f"data.videos = {data.videos} holds no video")
        print(f"{len(videos)} videos in {data.videos}; {others} other files left out")
        return list(zip(name_videos(videos), videos, strict=True))
    labels = labels_or_fail(data)
    return list(zip(labels["video_id"], labels["path"], strict=True))


def new_folder(folder: Path) -> Path:
    """An empty folder beside `folder`, to take its place in the end; `folder` must hold nothing but archives."""
    others = [path.name for path in folder.iterdir() if path.suffix not in (".zip", ".part")] if folder.is_dir() else []
    if others:
        fail(f"data.faces = {folder} holds {others[0]}, which is no archive of faces; give a folder of its own")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f"{folder.name}.*.part"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a run that was killed
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    made.chmod(0o755)
    return made


def extract_all(videos: list[tuple[str, str]], settings: Extract, folder: Path) -> list[Record]:
    """Archives of all `videos` in `folder`, and their records; only what the cache has not is worked on."""
    weights = weights_hash(settings.detector_weights)
    if settings.detector == "yunet":
        print(f"{settings.detector_weights}: SHA-256 {weights}")
    geometry = Geometry.of(settings)
    params = {**asdict(geometry), "detector_weights": weights, "faces": settings.faces}
    cache = FaceCache(Path(settings.cache) if settings.cache else None, params)
    keys = cache.keys([path for _, path in videos])
    records = [cache.get(key, folder / f"{name}.zip") for key, (name, _) in zip(keys, videos, strict=True)]
    missing = [i for i, record in enumerate(records) if record is None]
    first = {keys[i]: i for i in reversed(missing) if keys[i]}  # of videos with the same content only one is worked on
    work = [i for i in missing if first.get(keys[i], i) == i]
    if settings.cache and len(work) < len(videos):
        print(f"{len(videos) - len(work)} of {len(videos)} videos were seen before")
    if work and settings.detector != "centerface":
        try:
            create_detector(settings.detector, settings.threshold, settings.detector_weights)  # to fail before any work
        except DetectorError as error:
            fail(str(error))
    one = partial(extract_video, geometry=geometry, people=settings.faces, folder=folder)
    tasks = [videos[i] for i in work]
    for position, outcome in parallel_map(
        one, tasks, settings.workers, "extract", "video", settings.timeout, settings.memory
    ):
        i = work[position]
        records[i] = record = record_of(outcome, settings)
        if record["report"]["status"] in ("ok", "partial", "no_face"):
            cache.put(keys[i], folder / f"{videos[i][0]}.zip", record)
    for i in missing:
        twin = first.get(keys[i], i)
        if twin != i:
            records[i] = records[twin]
            if (archive := folder / f"{videos[twin][0]}.zip").exists():
                shutil.copyfile(archive, folder / f"{videos[i][0]}.zip")
    return [record for record in records if record]


def main() -> None:
    params = parse("extract", __doc__ or "")
    videos = listed_videos(params.data)
    faces = Path(params.data.faces)
    made = new_folder(faces)
    try:
        records = extract_all(videos, params.extract, made)
        names = [name for name, _ in videos]
        rows = [[name, *row] for name, record in zip(names, records, strict=True) for row in record["index"]]
        index = pd.DataFrame(rows, columns=INDEX_COLUMNS)
        report = pd.DataFrame(
            [{"video_id": name, **record["report"]} for name, record in zip(names, records, strict=True)]
        )
        index_part, report_part = (Path(f"{path}.part") for path in (params.data.index, params.data.report))
        for part in (index_part, report_part):
            part.parent.mkdir(parents=True, exist_ok=True)
        index.to_parquet(index_part, index=False)
        report.to_csv(report_part, index=False, lineterminator="\n")
        if faces.exists():
            shutil.rmtree(faces)
        made.replace(faces)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    index_part.replace(params.data.index)
    report_part.replace(params.data.report)
    write_metrics(report, Path(params.data.metrics))


def write_metrics(report: pd.DataFrame, folder: Path) -> None:
    """extract.json, and the same in words."""
    statuses = {status: int((report["status"] == status).sum()) for status in STATUSES}
    totals = report[["frames_wanted", "frames_read", "faces", "faces_dropped"]].sum().astype(int).to_dict()
    metrics = {"videos": len(report), **statuses, **totals}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "extract.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(", ".join(f"{key} {value}" for key, value in metrics.items()))
    for row in report[~report["status"].isin(["ok"])].head(20).itertuples():
        print(f"  {row.status}: {row.video_id}: {row.reason}")


if __name__ == "__main__":
    main()
