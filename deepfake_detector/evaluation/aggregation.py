"""From the logits of single faces to one logit for each person, and one for each video.

A video counts as fake if one person in it is manipulated, at all times or in one stretch. Which person and which
stretch is not known, and each is taken to be equally likely. The odds that the video is fake are then the mean of the
odds of its people, and those of a person the mean of the odds of the whole and of the stretches. The maximum instead
would flag ever more genuine videos, the more people they show and the longer they last.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

if TYPE_CHECKING:
    import pandas as pd

STRETCH = 8.0  # seconds of a person's time that are judged on their own
STRETCH_FACES = 6  # fewer faces in a stretch say too little
TOP_FRACTION = 0.25  # share of a person's faces that top_k averages


def mean_logit(logits: np.ndarray) -> float:
    return float(np.mean(logits, dtype=float))


def median(logits: np.ndarray) -> float:
    return float(np.median(np.asarray(logits, float)))


def top_k(logits: np.ndarray) -> float:
    """Mean of the highest quarter: finds fakes that show in some moments only."""
    k = max(1, round(TOP_FRACTION * len(logits)))
    return float(np.sort(np.asarray(logits, float))[-k:].mean())


def vote(logits: np.ndarray) -> float:
    """Each face votes real or fake.

    The result is the log-odds of the votes with half a vote added to each side (Haldane 1956).
    """
    fake = float((np.asarray(logits) >= 0).sum())
    return float(np.log((fake + 0.5) / (len(logits) - fake + 0.5)))


# Functions from the logits (n,), n > 0, of one person's faces to one logit. To add one, name it here.
AGGREGATORS = {"mean_logit": mean_logit, "median": median, "top_k": top_k, "vote": vote}


def video_logit(logits: np.ndarray, scale: float = 1.0) -> float:
    """The logit of a video from those of its people, (n,), n > 0.

    `scale` is that of the calibration. Its bias multiplies all odds alike, and does not change the result.
    """
    return float(logits[0]) if len(logits) == 1 else mean_odds(scale * logits) / scale


@dataclass(frozen=True)
class Stretch:
    """Some consecutive faces of a person: their positions `start` to `end` (excluded), and their aggregated `logit`."""

    start: int
    end: int
    logit: float


@dataclass(frozen=True)
class PersonLogit:
    """The logit of a person, and the most suspicious stretch if there are stretches."""

    logit: float
    stretch: Stretch | None


def mean_odds(log_odds: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Logarithm of the mean of odds, from their logarithms (n,), n > 0, and `weights` (n,) that sum to 1."""
    values = np.asarray(log_odds, float)
    return float(logsumexp(values, b=1 / len(values) if weights is None else weights))


def person_logit(logits: np.ndarray, times: np.ndarray, how: str = "mean_logit", scale: float = 1.0) -> PersonLogit:
    """The logit of a person from those of their faces.

    Of a person who is seen for more than two stretches, half of the odds are those of the stretches.

    Args:
        logits: float (n,), n > 0, in order of time.
        times: seconds, ascending (n,).
        how: a name in AGGREGATORS.
        scale: of the calibration, as in `video_logit`.
    """
    whole = AGGREGATORS[how](logits)
    spans = stretches(times)
    if not spans:
        return PersonLogit(whole, None)
    found = [Stretch(start, end, AGGREGATORS[how](logits[start:end])) for start, end in spans]
    share = 0.5 / len(found)
    odds = mean_odds([scale * x for x in (whole, *(s.logit for s in found))], [0.5] + [share] * len(found))
    return PersonLogit(odds / scale, max(found, key=lambda stretch: stretch.logit))


def stretches(times: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (excluded) of every STRETCH of seconds in `times`, ascending (n,), that has enough faces.

    None if all together last no longer than two stretches.
    """
    if times[-1] - times[0] <= 2 * STRETCH:
        return []
    ends = np.searchsorted(times, times + STRETCH, side="right")
    spans = [(start, int(end)) for start, end in enumerate(ends) if end - start >= STRETCH_FACES]
    return [span for i, span in enumerate(spans) if i == 0 or span[1] > spans[i - 1][1]]  # none within another


def aggregate_tracks(faces: "pd.DataFrame", how: str = "mean_logit", scale: float = 1.0) -> "pd.DataFrame":
    """One row for each person in each video of a table of faces with the columns `video_id,track,time,logit`.

    Args:
        how: a name in AGGREGATORS.
        scale: of the calibration, as in `video_logit`.

    Returns:
        `video_id,track,logit,frames`, in order of first appearance.
    """
    tracks = faces.groupby(["video_id", "track"], sort=False)
    table = tracks.size().rename("frames").reset_index()
    logits = [person_logit(part["logit"].to_numpy(), part["time"].to_numpy(), how, scale).logit for _, part in tracks]
    return table.assign(logit=np.array(logits, float))[["video_id", "track", "logit", "frames"]]


def aggregate_videos(faces: "pd.DataFrame", how: str = "mean_logit", scale: float = 1.0) -> "pd.DataFrame":
    """One row for each video of a table of faces with the columns `video_id,track,time,logit`.

    Args:
        how: a name in AGGREGATORS.
        scale: of the calibration, as in `video_logit`.

    Returns:
        Indexed by `video_id` in order of first appearance: `logit` of the video, `track` of the most suspicious person,
        `frames` on which that person was scored, `faces` scored of all people.
    """
    tracks = aggregate_tracks(faces, how, scale)
    videos = tracks.groupby("video_id", sort=False)["logit"]
    decisive = tracks.loc[videos.idxmax()].set_index("video_id")[["track", "frames"]]
    logit = videos.agg(lambda logits: video_logit(logits.to_numpy(), scale))
    return decisive.assign(logit=logit, faces=faces.groupby("video_id", sort=False).size())
