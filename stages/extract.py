"""Find, align and store the faces of every video in the labels CSV.

    python -m stages.extract
    python -m stages.extract --data.videos V --data.labels L.csv --data.faces OUT --data.index OUT.parquet

Every row of the labels CSV gets a row in extract_report.csv, whatever became of its video.
"""

import json
from functools import partial
from pathlib import Path

import pandas as pd

from stages.corpora.labels import labels_or_fail
from stages.faces.archive import write_archive
from stages.faces.detectors import make_detector
from stages.faces.extraction import INDEX_COLUMNS, Geometry, extract_faces, index_rows, member_name
from stages.params import Extract, fail, parse
from stages.workers import spread

STATUSES = ("ok", "partial", "no_face", "unreadable", "crashed")


def extract_one(task: tuple[str, str], settings: Extract, folder: Path) -> tuple[dict[str, object], pd.DataFrame]:
    """Write the archive of one video; return its row of the report and its rows of the index."""
    video_id, path = task
    detector = make_detector(settings.detector, settings.threshold)
    video = extract_faces(path, Geometry.of(settings), detector, settings.faces)
    if video.faces:
        write_archive(folder / f"{video_id}.zip", [(member_name(face), face.jpeg) for face in video.faces])
    row = report_row(video_id, video.status, video.reason.replace(path, Path(path).name))
    row |= {"frames_wanted": video.frames_wanted, "frames_read": video.frames_read}
    row |= {"faces": len(video.faces), "faces_dropped": video.faces_dropped, "people": video.tracks}
    return row, index_rows(video_id, video.faces)


def report_row(video_id: str, status: str, reason: str) -> dict[str, object]:
    counts = dict.fromkeys(("frames_wanted", "frames_read", "faces", "faces_dropped", "people"), 0)
    return {"video_id": video_id, "status": status, "reason": reason, **counts}


def empty_folder(folder: Path) -> Path:
    """Make the folder of archives, without those of an earlier run; it must hold nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [path.name for path in folder.iterdir() if path.suffix not in (".zip", ".part")]
    if others:
        fail(f"data.faces = {folder} holds {others[0]}, which is no archive of faces; give a folder of its own")
    for path in folder.iterdir():
        path.unlink()
    return folder


def main() -> None:
    params = parse("extract", __doc__ or "")
    labels = labels_or_fail(params.data)
    folder = empty_folder(Path(params.data.faces))
    tasks = list(zip(labels["video_id"], labels["path"], strict=True))
    outcomes: list[tuple[dict[str, object], pd.DataFrame]] = [({}, pd.DataFrame(columns=INDEX_COLUMNS))] * len(tasks)
    work = partial(extract_one, settings=params.extract, folder=folder)
    for position, outcome in spread(work, tasks, params.extract.workers, "extract", "video"):
        if isinstance(outcome, OSError):
            raise outcome  # a full disk or a folder without permission is no property of the video
        if isinstance(outcome, BaseException):
            outcome = report_row(tasks[position][0], "crashed", repr(outcome)), pd.DataFrame(columns=INDEX_COLUMNS)
        outcomes[position] = outcome
    report = pd.DataFrame([row for row, _ in outcomes])
    index = pd.concat([rows for _, rows in outcomes if len(rows)] or [outcomes[0][1]], ignore_index=True)
    index.to_parquet(params.data.index, index=False)
    report.to_csv(Path(params.data.index).with_name("extract_report.csv"), index=False, lineterminator="\n")
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
