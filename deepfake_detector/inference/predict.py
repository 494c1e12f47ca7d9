"""One video from end to end, for the infer stage and the web app: faces, scores, verdict, pictures."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.detectors import FaceDetector, FaceDetectorError, create_face_detector
from deepfake_detector.faces.extraction import VideoFaces, extract_faces
from deepfake_detector.faces.remote import local_path
from deepfake_detector.faces.sources import local_file, printable
from deepfake_detector.faces.video_file import VideoError, VideoInfo, probe
from deepfake_detector.files import atomic_path, file_sha256
from deepfake_detector.inference.backends import Backend, open_backend
from deepfake_detector.inference.contact_sheet import draw_contact_sheet
from deepfake_detector.inference.prediction import Prediction, predict_people
from deepfake_detector.inference.prediction_task import OutputError, PredictionTask
from deepfake_detector.inference.records import PICTURES, amend_record, start_record
from deepfake_detector.training.detector_config import CheckpointError

Progress = Callable[[str, float], None]  # called with the current step and the fraction of it that is done, 0 to 1


def predict_video(task: PredictionTask, progress: Progress = lambda step, fraction: None) -> dict[str, Any]:
    """Write the record of the verdict and then the pictures; return the record as it is at the end.

    A video that cannot be read gets a record with the verdict `error`. A picture that cannot be drawn is named in the
    message of the record. Until all are drawn, the record lists those to come.

    Raises:
        CheckpointError: if the detector, or the face detector that it was trained with, cannot be used.
        DeviceError: if the device of the task is not available.
        OutputError: if results cannot be written, or would take the place of the video.
        TemporaryFileError: if the copy of a video at a URL cannot be stored.
    """
    _check_paths(task)
    settings = task.settings
    backend = _cached_backend(settings.checkpoint, settings.checkpoint_sha256, task.device)
    face_detector, calibration = _face_detector(backend), backend.config.calibration.with_prior(settings.prior)
    sha256 = None
    try:
        with local_file(task.video, task.url_limits) as path:
            path = path.absolute()  # as errors of FFmpeg name it; messages get the name in the task in its place
            try:
                state = _state(path)
                sha256 = file_sha256(path)
                progress("detecting faces", 0.0)
                info, geometry = probe(path, task.max_pixels), backend.config.geometry
                faces = extract_faces(path, geometry, face_detector, settings.max_people, settings.fps, info)
                if _state(path) != state:  # what was scored need not be what has the hash
                    raise VideoError(f"{task.video} changed while it was read; judge it again when it is complete")
            except OSError as error:
                raise VideoError(f"{task.video} cannot be read: {error.strerror}") from error
            except VideoError as error:
                raise VideoError(str(error).replace(str(path), task.video)) from error
            crops, people = [face.crop for face in faces.faces], [face.track for face in faces.faces]
            prediction = predict_people(faces, backend.score(crops, people), calibration)
            message = printable(prediction.message.replace(str(path), task.video))
            pictures = _Pictures(task, path, info, prediction, backend, face_detector, calibration, progress)
            record = prediction.record(calibration) | {"message": message}
            record = start_record(task, record, sha256, list(pictures.drawings))
            return pictures.draw(record)
    except VideoError as error:
        return record_error(task, str(error), sha256)


def _state(path: Path) -> tuple[int, int]:
    """What differs after a change of the file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _check_paths(task: PredictionTask) -> None:
    """Raises OutputError if a result would take the place of the video."""
    for suffix in (".json", *PICTURES.values()):
        result = task.result_path(suffix)
        try:
            is_video = result.samefile(local_path(task.video))
        except (OSError, ValueError):  # one of the two does not exist
            continue
        if is_video:
            raise OutputError(f"{result} is the video itself, and a result would overwrite it; choose another output")


def record_error(task: PredictionTask, message: str, sha256: str | None = None) -> dict[str, Any]:
    """Write and return the record of a video that cannot be predicted, and delete pictures of an earlier run."""
    prediction = Prediction("error", None, printable(message), VideoFaces("unreadable"), [])
    return start_record(task, prediction.record(None), sha256, [])


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
    """The pictures that a task asks for. One that fails costs neither the verdict nor the others.

    `drawings` has the functions that draw them, by their names in PICTURES. The annotated video, which takes longest,
    comes last. A function writes to a path and returns what is missing in the picture, in words.
    """

    def __init__(
        self,
        task: PredictionTask,
        path: Path,
        info: VideoInfo,
        prediction: Prediction,
        backend: Backend,
        face_detector: FaceDetector,
        calibration: Calibration,
        progress: Progress,
    ) -> None:
        self._task, self._path, self._info, self._prediction = task, path, info, prediction
        self._backend, self._face_detector, self._progress = backend, face_detector, progress
        self._calibration = calibration
        wanted = {
            "timeline": (task.settings.timeline, self._timeline),
            "contact sheet": (task.contact_sheet and bool(prediction.people), self._contact_sheet),
            "annotated video": (task.settings.overlay != "none", self._annotated_video),
        }
        self.drawings = {
            name: draw for name, (is_wanted, draw) in wanted.items() if is_wanted and prediction.verdict != "error"
        }

    def draw(self, record: dict[str, Any]) -> dict[str, Any]:
        """Write all pictures; return the record, in which `drawings` were still to come, as it is then."""
        for name, draw in self.drawings.items():
            target = self._task.result_path(PICTURES[name])
            try:
                with atomic_path(target) as part:
                    problem = draw(part)
            except Exception as error:  # encoders and plotting raise many kinds; the verdict stands whichever it is
                problem = f"the {name} could not be written: {type(error).__name__}: {error}"
            record = amend_record(self._task, record, [name], problem.replace(str(self._path), self._task.video))
        return record

    def _annotated_video(self, target: Path) -> str:
        from deepfake_detector.inference.overlay import annotate_video

        heatmaps = None
        if self._task.settings.overlay == "heatmap":
            from deepfake_detector.inference.gradcam import face_heatmaps

            heatmaps = face_heatmaps(self._backend, self._prediction, self._calibration)
        self._progress("annotating the video", 0.0)
        missing_sound = annotate_video(
            self._path,
            target,
            self._prediction,
            self._calibration,
            self._face_detector,
            heatmaps,
            lambda fraction: self._progress("annotating the video", fraction),
            self._info,
        )
        return missing_sound and f"the annotated video has {missing_sound}"

    def _timeline(self, target: Path) -> str:
        from deepfake_detector.inference.timeline import draw_timeline  # here: matplotlib takes seconds to import

        self._progress("drawing the timeline", 0.0)
        draw_timeline(target, self._info, self._prediction, self._calibration)
        return ""

    def _contact_sheet(self, target: Path) -> str:
        draw_contact_sheet(target, self._prediction, self._calibration)
        return ""
