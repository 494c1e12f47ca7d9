"""One video to predict, and the settings of the prediction.

This module imports little: a command that only hands tasks to worker processes starts at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_detector.bundled_models import BundledModelError, check_if_bundled
from deepfake_detector.evaluation.calibration import VERDICT_TEXTS
from deepfake_detector.faces.remote import DEFAULT_LIMITS, TemporaryFileError, UrlLimits
from deepfake_detector.faces.video_file import MAX_PIXELS
from deepfake_detector.files import file_sha256
from deepfake_detector.training.detector_config import CheckpointError, DeviceError

CAUTION = "A score is evidence, not proof."
BACKENDS = {".safetensors": "torch", ".onnx": "onnx"}  # suffix of a detector file to the backend that runs it
VERDICT_WORDS = {**VERDICT_TEXTS, "no_face": "no face found", "error": "not processed"}


class OutputError(Exception):
    """Results cannot be written, whatever the video; the message says why."""


# They would end every other prediction, too.
FATAL_ERRORS = (CheckpointError, DeviceError, OutputError, TemporaryFileError)


def backend_name(checkpoint: str) -> str:
    """The backend that runs a detector file: torch or onnx.

    Raises CheckpointError for another suffix, a missing file, and a file of the project that is damaged.
    """
    try:
        check_if_bundled(checkpoint)
    except BundledModelError as error:
        raise CheckpointError(str(error)) from error
    suffix = Path(checkpoint).suffix
    if suffix not in BACKENDS:
        raise CheckpointError(f"{checkpoint} is no detector: its suffix must be {' or '.join(BACKENDS)}")
    if not Path(checkpoint).is_file():
        command = "python -m stages.export" if suffix == ".onnx" else "dvc repro train"
        raise CheckpointError(f"{checkpoint} does not exist; make it with: {command}")
    return BACKENDS[suffix]


@dataclass(frozen=True)
class PredictionSettings:
    """How a video is predicted. The same settings and the same video give the same results."""

    checkpoint: str
    checkpoint_sha256: str
    prior: float = 0.5
    fps: float | None = 1.0
    max_people: int | str = "all"
    overlay: str = "boxes"  # or none, or heatmap (torch only)
    timeline: bool = True

    @classmethod
    def with_checkpoint(cls, checkpoint: str, **others: Any) -> "PredictionSettings":
        """Settings for the detector file as it is now. Raises CheckpointError where there is none."""
        backend_name(checkpoint)
        return cls(checkpoint, file_sha256(checkpoint), **others)

    def record(self) -> dict[str, object]:
        """The settings as they go into JSON: without the path of the detector, which its SHA-256 identifies."""
        return {
            "backend": BACKENDS[Path(self.checkpoint).suffix],
            "checkpoint_sha256": self.checkpoint_sha256,
            "prior": self.prior,
            "fps": self.fps,
            "max_people": self.max_people,
            "overlay": self.overlay,
            "timeline": self.timeline,
        }


@dataclass(frozen=True)
class PredictionTask:
    """One video to predict: `video` is a path or URL; the results go to `<output>/<video_id>.*`.

    Pictures with more than `max_pixels` pixels are not decoded, and a video whose header states more is an error.
    """

    video: str
    video_id: str
    output: str
    settings: PredictionSettings
    device: str = "auto"
    contact_sheet: bool = False  # also draw all scored faces side by side, as <video_id>.faces.png
    max_pixels: int = MAX_PIXELS
    url_limits: UrlLimits = DEFAULT_LIMITS

    def result_path(self, suffix: str) -> Path:
        return Path(self.output) / (self.video_id + suffix)


def run_task(task: PredictionTask) -> dict[str, Any]:
    """`predict.predict_video`, imported only in the process that runs it."""
    from deepfake_detector.inference.predict import predict_video

    return predict_video(task)


def verdict_text(verdict: str, probability: float | None = None, thresholds: Mapping[str, float] | None = None) -> str:
    """A verdict in words, such as "not flagged (fake probability 55 %, threshold 64 %)".

    The threshold may lie on either side of one half, so a probability never stands without what it is compared with.

    Args:
        verdict: a key of VERDICT_WORDS.
        probability: calibrated probability of being fake, 0 to 1; None: the verdict alone.
        thresholds: `threshold`, `low` and `high` of the calibration, which a probability is compared with.
    """
    words = VERDICT_WORDS[verdict]
    if probability is None or thresholds is None:
        return words
    if verdict == "uncertain":
        low, shown, high = _percentages(thresholds["low"], probability, thresholds["high"])
        return f"{words} (fake probability {shown}, between {low} and {high})"
    shown, threshold = _percentages(probability, thresholds["threshold"])
    return f"{words} (fake probability {shown}, threshold {threshold})"


def _percentages(*fractions: float) -> list[str]:
    """Fractions as whole percentages, with one decimal where two of them would read the same."""
    whole = [f"{fraction:.0%}" for fraction in fractions]
    exact = [f"{fraction:.1%}" for fraction in fractions]
    return [text.replace("%", " %") for text in (whole if len(set(whole)) == len(whole) else exact)]
