"""Reading video with PyAV: what a file holds, and any of its frames."""

import multiprocessing
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from deepfake_detector.faces.pixels import to_bgr
from deepfake_detector.files import ffmpeg_name

MAX_SIDE = 16_384  # pixels; larger pictures are refused before decoding, since any upload could fill the memory
DEFAULT_RATE = 25  # frames per second of a video that states none
DEFAULT_TIME_BASE = Fraction(1, 90_000)
# What demuxing a damaged file raises. IndexError: PyAV does not know a stream that appears after the file was opened.
DEMUX_ERRORS = (av.FFmpegError, IndexError)
FILE_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat")
PLAYLIST = "a playlist; give the video files that it names"  # shown would be other files than the one that was given
NO_VIDEO_FORMATS = {"dash": PLAYLIST, "imf": PLAYLIST, "tty": "a text, not a video"}  # FFmpeg opens them as videos


class VideoError(Exception):
    """The file holds no video that can be read; the message says why."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        number: position in display order, from 0.
        time: seconds since the first frame.
        image: uint8 BGR (height, width, 3), upright.
    """

    number: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What the header and the packets of a video say; nothing is decoded for it.

    Attributes:
        times: seconds of each frame since the first one, in display order.
        width, height: pixels before rotation.
        rate: nominal frames per second.
        has_audio: whether there is an audio stream.
        timestamps: of each frame in display order, in units of the stream's time base.
        decode_order: the frame number of each packet, in the order of the file.
        is_keyframe: for each packet, whether it decodes without another.
        header_frames: the number of frames that the header states; 0 where it states none.

    Where packets carry no usable timestamps, `timestamps`, `decode_order` and `is_keyframe` are empty.
    """

    times: tuple[float, ...]
    width: int
    height: int
    rate: Fraction
    has_audio: bool
    timestamps: tuple[int, ...] = ()
    decode_order: tuple[int, ...] = ()
    is_keyframe: tuple[bool, ...] = ()
    header_frames: int = 0

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.times)

    @property
    def keyframes(self) -> list[int]:
        """Numbers of the frames that decode without another, ascending."""
        if not self.decode_order:
            return []
        return sorted(number for number, key in zip(self.decode_order, self.is_keyframe, strict=True) if key)


def open_video(path: Path | str) -> av.container.InputContainer:
    """Open a video for reading.

    Raises VideoError if the file is missing, empty or no video, if no decoder is known for its codec, or if its picture
    is larger than MAX_SIDE.
    """
    check_file(path)
    try:
        with Path(path).open("rb") as file:
            if file.read(8).startswith(PLAYLIST_STARTS):
                raise VideoError(f"{path} is {PLAYLIST}")
        options = {"protocol_whitelist": "file", "pattern_type": "none"}  # nothing but this file
        container = av.open(ffmpeg_name(path), options=options, metadata_errors="replace")
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise VideoError(f"{path} is no video, or it is damaged or incomplete") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be opened as a video: {getattr(error, 'strerror', None) or error}") from error
    try:
        _check_content(container, path)
    except VideoError:
        container.close()
        raise
    return container


def check_file(path: Path | str) -> None:
    """Raise VideoError unless `path` is a file with content: a pipe or a device may never end."""
    try:
        status = Path(path).stat()
    except FileNotFoundError as error:
        problem = "is a link to a file that does not exist" if Path(path).is_symlink() else "does not exist"
        raise VideoError(f"{path} {problem}") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise VideoError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        raise VideoError(f"{path} is a folder that cannot be searched: permission denied")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path} is {FILE_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}, not a file")
    if not status.st_size:
        raise VideoError(f"{path} is empty")


def _check_content(container: av.container.InputContainer, path: Path | str) -> None:
    """Raise VideoError unless the container has a video of a known codec that is not too large."""
    if container.format.name in NO_VIDEO_FORMATS:
        raise VideoError(f"{path} is {NO_VIDEO_FORMATS[container.format.name]}")
    videos = _videos(container)
    if not videos:
        found = ", only a cover picture" if container.streams.video else ", only sound" * bool(container.streams.audio)
        raise VideoError(f"{path}: there is no video in it{found}")
    if not any(stream.codec_context for stream in videos):
        codec = _codec_name(container, videos[0])
        raise VideoError(
            f"{path}: its video codec{codec and f' {codec!r}'} is not known; convert it to H.264, for example"
        )
    stream = picture_stream(container)
    if max(stream.width, stream.height) > MAX_SIDE:
        raise VideoError(f"{path} is {stream.width}x{stream.height}; at most {MAX_SIDE} pixels a side are decoded")


def _videos(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams without pictures that only illustrate the file, as the cover of an album does."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _codec_name(container: av.container.InputContainer, stream: av.VideoStream) -> str:
    """The name or the code of a codec without a decoder; empty if the file states none.

    PyAV tells it only in the description that FFmpeg logs.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        description = container.dumps_format()  # type: ignore[attr-defined]  # the stubs lack it
    finally:
        av.logging.set_level(level)
    match = re.search(rf"Stream #0:{stream.index}\b.*?: Video: (\w+)(?:.*?\(([^()]+?) */ 0x[0-9A-F]+\))?", description)
    if not match:
        return ""
    name, code = match.groups()
    return (code or "") if name == "none" else name


