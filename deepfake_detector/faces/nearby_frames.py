"""Looks at frames near the sampled ones, where these alone do not tell what belongs together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_detector.faces.detected_frames import FrameDetections
from deepfake_detector.faces.detectors import FaceDetector
from deepfake_detector.faces.pixels import to_thumbnail
from deepfake_detector.faces.sampling import frames_between
from deepfake_detector.faces.shots import AROUND, DIFFERENT, SIMILAR, Moment, shot_numbers, similarity
from deepfake_detector.faces.tracking import MAX_GAP, Track, box_distance
from deepfake_detector.faces.video_file import VideoInfo
from deepfake_detector.faces.video_reader import read_frames, read_pictures

MAX_APART = 2.0  # seconds between two frames above which similarity does not tell whether they are of one shot
SUPPORT_SECONDS = 0.1  # before and after a face that no other frame shows, for another look
SUPPORT_DISTANCE = 0.5  # box distance within which a face is seen again there


def number_shots(path: Path | str, info: VideoInfo, frames: Sequence[FrameDetections]) -> list[int]:
    """The number of the shot of each of `frames`.

    Two successive frames belong to one shot if there is no leap between them, as mostly the frames show that were
    decoded on the way. If there is one, all frames around it are looked at. Where the two are more than MAX_APART
    seconds apart, some frames between them are looked at, and each must be similar to the next. Nothing is looked at
    where there are no faces that could be linked from one to the other. In the middle of a dissolve a shot begins, too.
    """
    has_face = [len(frame.detections) > 0 for frame in frames]
    far: list[int] = []  # positions of frames long after the one before
    leaps: list[tuple[int, int]] = []
    for i, (before, after) in enumerate(pairwise(frames), 1):
        if any(has_face[max(i - 1 - MAX_GAP, 0) : i]) and any(has_face[i : i + 1 + MAX_GAP]):
            if after.moment.time - before.moment.time > MAX_APART:
                far.append(i)
            else:
                leaps += after.leaps
    changed = {frames[i].moment.number for i in _positions_after_changes(path, info, frames, far)}
    changed |= _frames_after_dissolves(info, frames)
    stretches = _shots_around(path, info, leaps)
    shot_of: dict[int, int] = {}  # by number of a frame
    shots: dict[int, int] = {}  # of the current stretch
    current, stretch = 0, -1
    for number in sorted({frame.moment.number for frame in frames} | set(stretches)):
        if number in changed:
            current, shots = number, {}
        if number in stretches:
            if stretch != stretches[number][0]:
                stretch, shots = stretches[number][0], {stretches[number][1]: current}  # the shot goes on
            current = shots.setdefault(stretches[number][1], number)
        shot_of[number] = current
    return [shot_of[frame.moment.number] for frame in frames]


def _positions_after_changes(
    path: Path | str, info: VideoInfo, frames: Sequence[FrameDetections], far: list[int]
) -> set[int]:
    """The positions of `far` before which the picture changes, as frames between it and the frame before show."""
    between = {i: frames_between(frames[i - 1].moment.number, frames[i].moment.number, info, MAX_APART) for i in far}
    looks = sorted(number for numbers in between.values() for number in numbers)
    position = {number: i for i, numbers in between.items() for number in numbers}
    last = {i: frames[i - 1].moment.details for i in far}
    changed = set()
    for moment in _read_moments(path, looks, info):
        i = position[moment.number]
        if similarity(last[i], moment.details) < SIMILAR:
            changed.add(i)
        last[i] = moment.details
    return changed | {i for i in far if similarity(last[i], frames[i].moment.details) < SIMILAR}


def _frames_after_dissolves(info: VideoInfo, frames: Sequence[FrameDetections]) -> set[int]:
    """The number of the frame that follows the middle of each dissolve; two dissolves are a second apart."""
    dissolving = np.array(sorted({number for frame in frames for number in frame.dissolving}), int)
    dissolves = np.split(dissolving, np.flatnonzero(np.diff(dissolving) > info.rate) + 1)
    middles = [numbers[len(numbers) // 2] for numbers in dissolves if len(numbers)]
    numbers = [frame.moment.number for frame in frames]
    return {next(number for number in numbers if number > middle) for middle in middles}


def _shots_around(path: Path | str, info: VideoInfo, leaps: list[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """For the number of each frame from AROUND frames before a leap to as many after it: its stretch and its shot.

    A stretch is a series of such frames without a gap. The numbers of its shots hold only within it.
    """
    spans = [range(max(before - AROUND, 0), min(after + AROUND + 1, info.frames)) for before, after in leaps]
    needed = np.array(sorted({number for span in spans for number in span}), int)
    stretch_of = dict(zip(needed.tolist(), np.cumsum(np.diff(needed, prepend=0) > 1).tolist(), strict=True))
    result: dict[int, tuple[int, int]] = {}
    looks = _read_moments(path, list(stretch_of), info)
    for stretch, moments in groupby(looks, lambda moment: stretch_of[moment.number]):
        result |= {number: (stretch, shot) for number, shot in _number_stretch(moments)}
    return result


def _number_stretch(moments: Iterable[Moment]) -> list[tuple[int, int]]:
    """Pairs of the number of each of successive frames and the number of its shot."""
    numbers: list[int] = []

    def thumbnails() -> Iterator[np.ndarray]:
        for moment in moments:
            numbers.append(moment.number)
            yield moment.thumbnail

    shots = shot_numbers(thumbnails()).tolist()
    return list(zip(numbers, shots, strict=True))


def _read_moments(path: Path | str, numbers: list[int], info: VideoInfo) -> Iterator[Moment]:
    """Those of the frames `numbers` that can be decoded."""
    reformatter = VideoReformatter()
    for picture in read_pictures(path, numbers, info) if numbers else ():
        yield Moment(picture.number, picture.time, to_thumbnail(picture.decoded, reformatter))


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
        number = frames[track.frames[0]].moment.number
        for look in {max(number - step, 0), min(number + step, info.frames - 1)} - {number}:
            if len(track.frames) == 1:
                looks[look].append(track)
    again: dict[int, bool] = {}  # by id of a track, whether its face is seen again
    for frame in read_frames(path, sorted(looks), info) if looks else ():
        found = detector.detect(frame.image)
        boxes = [*found.boxes, *detector.detect_small(frame.image, found).boxes]
        for track in looks[frame.number]:
            is_near = similarity(frames[track.frames[0]].moment.details, frame.moment.details) >= DIFFERENT
            distances = [box_distance(track.detections[0].box, box) for box in boxes]
            again[id(track)] = again.get(id(track), False) or (
                is_near and min(distances, default=9) <= SUPPORT_DISTANCE
            )
    return [track for track in tracks if again.get(id(track), True)]
