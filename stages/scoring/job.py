"""One video to be judged, and how; light, so that a command that only hands jobs out starts at once."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.learning.files import detector_file, file_sha256
from stages.params import Params

SAID = {"fake": "flagged", "real": "not flagged", "uncertain": "uncertain", "no_face": "no face found", "error": "not judged"}


class OutputError(Exception):
    """Results cannot be written, whatever the video; the message says why."""


@dataclass(frozen=True)
class Settings:
    """How a video is judged: the same settings and the same file give the same results."""

    checkpoint: str
    exported: str
    runtime: str
    detector: str  # SHA-256 of the file that computes
    faces: int | str
    overlay: str
    timeline: bool

    @classmethod
    def of(cls, params: Params) -> "Settings":
        """Raises CheckpointError where the detector that `params` name is not there."""
        chosen = params.infer
        detector = file_sha256(detector_file(chosen.checkpoint, params.export.output, chosen.runtime))
        return cls(chosen.checkpoint, params.export.output, chosen.runtime, detector, chosen.faces, chosen.overlay, chosen.timeline)

    def record(self) -> dict[str, object]:
        """As it goes into JSON: no paths, since the hash says which detector it was."""
        return {key: value for key, value in asdict(self).items() if key not in ("checkpoint", "exported")}


@dataclass(frozen=True)
class Job:
    """One video to judge: `place` a path or URL; its results go to `<output>/<video_id>.*`."""

    place: str
    video_id: str
    output: str
    settings: Settings
    device: str = "auto"
    sheet: bool = False  # also draw all faces side by side, as <video_id>.faces.png

    def result(self, suffix: str) -> Path:
        return Path(self.output) / (self.video_id + suffix)


def judge_job(job: Job) -> dict[str, Any]:
    """`judging.judge_video`, imported where it runs."""
    from stages.scoring.judging import judge_video

    return judge_video(job)


def words(verdict: str, probability: float | None = None) -> str:
    """A verdict in words, with the probability of being fake.

    A video is flagged from the detector's threshold on, which may lie on either side of one half; so nothing is said here that
    the probability could contradict.
    """
    return SAID[verdict] + ("" if probability is None else f": {probability:.0%} fake")
