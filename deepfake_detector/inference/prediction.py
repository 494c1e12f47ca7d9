"""The prediction for one video: a verdict, and the people, frames and logits that it rests on."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deepfake_detector.evaluation.aggregation import STRETCH, person_logit, video_logit
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import Face, VideoFaces
from deepfake_detector.faces.video_file import VideoInfo

FEW_FACES = 4  # a verdict that rests on fewer faces of the decisive person says so


@dataclass(frozen=True)
class SuspiciousStretch:
    """The most suspicious stretch of a person: from `start` to `end` seconds, with its share of the `probability`."""

    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class PersonPrediction:
    """One track: its `faces` in order of time, their `logits` float32 (n,), and the aggregated `logit`.

    `probability` is that this person is manipulated, where each of the people in the video is equally likely to be.
    """

    track: int
    logit: float
    probability: float
    verdict: str
    faces: list[Face]
    logits: np.ndarray
    stretch: SuspiciousStretch | None

    def unbroken_runs(self, info: VideoInfo, sampled: int) -> list[slice]:
        """The runs of `faces` in which none of the `sampled` frames of a video lacks this person.

        Frames are sampled evenly by number or by time, so only what is far by both is a gap. Where few frames lie
        between two samples, their numbers are rounded, and a gap of one sample may be passed over.
        """
        step, seconds = info.frames / sampled, (info.times[-1] - info.times[0]) / sampled
        is_far = np.diff([face.frame for face in self.faces]) > max(1.5 * step, math.ceil(step))
        is_late = np.diff([face.time for face in self.faces]) > 1.5 * seconds
        breaks = np.flatnonzero(is_far & is_late) + 1
        return [slice(start, end) for start, end in pairwise([0, *breaks.tolist(), len(self.faces)])]


@dataclass(frozen=True)
class Prediction:
    """`verdict` is real, fake, uncertain, no_face or error; `probability` of being fake is None without a face."""

    verdict: str
    probability: float | None
    message: str
    video: VideoFaces
    people: list[PersonPrediction]  # the most suspicious one comes first

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
        stretch = self.people[0].stretch if self.people else None
        return {
            "verdict": self.verdict,
            "probability": self.probability,
            "prior": calibration.prior if calibration else None,
            "message": self.message,
            "frames": self.frames,
            "faces": self.faces,
            "frames_wanted": self.video.frames_wanted,
            "frames_with_face": len({face.frame for person in self.people for face in person.faces}),
            "faces_dropped": self.video.faces_dropped,
            "faces_too_small": len(self.video.too_small),
            "person": self.people[0].track + 1 if self.people else None,
            "suspicious_from": round(stretch.start, 3) if stretch else None,
            "suspicious_to": round(stretch.end, 3) if stretch else None,
            "suspicious_probability": stretch.probability if stretch else None,
            "threshold": thresholds(calibration) if calibration else None,
            "people": [_person_record(person, calibration) for person in self.people if calibration],
            "small_faces": [_face_record(face) for face in self.video.too_small],
        }


def thresholds(calibration: Calibration) -> dict[str, float]:
    """What a probability is compared with: `threshold`, and `low` and `high` of the uncertain band."""
    return {"threshold": calibration.threshold, "low": calibration.low, "high": calibration.high}


def _face_record(face: Face) -> dict[str, object]:
    return {
        "time": round(face.time, 3),
        "frame": face.frame,
        "box": [round(float(v), 1) for v in face.detection.box],
        "detection_score": round(float(face.detection.score), 3),
    }


def _person_record(person: PersonPrediction, calibration: Calibration) -> dict[str, object]:
    faces = [
        _face_record(face) | {"logit": round(float(logit), 5), "probability": probability}
        for face, logit, probability in zip(
            person.faces, person.logits, calibration.face_probability(person.logits).tolist(), strict=True
        )
    ]
    stretch = person.stretch and {
        "from": round(person.stretch.start, 3),
        "to": round(person.stretch.end, 3),
        "probability": person.stretch.probability,
    }
    return {
        "person": person.track + 1,
        "verdict": person.verdict,
        "logit": round(person.logit, 5),
        "probability": person.probability,
        "faces_scored": len(person.faces),
        "suspicious": stretch,
        "faces": faces,
    }


def predict_people(video: VideoFaces, logits: np.ndarray, calibration: Calibration) -> Prediction:
    """Aggregate the logits of a video's faces to people, and these to the video.

    `evaluation.aggregation.aggregate_videos` does the same for whole tables.

    Args:
        logits: float32 (n,), one for each of `video.faces`.
    """
    if video.status == "unreadable":
        return Prediction("error", None, video.reason, video, [])
    if not video.faces:
        return Prediction("no_face", None, _message(video, None), video, [])
    tracks = np.array([face.track for face in video.faces])
    numbers = np.unique(tracks)
    people = [
        _predict_person([video.faces[i] for i in rows], logits[rows], len(numbers), calibration)
        for rows in (np.flatnonzero(tracks == number) for number in numbers)
    ]
    logit = video_logit(np.array([person.logit for person in people]), calibration.scale)
    probability = float(calibration.probability(logit))
    decisive = max(people, key=lambda person: person.logit)
    people.sort(key=lambda person: (person is not decisive, person.track))
    message = _message(video, decisive)
    return Prediction(str(calibration.verdict(probability)), probability, message, video, people)


def _message(video: VideoFaces, decisive: PersonPrediction | None) -> str:
    """What is wrong with a video, which of its faces were not scored, and whether few faces decide; mostly empty."""
    notes, unsupported = [video.reason], video.faces_dropped - video.beyond_limit
    if unsupported:
        notes.append(f"{_faces(unsupported)} not scored: seen in a single frame, and not again shortly before or after")
    if video.beyond_limit:
        notes.append(f"{_faces(video.beyond_limit)} not scored: of less prominent people than the limit allows")
    if decisive and len(decisive.faces) < FEW_FACES:
        notes.append(f"the verdict rests on {_faces(len(decisive.faces))} of person {decisive.track + 1}")
    return "; ".join(filter(None, notes))


def _faces(count: int) -> str:
    return "1 face" if count == 1 else f"{count} faces"


def _predict_person(faces: list[Face], logits: np.ndarray, people: int, calibration: Calibration) -> PersonPrediction:
    """One of `people` people from their faces in order of time and the logits (n,) of these."""
    times = np.array([face.time for face in faces])
    person = person_logit(logits, times, calibration.aggregation, calibration.scale)
    probability = float(calibration.probability_of(calibration.log_odds(person.logit) - np.log(people)))
    stretch = None
    if person.stretch:
        chances = 2 * people * (times[-1] - times[0]) / STRETCH  # half of the odds are those of the whole
        share = float(calibration.probability_of(calibration.log_odds(person.stretch.logit) - np.log(chances)))
        share = min(share, probability)  # stretches overlap, so the mean over them may give it less
        stretch = SuspiciousStretch(float(times[person.stretch.start]), float(times[person.stretch.end - 1]), share)
    verdict = str(calibration.verdict(probability))
    return PersonPrediction(faces[0].track, person.logit, probability, verdict, faces, logits, stretch)