def picture_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The video stream that a player shows: mostly the first one, but no cover picture, and one that can be decoded."""
    playable = [stream for stream in _videos(container) if stream.codec_context]
    best = container.streams.best("video")
    return best if isinstance(best, av.VideoStream) and best in playable else playable[0]


def probe(path: Path | str) -> VideoInfo:
    """Read the times of all frames from the packets, without decoding. They are exact even where the header is wrong.

    Raises VideoError as `open_video` does, and if the stream holds no picture.
    """
    with open_video(path) as container:
        stream = picture_stream(container)
        packets, hidden = _list_packets(container, stream, path)
        rate = stream.average_rate or stream.guessed_rate or Fraction(DEFAULT_RATE)
        size = stream.width, stream.height
        has_audio = bool(container.streams.audio)
        header_frames = max(stream.frames - hidden, 0)
        packet_timestamps = [timestamp for timestamp, _ in packets if timestamp is not None]
        timestamps = sorted(set(packet_timestamps))
        if len(timestamps) < len(packets):
            times = tuple(float(i / rate) for i in range(len(packets)))
            return VideoInfo(times, *size, rate, has_audio, header_frames=header_frames)
        time_base = stream.time_base or DEFAULT_TIME_BASE
        times = tuple(float((timestamp - timestamps[0]) * time_base) for timestamp in timestamps)
        number = {timestamp: i for i, timestamp in enumerate(timestamps)}
        # Frames may depend on hidden packets, which `read_frames` would skip: without an order it decodes everything.
        order = () if hidden else tuple(number[timestamp] for timestamp in packet_timestamps)
        keys = tuple(key for _, key in packets)
        return VideoInfo(times, *size, rate, has_audio, tuple(timestamps), order, keys, header_frames)


def _list_packets(
    container: av.container.InputContainer, stream: av.VideoStream, path: Path | str
) -> tuple[list[tuple[int | None, bool]], int]:
    """Timestamp and key flag of each packet that is shown, and the number of packets that an edit list hides."""
    packets = []
    hidden = 0
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                packets.append((packet.pts, packet.is_keyframe))
            elif packet.size:
                hidden += 1
    except DEMUX_ERRORS as error:
        if not packets:
            raise VideoError(f"{path} is damaged from its start: {error}") from error
    if not packets:
        raise VideoError(f"{path} holds no frames")
    return packets, hidden


def read_frames(path: Path | str, numbers: list[int] | None = None, info: VideoInfo | None = None) -> Iterator[Frame]:
    """Decode frames and yield them in display order.

    Frames that do not decode, or only in part, are left out; the number of frames shows it.

    Args:
        path: the video.
        numbers: of the wanted frames; None for all.
        info: from `probe`. With it, no more is decoded than the wanted frames need: each run starts at the keyframe
            before, and frames in between that no other frame needs are skipped.

    Raises:
        VideoError: as `open_video`, and if nothing decodes.
    """
    wanted = sorted(set(numbers)) if numbers is not None else None
    reformatter = VideoReformatter()
    last = -1  # number of the last frame that was yielded
    if wanted and info and info.decode_order:
        for number, picture in _decode_selected(path, info, set(wanted)):
            if number != next((n for n in wanted if n > last), None):
                break  # an earlier frame is missing: the rest is read in order, from the start
            yield Frame(number, info.times[number], to_bgr(picture, reformatter))
            last = number
        if last == wanted[-1]:
            return
    remaining = None if wanted is None else {n for n in wanted if n > last}
    for number, time, picture in _decode_in_order(path, remaining, info):
        if (remaining is None or number in remaining) and not picture.is_corrupt:
            yield Frame(number, time, to_bgr(picture, reformatter))


def _decode_selected(path: Path | str, info: VideoInfo, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the frames `wanted` from as few packets as possible; yield their numbers and pictures."""
    needed = _needed_packets(info, wanted)
    number_of: dict[int | None, int] = {timestamp: i for i, timestamp in enumerate(info.timestamps)}

    def selected(pictures: list[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        for picture in pictures:
            number = number_of.get(picture.pts, -1)
            if number in wanted and not picture.is_corrupt:
                yield number, picture

    with open_video(path) as container:
        stream = picture_stream(container)
        decoder = _start_decoder(stream)
        drained = False  # the decoder was emptied before packets that were skipped
        packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        for i, packet in enumerate(_until_damage(packets)):
            if i >= len(info.decode_order):
                break
            if not needed[i]:
                if i and needed[i - 1]:
                    yield from selected(_decode(stream, None))
                    drained = True
                continue
            if drained:
                decoder.flush_buffers()
                drained = False
            decoder.skip_frame = "DEFAULT" if info.decode_order[i] in wanted else "NONREF"
            yield from selected(_decode(stream, packet))
        if not drained:
            yield from selected(_decode(stream, None))


def _needed_packets(info: VideoInfo, wanted: set[int]) -> np.ndarray:
    """Which packets the frames `wanted` need, from the keyframe before each to its own packet: bool (packets,)."""
    needed = np.zeros(len(info.decode_order), bool)
    position = {number: i for i, number in enumerate(info.decode_order)}
    keys = [i for i, is_key in enumerate(info.is_keyframe) if is_key]
    key = 0
    for number in sorted(wanted):
        end = position[number]
        while key + 1 < len(keys) and keys[key + 1] <= end and info.decode_order[keys[key + 1]] <= number:
            key += 1
        needed[keys[key] if keys and keys[key] <= end else 0 : end + 1] = True
    return needed


def _decode_in_order(
    path: Path | str, wanted: set[int] | None, info: VideoInfo | None
) -> Iterator[tuple[int, float, av.VideoFrame]]:
    """Decode everything up to the last frame of `wanted` (None: all); yield number, time in seconds and picture.

    Raises VideoError if nothing decodes.
    """
    end = None if wanted is None else max(wanted, default=-1)
    number_of: dict[int | None, int] = {timestamp: i for i, timestamp in enumerate(info.timestamps)} if info else {}
    with open_video(path) as container:
        stream = picture_stream(container)
        _start_decoder(stream)
        pictures = (picture for packet in _until_damage(container.demux(stream)) for picture in _decode(stream, packet))
        start = None
        decoded = False
        for count, picture in enumerate(pictures):
            decoded = True
            number = number_of.get(picture.pts, count)
            if end is not None and number > end:
                return
            start = picture.pts if start is None else start
            time = info.times[number] if info and picture.pts in number_of else _seconds(picture, start, stream, number)
            yield number, time, picture
    if not decoded:
        raise VideoError(f"{path} holds no frame that can be decoded")


def _seconds(picture: av.VideoFrame, start: int | None, stream: av.VideoStream, number: int) -> float:
    """Time of a picture since the timestamp `start`, or by its number where it has no timestamp."""
    if picture.pts is None or start is None or picture.time_base is None:
        return float(number / (stream.average_rate or DEFAULT_RATE))
    return float((picture.pts - start) * picture.time_base)


def _start_decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """The decoder of a stream. In a worker process, of which there is one per core, it has one thread."""
    stream.thread_type = "AUTO"
    decoder = stream.codec_context
    if multiprocessing.parent_process():
        decoder.thread_count = 1
    return decoder


def _decode(stream: av.VideoStream, packet: "av.Packet[av.VideoStream] | None") -> list[av.VideoFrame]:
    """The pictures that the decoder gives for `packet` (None: the end of the stream); none where it is damaged."""
    try:
        return stream.decode(packet)
    except av.error.MemoryError:
        raise
    except av.FFmpegError:
        return []


def _until_damage(packets: "Iterator[av.Packet[av.VideoStream]]") -> "Iterator[av.Packet[av.VideoStream]]":
    try:
        yield from packets
    except DEMUX_ERRORS:
        return
