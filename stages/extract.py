"""Find, align and store the faces of every video in the labels CSV.

    python -m stages.extract
    python -m stages.extract --data.videos V --data.labels L.csv --data.faces OUT --data.index OUT.parquet
    python -m stages.extract --data.videos V --data.labels none --data.faces OUT --data.index OUT.parquet
    python -m stages.extract --corpus celebdf           # a corpus in evaluate.corpora

Every row of the labels CSV gets a row in the report, whatever happens to its video. Results are kept in extract.cache:
an interrupted run continues where it stopped, and later runs process new videos only, but videos at URLs are fetched
and processed again. The outputs are replaced at the end, all or none: exit status 2 leaves them as they were, such as
if more videos fail than extract.max_failed allows.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.face_table import read_index
from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.faces.archive_folder import ArchiveFolderError, replaced_folder
from deepfake_detector.faces.batch_extraction import FAILED_STATUSES, STATUSES, extract_videos
from deepfake_detector.faces.cache import FaceCache
from deepfake_detector.faces.detectors import FaceDetectorError, fetch_network, weights_hash
from deepfake_detector.faces.extraction import FaceIndexError, write_index
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.remote import UrlLimits
from deepfake_detector.faces.sources import describe_others, file_mode, find_videos, name_videos, printable
from deepfake_detector.files import atomic_path, delete_partial_files
from deepfake_detector.foreign_text import spreadsheet_cell, terminal_text
from deepfake_detector.ray_map import ClusterError
from stages.params import Data, Extract, Params, fail, parse, say

METRICS = "extract.json"


def main() -> None:
    params = parse("extract", __doc__ or "")
    settings, data = params.extract, params.data
    further = settings.corpus != "none"
    try:
        if further:
            data = further_corpus(params)
        subset = params.evaluate.corpora[settings.corpus].subset if further else ""
        report = extract(settings, data, subset, further, params.infer.url_limits)
        write_metrics(report, Path(data.metrics))
        delete_partial_files(data.index, data.extract_report, Path(data.metrics) / METRICS)
    except (LabelsError, FaceDetectorError, ClusterError) as error:
        fail(str(error))
    except ArchiveFolderError as error:
        fail(f"data.faces = {data.faces} {error}")
    except OSError as error:
        kept = f"; what is finished is kept in {settings.cache}, and the same command continues" * bool(settings.cache)
        fail(f"{error.filename or f'the outputs, such as {data.faces}'}: {error.strerror or error}{kept}")


def further_corpus(params: Params) -> Data:
    """The paths of the corpus extract.corpus. A copy of its labels tells the evaluate stage when they change."""
    name = params.extract.corpus
    if name not in params.evaluate.corpora:
        fail(f"extract.corpus = {name!r}: evaluate.corpora has {', '.join(params.evaluate.corpora) or 'no corpus'}")
    corpus, folder = params.evaluate.corpora[name], Path(params.data.corpora) / name
    with atomic_path(folder / "labels.csv") as path:
        shutil.copyfile(corpus.labels, path)
    outputs = {"faces": "faces", "index": "faces.parquet", "extract_report": "extract_report.csv", "metrics": "."}
    paths = {key: str(folder / output) for key, output in outputs.items()}
    return params.data.model_copy(update={"videos": corpus.videos, "labels": corpus.labels, **paths})


def extract(settings: Extract, data: Data, subset: str, further: bool, url_limits: UrlLimits) -> pd.DataFrame:
    """Write faces, index and report, all of them or none; return the report."""
    geometry = Geometry(**settings.model_dump(include={field.name for field in dataclasses.fields(Geometry)}))
    fetch_network(geometry.detector)
    if weights := weights_hash(geometry.detector_weights):
        say(f"{geometry.detector_weights}: SHA-256 {weights}")
    refuse_nesting(settings, data)
    videos = list_videos(data, subset, further, url_limits)
    cache_folder = Path(settings.cache) if settings.cache else None
    cache = FaceCache(cache_folder, geometry, settings.max_people, read_all=settings.cache_check == "content")
    with (
        atomic_path(data.index) as index_path,
        atomic_path(data.extract_report) as report_path,
        replaced_folder(Path(data.faces), indexed_videos(data.index)) as folder,
    ):
        records = extract_videos(
            videos,
            geometry,
            settings.max_people,
            folder,
            cache,
            workers=settings.workers,
            timeout=settings.timeout,
            memory=settings.memory,
            url_limits=url_limits,
            executor=settings.executor,
        )
        named = [(video_id, record) for (video_id, *_), record in zip(videos, records, strict=True)]
        rows = [{"video_id": video_id, **record["report"]} for video_id, record in named]
        # A reason may name a file in bytes that are not UTF-8.
        report = pd.DataFrame([{**row, "reason": printable(row["reason"])} for row in rows])
        write_index(index_path, ([video_id, *row] for video_id, record in named for row in record["index"]), geometry)
        shown = report.assign(reason=report["reason"].map(spreadsheet_cell))
        shown.to_csv(report_path, index=False, lineterminator="\n")
        refuse_failures(shown, settings.max_failed, Path(data.extract_report))
    return report


def refuse_nesting(settings: Extract, data: Data) -> None:
    """End the program if something else is to lie in the folder of faces, which is replaced as a whole."""
    paths = {f"data.{key}": getattr(data, key) for key in ("index", "extract_report", "metrics")}
    for key, path in (paths | {"extract.cache": settings.cache}).items():
        if path and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(data.faces)):
            fail(
                f"{key} = {path} lies in data.faces = {data.faces}, which is for archives only; give a place beside it"
            )


def indexed_videos(index: str) -> set[str]:
    """The videos whose faces an earlier run has found; none if there is no such index."""
    try:
        return set(read_index(index, ["video_id"])["video_id"])
    except (LabelsError, FaceIndexError):
        return set()


def refuse_failures(report: pd.DataFrame, max_failed: float, path: Path) -> None:
    """End the program if more than this share of the videos failed, since a disk or a parameter is more likely the
    cause than the videos. The report goes to a file of its own, so that the one of the last success stays.
    """
    failures = path.with_name(f"{path.stem}.failed{path.suffix}")
    failures.unlink(missing_ok=True)
    failed = report[report["status"].isin(FAILED_STATUSES)]
    if len(failed) <= max_failed * len(report):
        return
    with atomic_path(failures) as part:
        report.to_csv(part, index=False, lineterminator="\n")
    first = failed.iloc[0]
    fail(
        f"{len(failed)} of {len(report)} videos failed, more than extract.max_failed = {max_failed:g} allows, so that "
        f"the outputs stay as they were; the first: {first['video_id']}: {first['reason']}; for all see {failures}"
    )


def list_videos(data: Data, subset: str, further: bool, url_limits: UrlLimits) -> list[tuple[str, str, str]]:
    """video_id, path and path of the original of every row of the labels CSV, or of those of a subset; without labels,
    of every video in the folder data.videos. An original is a real video: training learns its faces as real. Only
    training needs originals, so that a further corpus has none.
    """
    if data.labels != "none":
        labels = read_labels(data.labels, data.videos, subset=subset)
        real = labels[labels["label"] == 0]
        paths = dict(zip(real["video_id"], real["path"], strict=True)) if not further else {}
        sources = labels.get("source_video", pd.Series("", index=labels.index))
        originals = [
            paths.get(source, "") if fake else "" for source, fake in zip(sources, labels["label"], strict=True)
        ]
        return list(zip(labels["video_id"], labels["path"], originals, strict=True))
    videos, others = find_videos([data.videos], limits=url_limits)
    if not videos or not file_mode(data.videos):
        rest = f"; files there that are no videos by their suffix: {describe_others(others)}" if others else ""
        fail(f"data.videos = {data.videos} holds no video{rest}")
    say(f"{len(videos)} videos in {data.videos}; no videos by their suffix: {describe_others(others)}")
    return [(video_id, path, "") for video_id, path in zip(name_videos(videos), videos, strict=True)]


def write_metrics(report: pd.DataFrame, folder: Path) -> None:
    """Write extract.json and print the same."""
    statuses = {status: int((report["status"] == status).sum()) for status in STATUSES}
    totals = (
        report[["frames_wanted", "frames_read", "faces", "faces_dropped", "faces_too_small"]]
        .sum()
        .astype(int)
        .to_dict()
    )
    metrics = {"videos": len(report), **statuses, **totals}
    with atomic_path(folder / METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    say(", ".join(f"{key} {value}" for key, value in metrics.items()))
    for row in report[report["status"] != "ok"].head(20).itertuples():
        say(terminal_text(f"  {row.status}: {row.video_id}: {row.reason}"))


if __name__ == "__main__":
    main()
