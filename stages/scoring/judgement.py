"""What is said of one video: a verdict, and for each person and frame what it rests on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.faces.extraction import Face, VideoFaces
from stages.scoring.aggregate import aggregate
from stages.scoring.calibrate import Calibration


@dataclass(frozen=True)
class Person:
    """One track: its `faces` in order of time with their `logits` (n,), the mean of which gives `probability`."""

    track: int
    probability: float
    verdict: str
    faces: list[Face]
    logits: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """`verdict` is real, fake, uncertain, no_face or error; `probability` of being fake, None without a face."""

    verdict: str
    probability: float | None
    message: str
    frames: int  # seen
    people: list[Person]  # the deciding one first

    @property
    def faces(self) -> int:
        return sum(len(person.faces) for person in self.people)

    def record(self) -> dict[str, object]:
        """As it goes into JSON: times in seconds, boxes x1 y1 x2 y2 in pixels of the upright video."""
        people = [
            {
                "track": person.track,
                "verdict": person.verdict,
                "probability": round(person.probability, 6),
                "faces": [
                    {
                        "time": round(face.time, 3),
                        "frame": face.frame,
                        "box": [round(float(v), 1) for v in face.detection[:4]],
                        "detection_score": round(float(face.detection[4]), 3),
                        "logit": round(float(logit), 5),
                    }
                    for face, logit in zip(person.faces, person.logits, strict=True)
                ],
            }
            for person in self.people
        ]
        return {
            "verdict": self.verdict,
            "probability": self.probability,
            "message": self.message,
            "frames": self.frames,
            "faces": self.faces,
            "people": people,
        }


def judge(video: VideoFaces, logits: np.ndarray, calibration: Calibration) -> Judgement:
    """The judgement of a video from the logits (n,) of its faces, aggregated as in evaluation."""
    if video.status == "unreadable":
        return Judgement("error", None, video.reason, video.frames_read, [])
    if not video.faces:
        return Judgement("no_face", None, video.reason, video.frames_read, [])
    table = pd.DataFrame({"video_id": "", "track": [face.track for face in video.faces], "logit": logits})
    decisive = aggregate(table).iloc[0]
    people = []
    for track, rows in table.groupby("track").indices.items():
        probability = float(calibration.probability(np.mean(logits[rows], dtype=float)))
        faces = [video.faces[row] for row in rows]
        people.append(Person(int(track), probability, str(calibration.verdict(probability)), faces, logits[rows]))
    people.sort(key=lambda person: (person.track != decisive["track"], person.track))
    return Judgement(people[0].verdict, round(people[0].probability, 6), video.reason, video.frames_read, people)
