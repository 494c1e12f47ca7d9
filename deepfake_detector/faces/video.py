"""Reading chosen frames of any video, and writing H.264, with PyAV."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_detector.faces.pixels import to_bgr

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
    """What the container says and its packets prove: times are seconds, sizes pixels before rotation.

    `order` has the number of each packet's frame, in the order of decoding, and `keys` whether it can be decoded without
    another; both are empty where packets carry no usable timestamps. `promised` is the count of frames in the header, or 0.
    """

    times: tuple[float, ...]
    width: int
    height: int
    rate: Fraction
    has_audio: bool
    stamps: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    keys: tuple[bool, ...] = ()
    promised: int = 0

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
        raise VideoError(f"{path} cannot be opened as a video: {getattr(error, 'strerror', None) or error}") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} has no video stream")
    stream = picture_stream(container)
    if max(stream.width, stream.height) > MAX_SIDE:
        size = f"{stream.width}x{stream.height}"
        container.close()
        raise VideoError(f"{path} is {size}; at most {MAX_SIDE} pixels a side are decoded")
    return container


def picture_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The stream that a player would show; as often as not the first, but never a cover picture where there is a video."""
    stream = container.streams.best("video")
    return stream if isinstance(stream, av.VideoStream) else container.streams.video[0]


def _start_decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """Its decoder, with one thread in a worker process, of which there is one for each core; else with as many as serve."""
    stream.thread_type = "AUTO"
    decoder = stream.codec_context
    if multiprocessing.parent_process():
        decoder.thread_count = 1
    return decoder


def probe(path: Path | str) -> VideoInfo:
    """Times of all frames from the packets alone: exact where headers lie or are silent, and nothing is decoded.

    Raises VideoError as `open_video` does, and when the stream holds no picture.
    """
    with open_video(path) as container:
        stream = picture_stream(container)
        base = stream.time_base or Fraction(1, 90_000)
        packets = []
        hidden = 0  # frames that an edit list keeps from being shown
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    packets.append((packet.pts, packet.is_keyframe))
                elif packet.size:
                    hidden += 1
        except av.FFmpegError as error:
            if not packets:
                raise VideoError(f"{path} is damaged from its start: {error}") from error
        if not packets:
            raise VideoError(f"{path} holds no frames")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        stamps = [stamp for stamp, _ in packets if stamp is not None]
        known = sorted(set(stamps))
        audio = bool(container.streams.audio)
        promised = max(stream.frames - hidden, 0)
        if len(known) < len(packets):
            times = tuple(float(i / rate) for i in range(len(packets)))
            return VideoInfo(times, stream.width, stream.height, rate, audio, promised=promised)
        times = tuple(float((stamp - known[0]) * base) for stamp in known)
        number = {stamp: i for i, stamp in enumerate(known)}
        order = () if hidden else tuple(number[stamp] for stamp in stamps)
        keys = tuple(key for _, key in packets)
        return VideoInfo(times, stream.width, stream.height, rate, audio, tuple(known), order, keys, promised)


