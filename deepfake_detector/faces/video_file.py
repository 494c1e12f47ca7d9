"""Video files: opening them, and what their headers and packets say."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.stream import Disposition

from deepfake_detector.faces.h264_fields import SecondFields
from deepfake_detector.faces.matroska import ends_early, video_codec
from deepfake_detector.faces.mp4_boxes import listed_pictures
from deepfake_detector.faces.timestamps import HIDDEN, PacketStamps, display_order
from deepfake_detector.files import ffmpeg_name

MAX_SIDE = 16_384  # pixels; larger pictures are refused before decoding, since any upload could fill the memory
MAX_PIXELS = 8192 * 4352  # of one picture: 8K and its spherical kind
MAX_FRAMES = 2_000_000  # of one video: 22 hours at 25 frames a second
DEFAULT_RATE = 25  # frames per second of a video that states none
CLOCK_RATE = 4  # times as many frames per second as there are, from which a stated rate is none of frames
# What demuxing a damaged file raises. IndexError: PyAV does not know a stream that appears after the file was opened.
DEMUX_ERRORS = (av.FFmpegError, IndexError)
ILLUSTRATIONS = Disposition.attached_pic | Disposition.timed_thumbnails
FILE_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat")
PLAYLIST = "a playlist; give the video files that it names"  # shown would be other files than the one that was given
NO_VIDEO_FORMATS = {"dash": PLAYLIST, "imf": PLAYLIST, "tty": "a text, not a video"}  # FFmpeg opens them as videos


class VideoError(Exception):
    """The file holds no video that can be read; the message says why."""


@dataclass(frozen=True)
class VideoInfo:
    """What the header and the packets of a video say; nothing is decoded for it.

    Attributes:
        times: seconds of each frame in display order, rising. They count from the first frame, or from the first sound
            where that is earlier, as the clock of a player does.
        width, height: pixels as stored: before the display matrix turns them, and before they are made square.
        rate: nominal frames per second, or those that there are where the nominal ones are none.
        has_audio: whether there is an audio stream.
        decode_order: for each packet in the order of the file, the number of its frame, or HIDDEN. Empty where the
            packets do not tell it.
        is_keyframe: for each packet, whether it decodes without another; empty like `decode_order`.
        offsets: seconds to add to the timestamps of the file to get `times`: the first for the timestamps up to where
            they first run backwards, the second up to where they do so again, and so on.
        missing: the number of frames that the file does not hold, though its index, or else its header, lists them.
        max_pixels: larger pictures are not decoded.
        other_tracks: the number of video tracks beside the one that a player shows. They are not read.
        ends_early: whether the file is shorter than its header states, where it does not say by how many frames.
    """

    times: tuple[float, ...]
    width: int
    height: int
    rate: Fraction
    has_audio: bool
    decode_order: tuple[int, ...] = ()
    is_keyframe: tuple[bool, ...] = ()
    offsets: tuple[float, ...] = (0.0,)
    missing: int = 0
    max_pixels: int = MAX_PIXELS
    other_tracks: int = 0
    ends_early: bool = False

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.times)

    @property
    def keyframes(self) -> list[int]:
        """Numbers of the frames that decode without another, ascending."""
        keys = (number for number, key in zip(self.decode_order, self.is_keyframe, strict=True) if key)
        return sorted(number for number in keys if number != HIDDEN)


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
        if listed_pictures(path) > MAX_FRAMES:
            raise _too_long(path)
        options = {"protocol_whitelist": "file", "pattern_type": "none"}  # nothing but this file
        container = av.open(ffmpeg_name(path), options=options, metadata_errors="replace")
        if _all_cut(container):
            container.close()
            options["advanced_editlist"] = "0"
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


def _all_cut(container: av.container.InputContainer) -> bool:
    """Whether the edit list of an MP4 file shows no picture: old programs state 0 seconds for the whole video."""
    indexes = [stream.index_entries for stream in container.streams.video]
    return any(map(len, indexes)) and all(entry.is_discard for index in indexes for entry in index)


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


def _too_long(path: Path | str) -> VideoError:
    return VideoError(f"{path} has more than {MAX_FRAMES:,} frames; cut it into parts")


def _check_content(container: av.container.InputContainer, path: Path | str) -> None:
    """Raise VideoError unless the container has a video of a known codec that is not too large."""
    if container.format.name in NO_VIDEO_FORMATS:
        raise VideoError(f"{path} is {NO_VIDEO_FORMATS[container.format.name]}")
    videos = _videos(container)
    if not videos:
        found = ", only a cover picture" if container.streams.video else ", only sound" * bool(container.streams.audio)
        raise VideoError(f"{path}: there is no video in it{found}")
    if not any(stream.codec_context for stream in videos):
        codec = _codec_name(container, videos[0]) or video_codec(path)
        raise VideoError(
            f"{path}: its video codec{codec and f' {codec!r}'} is not known; convert it to H.264, for example"
        )
    stream = picture_stream(container)
    if max(stream.width, stream.height) > MAX_SIDE:
        raise VideoError(f"{path} is {stream.width}x{stream.height}; at most {MAX_SIDE} pixels a side are decoded")


def _videos(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams without pictures that only illustrate the file, as the cover of an album does."""
    return [stream for stream in container.streams.video if not stream.disposition & ILLUSTRATIONS]


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


