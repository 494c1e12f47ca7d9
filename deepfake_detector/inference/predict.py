"""One video from end to end, for the infer stage and the web app: faces, scores, verdict, pictures."""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.detectors import FaceDetector, FaceDetectorError, create_face_detector
from deepfake_detector.faces.extraction import VideoFaces, extract_faces
from deepfake_detector.faces.sources import local_file, printable
from deepfake_detector.faces.video_reader import VideoError, probe
from deepfake_detector.files import atomic_path, file_sha256
from deepfake_detector.inference.backends import Backend, open_backend
from deepfake_detector.inference.contact_sheet import draw_contact_sheet
from deepfake_detector.inference.prediction import Prediction, predict_people
from deepfake_detector.inference.prediction_task import OutputError, PredictionTask
from deepfake_detector.training.detector_config import CheckpointError

Progress = Callable[[str, float], None]  # called with the current step and the fraction of it that is done, 0 to 1


def predict_video(task: PredictionTask, progress: Progress = lambda step, fraction: None) -> dict[str, Any]:
    """Write the annotated video, the timeline and, last of all, the JSON; return what the JSON holds.

    A video that cannot be read gets a record with the verdict `error`. A picture that cannot be drawn is named in the
    message of the record.

    Raises:
        CheckpointError: if the detector, or the face detector that it was trained with, cannot be used.
        DeviceError: if the device of the task is not available.
        OutputError: if results cannot be written.
        TemporaryFileError: if the copy of a video at a URL cannot be stored.
    """
    settings = task.settings
    backend = _cached_backend(settings.checkpoint, settings.checkpoint_sha256, task.device)
    face_detector, calibration = _face_detector(backend), backend.config.calibration.with_prior(settings.prior)
    sha256 = None
    try:
        with local_file(task.video, task.url_limits) as path:
            path = path.absolute()  # FFmpeg would take a relative name with a colon in it for a URL
            try:
                sha256 = file_sha256(path)
                progress("detecting faces", 0.0)
                geometry = backend.config.geometry
                faces = extract_faces(path, geometry, face_detector, settings.max_people, settings.fps)
            except OSError as error:
                raise VideoError(f"{task.video} cannot be read: {error.strerror}") from error
            crops, people = [face.crop for face in faces.faces], [face.track for face in faces.faces]
            prediction = predict_people(faces, backend.score(crops, people), calibration)
            problems = _Pictures(task, path, prediction, backend, face_detector, calibration, progress).draw()
            message = "; ".join(filter(None, [prediction.message, *problems])).replace(str(path), task.video)
    except VideoError as error:
        return record_error(task, str(error), sha256)
    record = prediction.record(calibration)
    return _write_record(task, {**record, "message": printable(message)}, sha256)


def record_error(task: PredictionTask, message: str, sha256: str | None = None) -> dict[str, Any]:
    """Write and return the record of a video that cannot be predicted, and delete pictures of an earlier run."""
    for suffix in (".mp4", ".png", ".faces.png"):
        task.result_path(suffix).unlink(missing_ok=True)
    prediction = Prediction("error", None, printable(message), VideoFaces("unreadable"), [])
    return _write_record(task, prediction.record(None), sha256)


@lru_cache(maxsize=1)
def _cached_backend(checkpoint: str, sha256: str, device: str) -> Backend:
    """The detector, kept between the videos of one process as long as their tasks name this SHA-256.

    The file is hashed after it was loaded. A task names the hash that the file had earlier, so equal hashes prove
    that this content was loaded.
    """
    # Torch reads this when it is imported. One thread for each process scales better, and sums stay the same.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    backend = open_backend(checkpoint, device)
    if file_sha256(checkpoint) != sha256:
        raise CheckpointError(f"{checkpoint} was replaced after this prediction was started; start it again")
    return backend


def _face_detector(backend: Backend) -> FaceDetector:
    geometry = backend.config.geometry
    try:
        return create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)
    except FaceDetectorError as error:
        raise CheckpointError(f"the face detector that this checkpoint was trained with is missing: {error}") from error


class _Pictures:
    """The pictures that a task asks for. One that fails costs neither the verdict nor the others."""

    def __init__(
        self,
        task: PredictionTask,
        path: Path,
        prediction: Prediction,
        backend: Backend,
        face_detector: FaceDetector,
        calibration: Calibration,
        progress: Progress,
    ) -> None:
        self._task, self._path, self._prediction = task, path, prediction
        self._backend, self._face_detector, self._progress = backend, face_detector, progress
        self._calibration = calibration

    def draw(self) -> list[str]:
        """Write all pictures; return what went wrong, in words."""
        if self._prediction.verdict == "error":
            return []
        problems = []
        if self._task.settings.overlay != "none":
            problems += self._try("annotated video", ".mp4", self._annotated_video)
        if self._task.settings.timeline:
            problems += self._try("timeline", ".png", self._timeline)
        if self._task.contact_sheet and self._prediction.people:
            problems += self._try("contact sheet", ".faces.png", self._contact_sheet)
        return problems

    def _try(self, name: str, suffix: str, draw: Callable[[Path], None]) -> list[str]:
        target = self._task.result_path(suffix)
        try:
            with atomic_path(target) as part:
                draw(part)
        except Exception as error:  # encoders and plotting raise many kinds; the verdict stands whichever it is
            target.unlink(missing_ok=True)
            return [f"{name} could not be written: {type(error).__name__}: {error}"]
        return []

    def _annotated_video(self, target: Path) -> None:
        from deepfake_detector.inference.overlay import annotate_video

        heatmaps = None
        if self._task.settings.overlay == "heatmap":
            from deepfake_detector.inference.gradcam import face_heatmaps

            heatmaps = face_heatmaps(self._backend, self._prediction, self._calibration)
        self._progress("annotating the video", 0.0)
        annotate_video(
            self._path,
            target,
            self._prediction,
            self._calibration,
            self._face_detector,
            heatmaps,
            lambda fraction: self._progress("annotating the video", fraction),
        )

    def _timeline(self, target: Path) -> None:
        from deepfake_detector.inference.timeline import draw_timeline  # here: matplotlib takes seconds to import

        self._progress("drawing the timeline", 0.0)
        draw_timeline(target, probe(self._path), self._prediction, self._calibration)

    def _contact_sheet(self, target: Path) -> None:
        draw_contact_sheet(target, self._prediction, self._calibration)


def _write_record(task: PredictionTask, prediction: dict[str, Any], sha256: str | None) -> dict[str, Any]:
    record = {"filepath": printable(task.video), "video_id": task.video_id, **prediction}
    record |= {"sha256": sha256, "settings": task.settings.record()}
    try:
        with atomic_path(task.result_path(".json")) as part:
            part.write_text(json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"results cannot be written: {error}") from error
    return record