def evenly_spread(total: int, wanted: int) -> list[int]:
    """Numbers of `wanted` frames (or all, if fewer) at the middles of equal parts of `total`, ascending."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


def choose_frames(info: VideoInfo, frames: int | str, fps: float | None = None) -> list[int]:
    """Numbers of the frames to look at, ascending.

    With `fps` the frames shown at the middle of each 1 / `fps` seconds; else with "keyframes" all that can be decoded alone;
    else that many, evenly spread.
    """
    if fps:
        times = np.array(info.times)
        end = max(times[-1] + float(1 / info.rate), 1 / fps)
        moments = np.arange(0.5 / fps, end, 1 / fps)
        return sorted({int(i) for i in np.clip(np.searchsorted(times, moments + 1e-6) - 1, 0, None)})
    if frames == "keyframes":
        return sorted(i for i, key in zip(info.order, info.keys, strict=True) if key) if info.order else [0]
    return evenly_spread(info.frames, int(frames))


def read_frames(path: Path | str, numbers: list[int] | None = None, info: VideoInfo | None = None) -> Iterator[Frame]:
    """Decode the frames numbered `numbers` (ascending; None: all of them) and give them upright, in order.

    With the `info` that `probe` gives, no more is decoded than the frames wanted need: what lies between them and the
    keyframe before is decoded but for frames that no other needs, all else is passed over. Frames that do not decode, or
    only in part, are left out; the caller sees it by the count. Raises VideoError if nothing decodes.
    """
    wanted = sorted(set(numbers)) if numbers is not None else None
    reformatter = VideoReformatter()
    given = -1
    if wanted and info and info.order:
        for number, picture in _decode_wanted(path, info, set(wanted)):
            if number != next((n for n in wanted if n > given), None):
                break  # one before it did not come: what is left is sought in order, from the start
            yield Frame(number, info.times[number], to_bgr(picture, reformatter))
            given = number
        if given == wanted[-1]:
            return
    rest = None if wanted is None else {n for n in wanted if n > given}
    yield from _read_in_order(path, rest, info, reformatter, quiet=given >= 0)


def _decode_wanted(path: Path | str, info: VideoInfo, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Numbers and pictures of `wanted`, from as few packets as may be."""
    needed = np.zeros(len(info.order) + 1, bool)  # of the packets; one more for the empty one at the end
    key = 0
    position = {number: i for i, number in enumerate(info.order)}
    keys = [i for i, is_key in enumerate(info.keys) if is_key]
    for number in sorted(wanted):
        last = position[number]
        while key + 1 < len(keys) and keys[key + 1] <= last and info.order[keys[key + 1]] <= number:
            key += 1
        needed[keys[key] if keys and keys[key] <= last else 0 : last + 1] = True
    number_of = {stamp: i for i, stamp in enumerate(info.stamps)}
    with open_video(path) as container:
        stream = picture_stream(container)
        decoder = _start_decoder(stream)
        behind = False  # packets were passed over since the decoder was last emptied
        packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        for i, packet in enumerate(_until_damage(packets)):
            if i >= len(info.order):
                break
            if not needed[i]:
                if i and needed[i - 1]:
                    yield from _wanted_of(_decoded(stream, None), number_of, wanted)
                    behind = True
                continue
            if behind:
                decoder.flush_buffers()
                behind = False
            decoder.skip_frame = "DEFAULT" if info.order[i] in wanted else "NONREF"
            yield from _wanted_of(_decoded(stream, packet), number_of, wanted)
        if not behind:
            yield from _wanted_of(_decoded(stream, None), number_of, wanted)


def _wanted_of(
    pictures: list[av.VideoFrame], number_of: dict[int, int], wanted: set[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    for picture in pictures:
        number = number_of.get(picture.pts, -1) if picture.pts is not None else -1
        if number in wanted and not picture.is_corrupt:
            yield number, picture


def _decoded(stream: av.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    """What comes out when `packet` (None: the end) goes in; nothing, if it is damaged."""
    try:
        return stream.decode(packet)
    except av.error.MemoryError:
        raise
    except av.FFmpegError:
        return []


def _until_damage(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    try:
        yield from packets
    except av.FFmpegError:
        return


def _read_in_order(
    path: Path | str, wanted: set[int] | None, info: VideoInfo | None, reformatter: VideoReformatter, quiet: bool
) -> Iterator[Frame]:
    """Decode everything from the start up to the last of `wanted` (None: all)."""
    last = None if wanted is None else max(wanted, default=-1)
    number_of = {stamp: i for i, stamp in enumerate(info.stamps)} if info else {}
    decoded = 0
    with open_video(path) as container:
        stream = picture_stream(container)
        _start_decoder(stream)
        origin = None
        for packet in _until_damage(container.demux(stream)):
            for picture in _decoded(stream, packet):
                number = number_of.get(picture.pts, decoded) if picture.pts is not None else decoded
                if last is not None and number > last:
                    return
                origin = picture.pts if origin is None else origin
                if (wanted is None or number in wanted) and not picture.is_corrupt:
                    time = (
                        info.times[number]
                        if info and picture.pts in number_of
                        else _seconds(picture, origin, stream, number)
                    )
                    yield Frame(number, time, to_bgr(picture, reformatter))
                decoded += 1
    if not decoded and not quiet:
        raise VideoError(f"{path} holds no frame that can be decoded")


def _seconds(picture: av.VideoFrame, origin: int | None, stream: av.VideoStream, number: int) -> float:
    if picture.pts is None or origin is None or picture.time_base is None:
        return float(number / (stream.average_rate or 25))
    return float((picture.pts - origin) * picture.time_base)


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
        picture = picture_stream(self._input)
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