def probe(path: Path | str, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Read the times of all frames from the packets, without decoding. They are exact even where the header is wrong.

    Raises VideoError as `open_video` does, if the stream holds no picture or more than MAX_FRAMES of them, and if they
    have more than `max_pixels` pixels.
    """
    with open_video(path) as container:
        stream = picture_stream(container)
        if stream.width * stream.height > max_pixels:
            size, limit = f"{stream.width} x {stream.height} pixels", f"{max_pixels / 1e6:g} megapixels"
            raise VideoError(f"{path} has pictures of {size}; the limit is {limit}")
        indexed = sum(entry.size > 0 for entry in stream.index_entries)
        packets = _list_packets(container, stream, path)
        rate = stream.average_rate or stream.guessed_rate or Fraction(DEFAULT_RATE)
        start = Fraction(container.start_time, av.time_base) if container.start_time is not None else None
        order = display_order(packets, stream.time_base or Fraction(1, 90_000), rate, start)
        return VideoInfo(
            order.times,
            stream.width,
            stream.height,
            _frame_rate(rate, order.times),
            bool(container.streams.audio),
            order.numbers,
            tuple(packet.is_keyframe for packet in packets) if order.numbers else (),
            order.offsets,
            max((indexed if indexed >= len(packets) else stream.frames) - len(packets), 0),
            max_pixels,
            len(_videos(container)) - 1,
            ends_early(path),
        )


def _frame_rate(nominal: Fraction, times: tuple[float, ...]) -> Fraction:
    """The nominal rate, unless it is that of a clock: some programs state 1000 for times in milliseconds."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return nominal if step * nominal < CLOCK_RATE else Fraction(max(1, round(1000 / step)), 1000)


def _list_packets(
    container: av.container.InputContainer, stream: av.VideoStream, path: Path | str
) -> list[PacketStamps]:
    is_vp8 = stream.codec_context.name == "vp8"
    fields = SecondFields(stream.codec_context.extradata or b"") if stream.codec_context.name == "h264" else None
    # AVI numbers pictures as they are decoded, and what PyAV gives for their display is a guess.
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    packets = []
    try:
        for packet in container.demux(stream):
            if packet.size:
                is_second = bool(fields and fields.are_possible and fields.is_second(bytes(packet)))
                hidden = packet.is_discard or is_second or (is_vp8 and _is_invisible(packet))
                pts = None if guessed else packet.pts
                packets.append(PacketStamps(pts, packet.dts, packet.is_keyframe and not is_second, hidden))
            if max(len(packets), stream.frames) > MAX_FRAMES:
                raise _too_long(path)
    except DEMUX_ERRORS as error:
        if not packets:
            raise VideoError(f"{path} is damaged from its start: {error}") from error
    if not any(not packet.is_hidden for packet in packets):
        raise VideoError(f"{path} holds no frames")
    return packets


def _is_invisible(packet: "av.Packet[av.VideoStream]") -> bool:
    """Whether a VP8 packet only helps to predict others: its show_frame bit is not set (RFC 6386, section 9.1)."""
    return not bytes(packet)[0] & 0x10


Packets = TypeVar("Packets", bound="av.Packet[Any]")


def until_damage(packets: Iterator[Packets]) -> Iterator[Packets]:
    """The packets up to where the file is too damaged to go on."""
    try:
        yield from packets
    except DEMUX_ERRORS:
        return
