"""The sound of a video, decoded and written again as AAC, which every browser plays in MP4."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

from deepfake_detector.faces.timestamps import RESTART
from deepfake_detector.faces.video_file import VideoInfo, open_video, until_damage
from deepfake_detector.files import ffmpeg_name

RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)  # Hz that AAC takes
LAYOUTS = {1: "mono", 2: "stereo"}  # by number of channels; others are mixed down
# Their channel layouts are usual ones, which PyAV decodes safely; libavfilter ends where layout or rate change.
USUAL_CODECS = ("mp1", "mp2", "mp3", "ac3", "eac3", "dts")
MAX_FAULTS = 1000  # damaged packets in a row after which a sound is given up
TOLERANCE = 0.03  # seconds by which timestamps may differ from the count of samples: many are rounded
LONGEST_TAIL = 60.0  # seconds of sound that are kept after the last picture
STEP = 1 << 15  # samples of silence that are made at a time


class SoundTrack:
    """Adds the first sound track of `source` that can be decoded to an MP4 container that is being written.

    A fault of the sound raises nothing. `problem` says what is missing of it; it is empty if nothing is.
    """

    def __init__(self, container: av.container.OutputContainer, source: Path | str, info: VideoInfo) -> None:
        """`info` is that of `source`. The track starts at time 0, with silence where the sound starts later."""
        self.problem = ""
        self._container = container
        self._position = 0  # samples so far
        self._rest: Iterator[av.AudioFrame] = iter(())
        self._next: av.AudioFrame | None = None
        for frames in _decodings(source):
            self._rest = _on_clock(frames, info)
            self._next = self._read()
            if self._next:
                self.problem = ""
                self._rate = self._next.sample_rate
                self._stream = container.add_stream("aac", rate=self._rate, layout=self._next.layout.name)
                return
        has_sound = info.has_audio and _has_packets(source)
        self.problem = "no sound: its sound cannot be decoded" if has_sound else ""

    def write_until(self, time: float) -> None:
        """Write the sound up to `time` seconds; gaps become silence, and of what overlaps the second is left out."""
        while self._next and self._position < time * self._rate:
            gap = (self._next.pts or 0) - self._position
            if gap > TOLERANCE * self._rate:
                self._encode(np.zeros((self._next.layout.nb_channels, min(gap, STEP)), np.int16))
                continue
            overlap = -gap if gap < -TOLERANCE * self._rate else 0
            self._encode(self._next.to_ndarray()[:, overlap:])
            self._next = self._read()

    def finish(self) -> None:
        """Write the rest."""
        self.write_until(np.inf)
        if self._position:
            self._container.mux(self._stream.encode(None))

    def _read(self) -> av.AudioFrame | None:
        try:
            return next(self._rest, None)
        except av.FFmpegError:
            self.problem = self.problem or "only a part of its sound: the rest cannot be decoded"
            return None

    def _encode(self, samples: np.ndarray) -> None:
        """Write samples, int16 (channels, n)."""
        if not samples.size:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "s16p", LAYOUTS[len(samples)])
        frame.sample_rate, frame.time_base, frame.pts = self._rate, Fraction(1, self._rate), self._position
        self._position += samples.shape[1]
        self._container.mux(self._stream.encode(frame))


def _has_packets(source: Path | str) -> bool:
    """Whether there is anything in a sound track."""
    with open_video(source) as container:
        return any(packet.size for packet in until_damage(container.demux(*container.streams.audio)))


def _decodings(source: Path | str) -> Iterator[Iterator[av.AudioFrame]]:
    """For each sound track that has a decoder the ways to decode it, up to the one that gives sound."""
    with open_video(source) as container:
        # PyAV frees an unusual channel layout twice if it is but looked at, so nothing here asks for one.
        streams = [stream for stream in container.streams.audio if stream.codec_context]
        tracks = [(stream.index, _is_usual(stream.codec_context)) for stream in streams]
    for track, is_usual in tracks:
        if is_usual:
            yield _decode(source, track)
        yield _mix_down(source, track)
        yield _mix_down(source, track, "mono|c0=c0")  # an ambisonic sound cannot be mixed; its first channel is all
        yield _mix_down(source, track, options=":advanced_editlist=0")  # see `open_video`


def _is_usual(context: av.AudioCodecContext) -> bool:
    """Whether `_decode` can be used: for USUAL_CODECS, and for AAC without a global header, as in broadcasts."""
    return context.codec.canonical_name in USUAL_CODECS or (context.name == "aac" and not context.extradata)


def _has_own_layout(packet: "av.Packet[av.AudioStream]") -> bool:
    """Whether an AAC packet with an ADTS header (ISO/IEC 13818-7) defines a channel layout, which may be unusual."""
    header = bytes(packet)[:4]
    return packet.stream.codec_context.name == "aac" and len(header) == 4 and not header[2] & 1 and header[3] < 0x40


def _decode(source: Path | str, track: int) -> Iterator[av.AudioFrame]:
    """Samples of a sound that `_is_usual` in stereo, in s16p at one of RATES, with the timestamps of the file.

    Damaged packets are left out, and those that define a channel layout.
    """
    with open_video(source) as container:
        stream = container.streams[track]
        assert isinstance(stream, av.AudioStream)
        rate = min(RATES, key=lambda rate: abs(rate - stream.rate))
        resampler, form = av.AudioResampler("s16p", "stereo", rate), None
        for packet in until_damage(container.demux(stream)):
            if _has_own_layout(packet):
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                form, before = (frame.format.name, frame.layout.name, frame.sample_rate), form
                if before not in (None, form):  # a resampler takes one form, or passes all on if it was right at first
                    yield from resampler.resample(None)
                    resampler = av.AudioResampler("s16p", "stereo", rate)
                yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _mix_down(source: Path | str, track: int, pan: str = "", options: str = "") -> Iterator[av.AudioFrame]:
    """Samples of a sound with any number of channels, otherwise like `_decode`; `options` are those of the demuxer.

    libavfilter reads and decodes the file: PyAV cannot decode unusual channel layouts safely.

    Raises av.FFmpegError where it cannot go on.
    """
    with Path(source).open("rb") as file:
        name = ffmpeg_name(source)
        if not _is_utf8(name):  # as PyAV wants the options of a filter
            name = f"/dev/fd/{file.fileno()}"
        yield from _filter(name, track, pan, options)


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _filter(name: str, track: int, pan: str, options: str) -> Iterator[av.AudioFrame]:
    """`_mix_down` of the file that FFmpeg opens under a name."""
    graph = Graph()
    options = f"protocol_whitelist=file{options}"  # a playlist must not fetch anything
    filters = [graph.add("amovie", filename=name, stream_index=str(track), format_opts=options)]
    if pan:
        filters.append(graph.add("pan", pan))
    layouts, rates = "|".join(LAYOUTS.values()), "|".join(map(str, RATES))
    filters.append(graph.add("aformat", sample_fmts="s16p", channel_layouts=layouts, sample_rates=rates))
    graph.link_nodes(*filters, graph.add("abuffersink")).configure()
    faults, fault = 0, None
    while True:
        try:
            frame = graph.pull()
        except av.EOFError:
            if isinstance(fault, av.error.PatchWelcomeError):  # the layout or the rate changed, and did not change back
                raise fault from None
            return
        except av.FFmpegError as error:
            faults, fault = faults + 1, error  # a damaged packet
            if faults > MAX_FAULTS:
                raise
            continue
        assert isinstance(frame, av.AudioFrame)
        faults, fault = 0, None
        yield frame


def _on_clock(frames: Iterator[av.AudioFrame], info: VideoInfo) -> Iterator[av.AudioFrame]:
    """The frames with timestamps on the clock of `info.times`, counted in samples."""
    part, latest, end = 0, None, 0
    for frame in frames:
        if frame.pts is not None and frame.time_base is not None:
            seconds = float(frame.pts * frame.time_base)
            part += latest is not None and latest - seconds > RESTART
            latest = seconds
            end = round((seconds + info.offsets[min(part, len(info.offsets) - 1)]) * frame.sample_rate)
        if end > (info.times[-1] + LONGEST_TAIL) * frame.sample_rate:
            return
        frame.pts, frame.time_base = end, Fraction(1, frame.sample_rate)
        yield frame
        end += frame.samples
