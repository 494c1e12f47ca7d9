"""Which frames of a video are sampled."""

from bisect import bisect_right

import numpy as np

from deepfake_detector.faces.video_file import VideoInfo


def evenly_spread(total: int, wanted: int) -> list[int]:
    """Indices at the middles of `wanted` equal parts of `total` items, ascending; all indices if `wanted` is larger."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


def choose_frames(info: VideoInfo, frames: int | str, fps: float | None = None) -> list[int]:
    """Numbers of the frames to sample, ascending.

    Args:
        info: the video.
        frames: how many frames, spread evenly; or "keyframes" for all frames that decode without another. Where the
            packets do not tell which these are, it is one frame a second.
        fps: if given, `frames` is ignored: in every 1 / `fps` seconds, the frame shown at the middle is sampled.
    """
    if fps:
        times = np.array(info.times)
        end = max(times[-1] + float(1 / info.rate), 1 / fps)
        moments = np.ceil((end - 0.5 / fps) / (1 / fps))  # only counted: a broken timestamp may be centuries away
        passed = np.floor((times[1:] - 1e-6) * fps + 0.5)  # moments before each frame but the first
        return np.flatnonzero(np.diff([0, *np.clip(passed, 0, moments), moments])).tolist()
    if frames == "keyframes":
        return info.keyframes if info.decode_order else choose_frames(info, frames, 1.0)
    return evenly_spread(info.frames, int(frames))


def frames_between(start: int, end: int, info: VideoInfo, seconds: float) -> list[int]:
    """Numbers of frames between two wanted frames, at most `seconds` apart where that costs little decoding.

    These are keyframes and the frames that decoding `end` needs anyway. Keyframes may be further apart.
    """
    keyframes = info.keyframes
    numbers: list[int] = []
    last = start
    while info.times[end] - info.times[last] > seconds:
        reach = max(bisect_right(info.times, info.times[last] + seconds) - 1, last + 1)
        before, after = bisect_right(keyframes, reach), bisect_right(keyframes, last)
        if before > after:
            last = keyframes[before - 1]
        elif after < len(keyframes) and keyframes[after] <= end:
            last = keyframes[after]
        else:
            last = reach
        if last >= end:
            break
        numbers.append(last)
    return numbers
