"""Reading chosen frames of any video, and writing H.264, with PyAV."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

MAX_SIDE = 16_384  # a larger picture is refused before it is decoded: three bytes a pixel, from a stranger's file


class VideoError(Exception):
    """The file holds no video that can be read; the message says why."""


@dataclass(frozen=True)
class Frame:
    """One decoded picture: `number` in order of display from 0, `time` in seconds, `image` uint8 BGR (height, width, 3)."""

    number: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What the container says and its packets prove: times are seconds, sizes pixels before rotation."""

    times: tuple[float, ...]
    width: int
    height: int
    rate: Fraction
    has_audio: bool

    @property
    def frames(self) -> int:
        return len(self.times)


def open_video(path: Path | str) -> av.container.InputContainer:
    """Open for reading. Raises VideoError when the file is missing, empty, not a video or has no picture stream."""
    try:
        container = av.open(
            str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )  # a playlist fetches nothing
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be opened as a video: {error}") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} has no video stream")
    stream = container.streams.video[0]
    if max(stream.width, stream.height) > MAX_SIDE:
        size = f"{stream.width}x{stream.height}"
        container.close()
        raise VideoError(f"{path} is {size}; at most {MAX_SIDE} pixels a side are decoded")
    return container


def probe(path: Path | str) -> VideoInfo:
    """Times of all frames from the packets alone: exact where headers lie or are silent, and nothing is decoded.

    Raises VideoError as `open_video` does, and when the stream holds no picture.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        base = stream.time_base or Fraction(1, 90_000)
        stamps = []
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    stamps.append(packet.pts)
        except av.FFmpegError as error:
            if not stamps:
                raise VideoError(f"{path} is damaged from its start: {error}") from error
        if not stamps:
            raise VideoError(f"{path} holds no frames")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        known = sorted(stamp for stamp in stamps if stamp is not None)
        if len(known) < len(stamps):
            times = tuple(float(i / rate) for i in range(len(stamps)))
        else:
            times = tuple(float((stamp - known[0]) * base) for stamp in known)
        return VideoInfo(times, stream.width, stream.height, rate, bool(container.streams.audio))


def evenly_spread(total: int, wanted: int) -> list[int]:
    """Numbers of `wanted` frames (or all, if fewer) at the middles of equal parts of `total`, ascending."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


def read_frames(path: Path | str, numbers: list[int] | None = None) -> Iterator[Frame]:
    """Decode in order, converting only the frames numbered `numbers` (ascending; None: all of them), upright.

    A damaged tail ends the iteration early; the caller sees it by the count. Raises VideoError if nothing decodes.
    """
    wanted = None if numbers is None else set(numbers)
    last = None if numbers is None else max(numbers, default=-1)
    decoded = 0
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        origin = None
        try:
            for picture in container.decode(stream):
                if last is not None and decoded > last:
                    break
                origin = picture.pts if origin is None else origin
                if wanted is None or decoded in wanted:
                    yield Frame(decoded, _seconds(picture, origin, stream, decoded), upright(picture))
                decoded += 1
        except av.FFmpegError as error:
            if not decoded:
                raise VideoError(f"{path} cannot be decoded: {error}") from error
    if not decoded:
        raise VideoError(f"{path} holds no frame that can be decoded")


def _seconds(picture: av.VideoFrame, origin: int | None, stream: av.VideoStream, number: int) -> float:
    if picture.pts is None or origin is None or picture.time_base is None:
        return float(number / (stream.average_rate or 25))
    return float((picture.pts - origin) * picture.time_base)


def upright(picture: av.VideoFrame) -> np.ndarray:
    """The picture as uint8 BGR (height, width, 3), turned as its display matrix asks."""
    image = picture.to_ndarray(format="bgr24")
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


class VideoWriter:
    """Write uint8 BGR frames as H.264 yuv420p that browsers play; odd sizes are padded by one pixel.

    The same frames give the same bytes. Use as a context manager. With `sound_from`, the audio
    of that file is copied in (as it is where MP4 can hold its codec, else as AAC).
    """

    def __init__(
        self,
        path: Path | str,
        rate: Fraction,
        size: tuple[int, int],
        crf: int = 20,
        preset: str = "fast",
        sound_from: Path | str | None = None,
    ) -> None:
        width, height = size
        self._pad = (height % 2, width % 2)
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        # One thread, and no macroblock tree: x264's lookahead gives other bytes for the same frames now and then.
        self._stream.options = {"crf": str(crf), "preset": preset, "x264-params": "mbtree=0"}
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.time_base = Fraction(1, 90_000)
        self._sound = Sound(self._container, sound_from) if sound_from else None

    def write(self, image: np.ndarray, time: float) -> None:
        """Add a frame that is shown at `time` seconds; times must rise."""
        if any(self._pad):
            image = cv2.copyMakeBorder(image, 0, self._pad[0], 0, self._pad[1], cv2.BORDER_REPLICATE)
        picture = av.VideoFrame.from_ndarray(image, format="bgr24")
        picture.time_base = Fraction(1, 90_000)
        picture.pts = round(time * 90_000)
        self._container.mux(self._stream.encode(picture))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
                if self._sound:
                    self._sound.copy()
        finally:
            if self._sound:
                self._sound.close()
            self._container.close()


class Sound:
    """The first audio stream of `source`, on its way into an MP4 container."""

    MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})

    def __init__(self, container: av.container.OutputContainer, source: Path | str) -> None:
        self._container = container
        self._input = open_video(source)
        self._from = self._input.streams.audio[0] if self._input.streams.audio else None
        if self._from is None:
            return
        self._as_is = self._from.codec_context.name in self.MP4_CODECS
        if self._as_is:
            self._to = container.add_stream_from_template(self._from)
        else:
            self._to = container.add_stream("aac", rate=self._from.rate, layout=self._from.layout)

    def copy(self) -> None:
        """Mux all packets; times start at those of the picture. A damaged tail of the sound is left out."""
        if self._from is None:
            return
        picture = self._input.streams.video[0]
        start = Fraction(picture.start_time or 0) * (picture.time_base or 1)
        try:
            for packet in self._input.demux(self._from):
                if packet.dts is None or packet.pts is None:
                    continue
                if self._as_is:
                    shift = round(start / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = self._to
                    self._container.mux(packet)
                else:
                    for piece in packet.decode():
                        piece.pts = (piece.pts or 0) - round(start / (piece.time_base or 1))
                        self._container.mux(self._to.encode(piece))
        except av.FFmpegError:
            pass
        if not self._as_is:
            self._container.mux(self._to.encode(None))

    def close(self) -> None:
        self._input.close()
