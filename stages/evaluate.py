"""Score the val and test videos with the detector, and measure how good the scores are.

    python -m stages.evaluate
    python -m stages.evaluate --robustness full
    python -m stages.evaluate --checkpoint released     # or any detector that has not seen the test videos

Calibration and threshold are part of the checkpoint. They were chosen on validation videos; the test set decides
nothing. Further corpora (evaluate.corpora) are scored by the same checkpoint at the same threshold.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_detector.corpora.face_table import (
    check_same_videos,
    corpus_fingerprint,
    load_face_table,
    read_index,
    read_splits,
    read_visual_links,
)
from deepfake_detector.corpora.identity_graph import identity_groups, links
from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.corpora.leakage import already_seen
from deepfake_detector.corpora.text_table import read_table
from deepfake_detector.evaluation.curves import write_curves, write_json
from deepfake_detector.evaluation.error_gallery import draw_error_gallery
from deepfake_detector.evaluation.intervals import format_interval
from deepfake_detector.evaluation.plots import plot_evaluation
from deepfake_detector.evaluation.report import describe_corpus, report_context, write_card, write_page
from deepfake_detector.evaluation.results import Results, all_metrics, evaluate_detector, headline_metrics
from deepfake_detector.evaluation.robustness import RobustnessStudy
from deepfake_detector.evaluation.robustness_plan import PLANS
from deepfake_detector.evaluation.scored_videos import PREDICTION_COLUMNS, ScoreCrops, ScoredVideos, score_videos
from deepfake_detector.evaluation.tables import Resampling
from deepfake_detector.faces.archive import ArchiveError
from deepfake_detector.faces.detectors import FaceDetectorError, create_face_detector
from deepfake_detector.faces.extraction import FaceIndexError, read_geometry
from deepfake_detector.faces.remote import TemporaryFileError
from deepfake_detector.files import atomic_path, delete_partial_files
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig, check_logits
from deepfake_detector.training.device import pick_device
from deepfake_detector.training.scoring import batch_crops, predict_logits
from stages.params import Corpus, Data, Params, fail, parse, say


def open_detector(checkpoint: str, batch_size: int) -> tuple[ScoreCrops, DetectorConfig]:
    """The detector as a function that scores crops, and its configuration. Raises CheckpointError."""
    model, config = load_detector(checkpoint)
    device = pick_device()
    model.to(device)

    def score(crops: Iterable[np.ndarray], faces: pd.DataFrame) -> np.ndarray:
        lengths = batch_lengths(track_ids(faces), batch_size, config.temporal)
        return check_logits(predict_logits(model, batch_crops(crops, lengths), device), len(faces), checkpoint)

    return score, config


def read_videos(data: Data) -> pd.DataFrame:
    """The labels CSV with the columns `partition,group,fold` of the splits CSV."""
    labels, splits = read_labels(data.labels, data.videos), read_splits(data.splits)
    check_same_videos(labels, splits, data.labels, data.splits)
    return splits.merge(labels.drop(columns=["partition", "group", "fold"], errors="ignore"), on="video_id")


def read_report(path: Path | str) -> pd.DataFrame:
    """The report of the extract stage, as text. Raises LabelsError."""
    return read_table(path, ["video_id", "status"], "run the extract stage first")


def score_own_corpus(data: Data, videos: pd.DataFrame, score: ScoreCrops, config: DetectorConfig) -> ScoredVideos:
    """The val and test videos of the corpus itself."""
    videos = videos[videos["partition"].isin(["val", "test"])].reset_index(drop=True)
    faces = load_face_table(data.index, data.labels, data.videos, data.splits)
    faces = faces[faces["video_id"].isin(videos["video_id"])]
    report = read_report(data.extract_report)
    return score_videos(videos, faces, Path(data.faces), report, score, config.calibration)


def score_further_corpus(folder: Path, corpus: Corpus, score: ScoreCrops, config: DetectorConfig) -> ScoredVideos:
    """All videos of a further corpus, as stage corpus@NAME extracted them into `folder`. NAME is their partition."""
    name = folder.name
    index = folder / "faces.parquet"
    videos = read_labels(corpus.labels, corpus.videos, subset=corpus.subset)
    if not index.is_file():
        fail(f"{index} does not exist; run dvc repro corpus@{name}")
    check_geometry(config, index)
    videos["group"] = identity_groups(videos)
    videos["partition"] = name
    faces = read_index(index).merge(videos[["video_id", "label", "group", "partition"]], on="video_id")
    report = read_report(folder / "extract_report.csv")
    return score_videos(videos, faces, folder / "faces", report, score, config.calibration)


def check_geometry(config: DetectorConfig, index: Path | str) -> None:
    """End the stage if the faces in an index were cropped otherwise than those that the detector was trained on."""
    wanted, given = (dataclasses.asdict(geometry) for geometry in (config.geometry, read_geometry(index)))
    differing = ", ".join(f"extract.{key}: {value}" for key, value in wanted.items() if given[key] != value)
    if differing:
        fail(
            f"{index}: the faces were cropped otherwise than those that the detector was trained on; set {differing}, "
            "and extract them again"
        )


def check_leakage(config: DetectorConfig, test: pd.DataFrame, params: Params) -> None:
    """End the stage if the test set has a name of a person or video that the detector's record of its training has."""
    name = params.evaluate.checkpoint
    if not config.seen:
        fail(
            f"{name} has no record of its training videos, so leakage cannot be excluded; train again (dvc repro train)"
        )
    found = already_seen(links(test, read_visual_links(params.data.split_report)), config.seen)
    leaks = {kind: tokens for kind, tokens in found.items() if tokens and kind not in params.split.allow_leaks}
    if leaks:
        shown = "; ".join(f"{kind} {', '.join(tokens[:10])}" for kind, tokens in leaks.items())
        fail(
            f"the test set shares names of people or videos with the training of {name}: {shown}; see split.allow_leaks"
        )


