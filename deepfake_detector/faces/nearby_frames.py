"""Looks at frames near the sampled ones, where these alone do not tell what belongs together."""

from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from deepfake_detector.faces.detected_frames import FrameDetections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.sampling import frames_between
from deepfake_detector.faces.shots import AROUND, DIFFERENT, SIMILAR, shot_numbers, similarity, thumbnail
from deepfake_detector.faces.tracking import MAX_GAP, Track, box_distance
from deepfake_detector.faces.video_reader import VideoInfo, read_frames

MAX_APART = 2.0  # seconds between two frames above which similarity does not tell whether they are of one shot
MAX_RUN = 16  # successive pairs of frames between which all frames are looked at together
SUPPORT_SECONDS = 0.1  # before and after a face that no other frame shows, for another look
SUPPORT_DISTANCE = 0.5  # box distance within which a face is seen again there


def number_shots(path: Path | str, info: VideoInfo, frames: Sequence[FrameDetections]) -> list[int]:
    """The number of the shot of each of `frames`.

    Two successive frames belong to one shot if they are similar. If they are not, all frames between them are looked
    at. Where they are more than MAX_APART seconds apart, some frames between them are looked at, and each must be
    similar to the next. Nothing is looked at where there are no faces that could be linked from one to the other.
    """
    has_face = [len(frame.detections) > 0 for frame in frames]
    numbers = [frame.number for frame in frames]
    far: list[int] = []  # positions of frames long after the one before
    unclear: list[int] = []  # positions of frames that are not similar to the one before
    for i, (before, after) in enumerate(pairwise(frames), 1):
        if any(has_face[max(i - 1 - MAX_GAP, 0) : i]) and any(has_face[i : i + 1 + MAX_GAP]):
            if after.time - before.time > MAX_APART:
                far.append(i)
            elif similarity(before.thumbnail, after.thumbnail) < SIMILAR:
                unclear.append(i)
    runs: list[range] = []
    for i in unclear:
        if runs and runs[-1][-1] == i - 1 and len(runs[-1]) <= MAX_RUN:
            runs[-1] = range(runs[-1].start, i + 1)
        else:
            runs.append(range(i - 1, i + 1))
    earlier = _earlier_frames_of_shot(path, info, numbers, runs)
    changed = _positions_after_changes(path, info, frames, far)
    changed |= set(unclear) - set(earlier)
    shots = [0] * len(frames)
    for i in range(1, len(frames)):
        same = None if i in changed else earlier.get(i, i - 1)
        shots[i] = i if same is None else shots[same]
    return shots


def _positions_after_changes(
    path: Path | str, info: VideoInfo, frames: Sequence[FrameDetections], far: list[int]
) -> set[int]:
    """The positions of `far` before which the picture changes, as frames between it and the frame before show."""
    between = {i: frames_between(frames[i - 1].number, frames[i].number, info, MAX_APART) for i in far}
    looks = sorted(number for numbers in between.values() for number in numbers)
    position = {number: i for i, numbers in between.items() for number in numbers}
    last = {i: frames[i - 1].thumbnail for i in far}
    changed = set()
    for frame in read_frames(path, looks, info) if looks else ():
        i, small = position[frame.number], thumbnail(frame.image)
        if similarity(last[i], small) < SIMILAR:
            changed.add(i)
        last[i] = small
    return changed | {i for i in far if similarity(last[i], frames[i].thumbnail) < SIMILAR}


def _earlier_frames_of_shot(path: Path | str, info: VideoInfo, numbers: list[int], runs: list[range]) -> dict[int, int]:
    """For positions in `numbers` an earlier position that belongs to the same shot, if the same run has one.

    All frames of a run are looked at, from AROUND frames before it to as many after it.
    """
    spans = [range(max(numbers[run[0]] - AROUND, 0), numbers[run[-1]] + AROUND + 1) for run in runs]
    needed = sorted({number for span in spans for number in span if number < info.frames})
    earlier: dict[int, int] = {}
    remaining = deque(zip(runs, spans, strict=True))
    thumbnails: dict[int, np.ndarray] = {}

    def finish() -> None:
        run, span = remaining.popleft()
        seen = [number for number in span if number in thumbnails]
        shot_of = dict(zip(seen, shot_numbers(thumbnails[number] for number in seen).tolist(), strict=True))
        last: dict[int, int] = {}
        for i in run:
            shot = shot_of.get(numbers[i], -1 - i)
            if shot in last:
                earlier[i] = last[shot]
            last[shot] = i
        for number in [number for number in thumbnails if not remaining or number < remaining[0][1].start]:
            del thumbnails[number]

    for frame in read_frames(path, needed, info) if needed else ():
        while frame.number >= remaining[0][1].stop:
            finish()
        thumbnails[frame.number] = thumbnail(frame.image)
    while remaining:
        finish()
    return earlier


def tracks_seen_again(
    path: Path | str, info: VideoInfo, frames: Sequence[FrameDetections], tracks: list[Track], detector: FaceDetector
) -> list[Track]:
    """The tracks of at least two of `frames`, and those of one whose face is seen again shortly before or after.

    So a person whom one sampled frame shows is kept, and a false detection mostly is not. If neither the frame before
    nor the one after can be decoded, as in a video of one frame, the face is kept.
    """
    step = max(1, round(SUPPORT_SECONDS * info.rate))
    looks: dict[int, list[Track]] = defaultdict(list)
    for track in tracks:
        number = frames[track.frames[0]].number
        for look in {max(number - step, 0), min(number + step, info.frames - 1)} - {number}:
            if len(track.frames) == 1:
                looks[look].append(track)
    again: dict[int, bool] = {}  # by id of a track, whether its face is seen again
    for frame in read_frames(path, sorted(looks), info) if looks else ():
        small, boxes = thumbnail(frame.image), detector.detect(frame.image).boxes
        for track in looks[frame.number]:
            is_near = similarity(frames[track.frames[0]].thumbnail, small) >= DIFFERENT
            distances = [box_distance(track.detections[0].box, box) for box in boxes]
            again[id(track)] = again.get(id(track), False) or (
                is_near and min(distances, default=9) <= SUPPORT_DISTANCE
            )
    return [track for track in tracks if again.get(id(track), True)]
