"""Find, align and store the faces of every video in the labels CSV.

    python -m stages.extract
    python -m stages.extract --data.videos V --data.labels L.csv --data.faces OUT --data.index OUT.parquet
    python -m stages.extract --data.videos V --data.labels none --data.faces OUT --data.index OUT.parquet
    python -m stages.extract --corpus celebdf           # a corpus in evaluate.corpora

Every row of the labels CSV gets a row in the report, whatever happens to its video. Results are kept in extract.cache:
an interrupted run continues where it stopped, and later runs process new videos only.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd

from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.faces.batch_extraction import STATUSES, ArchiveFolderError, extract_videos, replaced_folder
from deepfake_detector.faces.cache import FaceCache
from deepfake_detector.faces.detectors import FaceDetectorError, weights_hash
from deepfake_detector.faces.extraction import Geometry, write_index
from deepfake_detector.faces.sources import find_videos, name_videos
from deepfake_detector.files import atomic_path
from deepfake_detector.ray_map import ClusterError
from stages.params import Data, Extract, Params, fail, parse


def main() -> None:
    params = parse("extract", __doc__ or "")
    further = params.extract.corpus != "none"
    data = further_corpus(params) if further else params.data
    subset = params.evaluate.corpora[params.extract.corpus].subset if further else ""
    try:
        report = extract(params.extract, data, subset, further)
    except (LabelsError, FaceDetectorError, ClusterError) as error:
        fail(str(error))
    except ArchiveFolderError as error:
        fail(f"data.faces = {error}")
    write_metrics(report, Path(data.metrics))


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


def extract(settings: Extract, data: Data, subset: str, further: bool) -> pd.DataFrame:
    """Write faces, index and report, all of them or none; return the report."""
    geometry = Geometry(**settings.model_dump(include={field.name for field in dataclasses.fields(Geometry)}))
    if weights := weights_hash(geometry.detector_weights):
        print(f"{geometry.detector_weights}: SHA-256 {weights}")
    videos = list_videos(data, subset, further)
    cache = FaceCache(Path(settings.cache) if settings.cache else None, geometry, settings.max_people)
    with (
        atomic_path(data.index) as index_path,
        atomic_path(data.extract_report) as report_path,
        replaced_folder(Path(data.faces)) as folder,
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
            executor=settings.executor,
        )
        named = [(video_id, record) for (video_id, *_), record in zip(videos, records, strict=True)]
        report = pd.DataFrame([{"video_id": video_id, **record["report"]} for video_id, record in named])
        write_index(index_path, ([video_id, *row] for video_id, record in named for row in record["index"]), geometry)
        report.to_csv(report_path, index=False, lineterminator="\n")
    return report


def list_videos(data: Data, subset: str, further: bool) -> list[tuple[str, str, str]]:
    """video_id, path and path of the original of every row of the labels CSV, or of those of a subset; without labels,
    of every video in the folder data.videos. Only training needs originals, so that a further corpus has none.
    """
    if data.labels != "none":
        labels = read_labels(data.labels, data.videos, subset=subset)
        paths = dict(zip(labels["video_id"], labels["path"], strict=True)) if not further else {}
        sources = labels.get("source_video", pd.Series("", index=labels.index))
        originals = [
            paths.get(source, "") if fake else "" for source, fake in zip(sources, labels["label"], strict=True)
        ]
        return list(zip(labels["video_id"], labels["path"], originals, strict=True))
    videos, others = find_videos([data.videos])
    if not videos or not Path(data.videos).exists():
        fail(f"data.videos = {data.videos} holds no video")
    print(f"{len(videos)} videos in {data.videos}; {others} other files left out")
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
    with atomic_path(folder / "extract.json") as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    print(", ".join(f"{key} {value}" for key, value in metrics.items()))
    for row in report[report["status"] != "ok"].head(20).itertuples():
        print(f"  {row.status}: {row.video_id}: {row.reason}")


if __name__ == "__main__":
    main()