def seen_in_training(config: DetectorConfig, name: str, videos: pd.DataFrame) -> str:
    """Why the metrics of a further corpus may be too good: the names that it shares with the training; or ""."""
    found = already_seen(links(videos), config.seen)
    shown = [f"{len(tokens)} by {kind} ({', '.join(tokens[:10])})" for kind, tokens in found.items() if tokens]
    reason = f"it shares names of people or videos with the training: {'; '.join(shown)}"
    return f"The metrics of the detector on corpus {name} may be too good, because {reason}." if shown else ""


def measure(
    params: Params,
    labels: pd.DataFrame,
    own: ScoredVideos,
    others: dict[str, ScoredVideos],
    score: ScoreCrops,
    config: DetectorConfig,
) -> Results:
    settings = params.evaluate
    resampling = Resampling(settings.bootstrap, settings.seed)
    results = evaluate_detector(own, others, config.calibration, labels, resampling)
    seen = {name: seen_in_training(config, name, corpus.videos) for name, corpus in others.items()}
    results["seen_in_training"] = {name: warning for name, warning in seen.items() if warning}
    results["robustness"] = []
    if settings.robustness != "none":
        plan = PLANS[settings.robustness]
        limits = params.infer.url_limits
        study = RobustnessStudy(plan, own, score, config.calibration, resampling, config.geometry, limits)
        results["robustness"] = study.measure()
    return results


def write_predictions(path: str, corpora: Iterable[ScoredVideos]) -> None:
    predictions = pd.concat([corpus.videos for corpus in corpora])
    with atomic_path(path) as part:
        predictions[PREDICTION_COLUMNS].to_csv(part, index=False, lineterminator="\n")


def write_reports(
    params: Params, labels: pd.DataFrame, own: ScoredVideos, config: DetectorConfig, results: Results
) -> None:
    plots, reports = Path(params.data.plots) / "evaluate", Path(params.data.reports)
    val, test = own.scored("val"), own.scored("test")
    write_json(Path(params.data.metrics) / "evaluate.json", headline_metrics(results))
    write_json(reports / "metrics.json", all_metrics(results))
    write_curves(plots, val, test, results)
    plot_evaluation(plots, val, test, results, config.calibration)
    gallery = reports / "error_gallery.png"
    draw_error_gallery(gallery, test, own.faces, own.folder, config.calibration.threshold)
    data = params.data
    settings = {
        "bootstrap": params.evaluate.bootstrap,
        "robustness": params.evaluate.robustness,
        "allow_leaks": params.split.allow_leaks,
        "is_sample": params.is_sample,
        "trained_here": config.corpus == corpus_fingerprint(data.labels, data.index, data.splits),
    }
    context = report_context(results, config.model_dump(), describe_corpus(labels), settings)
    write_card(reports / "model_card.md", context)
    write_page(reports / "evaluation.html", context, plots, gallery)
    written = (path for folder in (plots, reports) for path in folder.iterdir())
    delete_partial_files(params.data.predictions, Path(params.data.metrics) / "evaluate.json", *written)


def print_summary(results: Results, reports: str) -> None:
    test, coverage = results["levels"]["test"]["video"], results["coverage"]["test"]
    unscored = ", ".join(f"{count} {status}" for status, count in coverage["unscored"].items())
    say(f"test: {test['n']} of {coverage['videos']} videos scored" + (f" ({unscored})" if unscored else ""), end="")
    say(f", {test['groups']} groups of people" + (" (small sample: read the intervals)" if test["small"] else ""))
    for name in ("auc", "accuracy", "eer", "ece"):
        say(f"  video {name} {format_interval(test, name)}")
    say(f"see {reports}/evaluation.html and {reports}/model_card.md")


def main() -> None:
    params = parse("evaluate", __doc__ or "")
    try:
        score, config = open_detector(params.evaluate.checkpoint, params.evaluate.batch_size)
        check_geometry(config, params.data.index)
        if params.evaluate.robustness != "none":  # it finds faces again
            geometry = config.geometry
            create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
        labels = read_videos(params.data)
        check_leakage(config, labels[labels["partition"] == "test"], params)
        own = score_own_corpus(params.data, labels, score, config)
        folder = Path(params.data.corpora)
        further = params.evaluate.corpora.items()
        others = {name: score_further_corpus(folder / name, corpus, score, config) for name, corpus in further}
        results = measure(params, labels, own, others, score, config)
    except (LabelsError, FaceIndexError, CheckpointError, FaceDetectorError, ArchiveError, TemporaryFileError) as error:
        fail(str(error))
    for warning in results["seen_in_training"].values():
        say(f"WARNING: {warning}")
    write_predictions(params.data.predictions, [own, *others.values()])
    write_reports(params, labels, own, config, results)
    print_summary(results, params.data.reports)


if __name__ == "__main__":
    main()
