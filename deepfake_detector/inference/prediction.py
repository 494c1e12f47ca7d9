"""The prediction for one video: a verdict, and the people, frames and logits that it rests on."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deepfake_detector.evaluation.aggregation import AGGREGATORS
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import Face, VideoFaces


@dataclass(frozen=True)
class PersonPrediction:
    """One track: its `faces` in order of time, their `logits` float32 (n,), and the aggregated `logit`."""

    track: int
    logit: float
    probability: float
    verdict: str
    faces: list[Face]
    logits: np.ndarray

    def unbroken_runs(self, step: float) -> list[slice]:
        """The runs of `faces` in which no sampled frame lacks this person.

        `step` is the distance between two sampled frames, in frames of the video.
        """
        breaks = np.flatnonzero(np.diff([face.frame for face in self.faces]) > 1.5 * step) + 1
        return [slice(start, end) for start, end in pairwise([0, *breaks.tolist(), len(self.faces)])]


@dataclass(frozen=True)
class Prediction:
    """`verdict` is real, fake, uncertain, no_face or error; `probability` of being fake is None without a face."""

    verdict: str
    probability: float | None
    message: str
    video: VideoFaces
    people: list[PersonPrediction]  # the one who decides the verdict comes first

    @property
    def frames(self) -> int:
        """Frames that were searched for faces."""
        return self.video.frames_read

    @property
    def faces(self) -> int:
        """Faces of all people that were scored."""
        return sum(len(person.faces) for person in self.people)

    def record(self, calibration: Calibration | None) -> dict[str, object]:
        """The prediction as it goes into JSON.

        Times are in seconds, boxes are x1 y1 x2 y2 in pixels of the upright video, people are counted from 1.
        `calibration` may be None where there are no people.
        """
        return {
            "verdict": self.verdict,
            "probability": self.probability,
            "message": self.message,
            "frames": self.frames,
            "faces": self.faces,
            "frames_wanted": self.video.frames_wanted,
            "frames_with_face": len({face.frame for person in self.people for face in person.faces}),
            "faces_dropped": self.video.faces_dropped,
            "person": self.people[0].track + 1 if self.people else None,
            "threshold": thresholds(calibration) if calibration else None,
            "people": [_person_record(person, calibration) for person in self.people if calibration],
        }


def thresholds(calibration: Calibration) -> dict[str, float]:
    """What a probability is compared with: `threshold`, and `low` and `high` of the uncertain band."""
    return {"threshold": calibration.threshold, "low": calibration.low, "high": calibration.high}


def _person_record(person: PersonPrediction, calibration: Calibration) -> dict[str, object]:
    faces = [
        {
            "time": round(face.time, 3),
            "frame": face.frame,
            "box": [round(float(v), 1) for v in face.detection.box],
            "detection_score": round(float(face.detection.score), 3),
            "logit": round(float(logit), 5),
            "probability": round(float(calibration.probability(logit)), 6),
        }
        for face, logit in zip(person.faces, person.logits, strict=True)
    ]
    return {
        "person": person.track + 1,
        "verdict": person.verdict,
        "logit": round(person.logit, 5),
        "probability": round(person.probability, 6),
        "faces": faces,
    }


def predict_people(video: VideoFaces, logits: np.ndarray, calibration: Calibration) -> Prediction:
    """Aggregate the logits of a video's faces to people, and take the most suspicious person for the video.

    `evaluation.aggregation.aggregate_videos` does the same for whole tables.

    Args:
        logits: float32 (n,), one for each of `video.faces`.
    """
    if video.status == "unreadable":
        return Prediction("error", None, video.reason, video, [])
    if not video.faces:
        return Prediction("no_face", None, video.reason, video, [])
    tracks = np.array([face.track for face in video.faces])
    people = []
    for track in np.unique(tracks):
        rows = np.flatnonzero(tracks == track)
        logit = AGGREGATORS[calibration.aggregation](logits[rows])
        probability = float(calibration.probability(logit))
        verdict = str(calibration.verdict(probability))
        faces = [video.faces[row] for row in rows]
        people.append(PersonPrediction(int(track), logit, probability, verdict, faces, logits[rows]))
    decisive = max(people, key=lambda person: person.logit)
    people.sort(key=lambda person: (person is not decisive, person.track))
    return Prediction(decisive.verdict, round(decisive.probability, 6), video.reason, video, people)
