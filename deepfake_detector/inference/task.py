"""One video to be judged, and how; light, so that a command that only hands jobs out starts at once."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_detector.files import file_sha256
from deepfake_detector.training.detector_config import CheckpointError
from stages.params import Params

SAID = {
    "fake": "flagged",
    "real": "not flagged",
    "uncertain": "uncertain",
    "no_face": "no face found",
    "error": "not judged",
}


def detector_file(checkpoint: str, exported: str, runtime: str) -> str:
    """The file that `runtime` computes with: the checkpoint, or for onnx what was exported of it. Raises CheckpointError."""
    if runtime == "torch" and checkpoint.endswith(".onnx"):
        raise CheckpointError(f"{checkpoint} is an exported network; give --runtime onnx with it")
    path = exported if runtime == "onnx" and not checkpoint.endswith(".onnx") else checkpoint
    if not Path(path).is_file():
        how = "train a detector (dvc repro train)" if path == checkpoint else "write it with: python -m stages.export"
        raise CheckpointError(f"{path} does not exist; {how}, or give --infer.checkpoint")
    return path


class OutputError(Exception):
    """Results cannot be written, whatever the video; the message says why."""


@dataclass(frozen=True)
class PredictionSettings:
    """How a video is judged: the same settings and the same file give the same results."""

    checkpoint: str
    exported: str
    runtime: str
    detector: str  # SHA-256 of the file that computes
    faces: int | str
    overlay: str
    timeline: bool

    @classmethod
    def of(cls, params: Params) -> "PredictionSettings":
        """Raises CheckpointError where the detector that `params` name is not there."""
        chosen = params.infer
        detector = file_sha256(detector_file(chosen.checkpoint, params.export.output, chosen.runtime))
        return cls(
            chosen.checkpoint,
            params.export.output,
            chosen.runtime,
            detector,
            chosen.faces,
            chosen.overlay,
            chosen.timeline,
        )

    def record(self) -> dict[str, object]:
        """As it goes into JSON: no paths, since the hash says which detector it was."""
        return {key: value for key, value in asdict(self).items() if key not in ("checkpoint", "exported")}


@dataclass(frozen=True)
class PredictionTask:
    """One video to judge: `place` a path or URL; its results go to `<output>/<video_id>.*`."""

    place: str
    video_id: str
    output: str
    settings: PredictionSettings
    device: str = "auto"
    sheet: bool = False  # also draw all faces side by side, as <video_id>.faces.png

    def result(self, suffix: str) -> Path:
        return Path(self.output) / (self.video_id + suffix)


def run_task(job: PredictionTask) -> dict[str, Any]:
    """`judging.judge_video`, imported where it runs."""
    from deepfake_detector.inference.predict import predict_video

    return predict_video(job)


def verdict_text(verdict: str, probability: float | None = None) -> str:
    """A verdict in words, with the probability of being fake.

    A video is flagged from the detector's threshold on, which may lie on either side of one half; so nothing is said here that
    the probability could contradict.
    """
    return SAID[verdict] + ("" if probability is None else f": {probability:.0%} fake")
