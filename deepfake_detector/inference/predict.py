"""One video judged from end to end: faces, scores, verdict, pictures; what `infer` and the web app call for each."""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from deepfake_detector.faces.detectors import Detector, DetectorError, create_detector
from deepfake_detector.faces.extraction import VideoFaces, extract_faces
from deepfake_detector.faces.sources import local_file, printable
from deepfake_detector.faces.video_reader import VideoError, probe
from deepfake_detector.files import file_sha256
from deepfake_detector.inference.backends import Backend, open_backend
from deepfake_detector.inference.contact_sheet import draw_contact_sheet
from deepfake_detector.inference.prediction import Prediction, predict_people
from deepfake_detector.inference.task import OutputError, PredictionTask
from deepfake_detector.training.detector_config import CheckpointError

Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done


def predict_video(job: PredictionTask, progress: Progress = lambda step, share: None) -> dict[str, Any]:
    """Judge, write annotated video, timeline and, last of all, the JSON; return what the JSON holds.

    Whatever is wrong with the video stands in the record: its verdict is `error`, or, where only a picture of the judgement
    could not be made, its message says so. Raises CheckpointError where there is no usable detector, OutputError where results
    cannot be written.
    """
    settings = job.settings
    scorer = _scorer(settings.checkpoint, settings.exported, settings.runtime, job.device)
    geometry, calibration = scorer.config.geometry, scorer.config.calibration
    try:
        detector = create_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    except DetectorError as error:
        raise CheckpointError(
            f"the face detector that {settings.checkpoint} was trained with cannot be had: {error}"
        ) from error
    sha256 = None
    try:
        with local_file(job.place) as path:
            path = path.absolute()  # a name with a colon in it would be taken for a URL
            try:
                sha256 = file_sha256(path)
                progress("looking for faces", 0.0)
                faces = extract_faces(path, geometry, detector, settings.faces)
            except OSError as error:
                raise VideoError(f"{job.place} cannot be read: {error.strerror}") from error
            crops, people = [face.crop for face in faces.faces], [face.track for face in faces.faces]
            judgement = predict_people(faces, scorer.score(crops, people), calibration)
            faults = [] if judgement.verdict == "error" else _draw(job, path, judgement, scorer, detector, progress)
            message = "; ".join(filter(None, [judgement.message, *faults])).replace(str(path), job.place)
    except VideoError as error:
        return record_error(job, str(error), sha256)
    return _record(job, {**judgement.record(calibration), "message": printable(message)}, sha256)


def record_error(job: PredictionTask, message: str, sha256: str | None = None) -> dict[str, Any]:
    """Write and return the record of a video that could not be judged; pictures of an earlier run would contradict it."""
    for suffix in (".mp4", ".png"):
        job.result(suffix).unlink(missing_ok=True)
    judgement = Prediction("error", None, printable(message), VideoFaces("unreadable"), [])
    return _record(job, judgement.record(None), sha256)


@lru_cache(maxsize=1)
def _scorer(checkpoint: str, exported: str, runtime: str, device: str) -> Backend:
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # read when torch is imported: processes scale better, and sums stay the same
    return open_backend(checkpoint, exported, runtime, device)


def _draw(
    job: PredictionTask, path: Path, judgement: Prediction, scorer: Backend, detector: Detector, progress: Progress
) -> list[str]:
    """The annotated video and the timeline, as far as asked for; returns what went wrong in words."""
    calibration = scorer.config.calibration
    faults = []

    def attempt(what: str, suffix: str, draw: Callable[[Path], None]) -> None:
        part = job.result(suffix + ".part")
        try:
            draw(part)
            part.replace(job.result(suffix))
        except Exception as error:  # the verdict stands without its picture, and the row says that it is missing
            part.unlink(missing_ok=True)
            job.result(suffix).unlink(missing_ok=True)
            faults.append(f"{what} could not be written: {type(error).__name__}: {error}")

    def video(part: Path) -> None:
        from deepfake_detector.inference.overlay import annotate_video

        heatmaps = None
        if job.settings.overlay == "heatmap":
            from deepfake_detector.inference.gradcam import face_heatmaps

            heatmaps = face_heatmaps(scorer, judgement, calibration)
        progress("drawing the video", 0.0)
        annotate_video(
            path, part, judgement, calibration, detector, heatmaps, lambda done: progress("drawing the video", done)
        )

    def timeline(part: Path) -> None:
        from deepfake_detector.inference.timeline import draw_timeline  # here: matplotlib takes seconds to import

        progress("drawing the timeline", 0.0)
        draw_timeline(part, probe(path), judgement, calibration)

    if job.settings.overlay != "none":
        attempt("annotated video", ".mp4", video)
    if job.settings.timeline:
        attempt("timeline", ".png", timeline)
    if job.sheet and judgement.people:
        attempt("sheet of faces", ".faces.png", lambda part: draw_contact_sheet(part, judgement, calibration))
    return faults


def _record(job: PredictionTask, judgement: dict[str, Any], sha256: str | None) -> dict[str, Any]:
    record = {"filepath": printable(job.place), "video_id": job.video_id, **judgement}
    record |= {"sha256": sha256, "settings": job.settings.record()}
    part = job.result(".json.part")
    try:
        part.write_text(json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(job.result(".json"))
    except OSError as error:
        raise OutputError(str(error)) from error
    return record
