"""Reading the pictures of a video: any of its frames, as a player shows them."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_detector.faces.pixels import to_bgr, to_thumbnail
from deepfake_detector.faces.shots import Moment
from deepfake_detector.faces.timestamps import HIDDEN
from deepfake_detector.faces.video_file import (
    MAX_SIDE,
    VideoError,
    VideoInfo,
    open_video,
    picture_stream,
    probe,
    until_damage,
)

ALIGNMENT = 64 * MAX_SIDE  # pixels by which the memory of a picture may exceed the picture
MIN_SKIPPED = 30  # packets; fewer before a keyframe are decoded, too, since a look for a cut among them would cost more
MAX_PASSED = 1000  # thumbnails of pictures decoded between two wanted ones; the earliest of more are dropped


@dataclass(frozen=True)
class Frame:
    """One frame as a player shows it.

    Attributes:
        number: position in display order, from 0.
        time: seconds, as in `VideoInfo`.
        image: uint8 BGR (height, width, 3), upright and with square pixels.
        moment: the same, much smaller.
        passed: the pictures that were decoded on the way from the wanted frame before.
    """

    number: int
    time: float
    image: np.ndarray
    moment: Moment
    passed: Sequence[Moment] = ()


@dataclass(frozen=True)
class Picture:
    """One frame as it was decoded: `number` and `time` are those of a `Frame`.

    `pixel_aspect` is the width of a pixel divided by its height.
    """

    number: int
    time: float
    decoded: av.VideoFrame
    pixel_aspect: Fraction


def read_frames(path: Path | str, numbers: list[int] | None = None, info: VideoInfo | None = None) -> Iterator[Frame]:
    """Decode frames and yield them in display order, as a player shows them; otherwise like `read_pictures`."""
    for_images, for_thumbnails = VideoReformatter(), VideoReformatter()
    passed: deque[Moment] = deque(maxlen=MAX_PASSED)

    def moment_of(picture: Picture) -> Moment:
        return Moment(picture.number, picture.time, to_thumbnail(picture.decoded, for_thumbnails))

    for picture in read_pictures(path, numbers, info, lambda picture: passed.append(moment_of(picture))):
        image = to_bgr(picture.decoded, for_images, picture.pixel_aspect)
        yield Frame(picture.number, picture.time, image, moment_of(picture), tuple(passed))
        passed.clear()


def read_pictures(
    path: Path | str,
    numbers: list[int] | None = None,
    info: VideoInfo | None = None,
    passing: Callable[[Picture], None] = lambda picture: None,
) -> Iterator[Picture]:
    """Decode pictures and yield them in display order.

    Pictures that do not decode, or only in part, and those with too many pixels are left out; the number of the
    pictures shows it. Little more is decoded than the wanted ones need: each run starts at the keyframe before, and
    frames in between that no other frame needs are skipped.

    Args:
        path: the video.
        numbers: of the wanted pictures; None for all.
        info: from `probe`, which is called without it.
        passing: called in display order with pictures that are not wanted, but needed to decode the next wanted one.

    Raises:
        VideoError: as `probe`, and if nothing decodes.
        ValueError: if the video has no frame of a number.
    """
    info = info or probe(path)
    wanted = range(info.frames) if numbers is None else sorted(set(numbers))
    if beyond := [number for number in wanted if not 0 <= number < info.frames]:
        raise ValueError(f"{path} has the frames 0 to {info.frames - 1}, and none of number {beyond[0]}")
    last = latest = -1  # numbers of the last picture that was yielded, and of the last that was decoded
    if numbers and info.decode_order:
        selected, expected = set(wanted), iter(wanted)
        for picture in _decode_selected(path, info, selected):
            if picture.decoded.is_corrupt:
                continue
            if picture.number in selected:
                if picture.number != next(expected, None):
                    break  # an earlier picture is missing: the rest is read in order, from the start
                yield picture
                last = picture.number
            elif picture.number > latest:
                passing(picture)
            latest = max(latest, picture.number)
    remaining = {number for number in wanted if number > last}
    if remaining or numbers is None:
        for picture in _decode_in_order(path, info, max(remaining, default=-1)):
            if picture.decoded.is_corrupt:
                continue
            if picture.number in remaining:
                yield picture
            elif picture.number > latest:
                passing(picture)
            latest = max(latest, picture.number)


def _decode_selected(path: Path | str, info: VideoInfo, wanted: set[int]) -> Iterator[Picture]:
    """Decode the pictures `wanted` from as few packets as possible; also yield the others that these hold."""
    needed = _needed_packets(info, wanted)
    with open_video(path) as container:
        decoder = _PictureDecoder(picture_stream(container), info)
        drained = False  # the decoder was emptied before packets that were skipped
        number = HIDDEN
        for i, packet in enumerate(decoder.packets(container)):
            needed[i] |= packet.has_sidedata("new_extradata")  # a header of the codec, for all that follow
            if not needed[i]:
                if i and needed[i - 1]:
                    yield from decoder.decode(None)
                    drained = True
                continue
            if drained:
                decoder.context.flush_buffers()
                drained = False
            if info.decode_order[i] != HIDDEN:  # such as the second field of the picture before
                number = info.decode_order[i]
            decoder.context.skip_frame = "DEFAULT" if number in wanted else "NONREF"
            yield from decoder.decode(packet)
        if not drained:
            yield from decoder.decode(None)


def _needed_packets(info: VideoInfo, wanted: set[int]) -> np.ndarray:
    """Which packets to decode for the frames `wanted`, from the keyframe before each to its own: bool (packets,).

    Fewer than MIN_SKIPPED packets between two frames are not skipped.
    """
    needed = np.zeros(len(info.decode_order), bool)
    needed[0] = True  # all may need what it holds: the version of x264, for instance, of which old ones err in 4:4:4
    position = {number: i for i, number in enumerate(info.decode_order)}
    keys = [i for i, is_key in enumerate(info.is_keyframe) if is_key]
    key, done = 0, -MIN_SKIPPED  # the keyframe before, and the end of the packets that are needed so far
    for number in sorted(wanted):
        end = position[number]
        while end + 1 < len(needed) and info.decode_order[end + 1] == HIDDEN:  # such as its second field
            end += 1
        while key + 1 < len(keys) and keys[key + 1] <= end and info.decode_order[keys[key + 1]] <= number:
            key += 1
        start = keys[key] if keys and keys[key] <= end else 0
        needed[start if start - done >= MIN_SKIPPED else done : end + 1] = True
        done = max(done, end + 1)
    return needed


def _decode_in_order(path: Path | str, info: VideoInfo, end: int) -> Iterator[Picture]:
    """Decode everything up to the picture of number `end`.

    Raises VideoError if nothing decodes.
    """
    decoded = False
    with open_video(path) as container:
        decoder = _PictureDecoder(picture_stream(container), info)
        for packet in decoder.packets(container):
            for picture in decoder.decode(packet):
                decoded = True
                if picture.number > end:
                    return
                yield picture
        for picture in decoder.decode(None):
            decoded = True
            if picture.number <= end:
                yield picture
    if not decoded:
        raise VideoError(f"{path} holds no frame that can be decoded")


class _PictureDecoder:
    """Decodes the packets of a stream to pictures with their numbers and times.

    In a worker process, of which there is one per core, it has one thread.
    """

    def __init__(self, stream: av.VideoStream, info: VideoInfo) -> None:
        stream.thread_type = "AUTO"
        self.context = stream.codec_context
        self.context.options = {"max_pixels": str(info.max_pixels + ALIGNMENT)}  # for each picture, not just the first
        if multiprocessing.parent_process():
            self.context.thread_count = 1
        self._stream, self._info = stream, info
        # The ratio of the container wins, and that of the codec may change with every picture.
        self._container_aspect = None
        if stream.sample_aspect_ratio != self.context.sample_aspect_ratio:
            self._container_aspect = stream.sample_aspect_ratio
        self._count = 0

    def packets(self, container: av.container.InputContainer) -> "Iterator[av.Packet[av.VideoStream]]":
        """The packets that `probe` saw; each carries the number of its frame in place of a timestamp."""
        order = self._info.decode_order
        packets = (packet for packet in container.demux(self._stream) if packet.size)
        for i, packet in enumerate(until_damage(packets)):
            if order:
                if i >= len(order):
                    return
                packet.pts, packet.dts = order[i], i
            yield packet

    def decode(self, packet: "av.Packet[av.VideoStream] | None") -> list[Picture]:
        """The pictures that the decoder gives for `packet` (None: the end of the stream).

        Those that are hidden or too large are left out. Where the order is not known, they are numbered as they come.
        """
        pictures = []
        for decoded in _decode(self._stream, packet):
            number = self._count
            if self._info.decode_order:
                number = HIDDEN if decoded.pts is None else decoded.pts
            self._count += 1
            if number == HIDDEN or decoded.width * decoded.height > self._info.max_pixels:
                continue
            pictures.append(Picture(number, self._time(number), decoded, self._pixel_aspect()))
        return pictures

    def _time(self, number: int) -> float:
        """Seconds of a frame; the decoder may give more frames than there are packets."""
        times = self._info.times
        if number < len(times):
            return times[number]
        return times[-1] + (number - len(times) + 1) / float(self._info.rate)

    def _pixel_aspect(self) -> Fraction:
        return self._container_aspect or self.context.sample_aspect_ratio or Fraction(1)


def _decode(stream: av.VideoStream, packet: "av.Packet[av.VideoStream] | None") -> list[av.VideoFrame]:
    """The pictures that the decoder gives for `packet` (None: the end of the stream); none where it is damaged."""
    try:
        return stream.decode(packet)
    except av.error.MemoryError:
        raise
    except av.FFmpegError:
        return []
