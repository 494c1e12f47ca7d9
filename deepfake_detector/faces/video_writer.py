"""Writing H.264 video with PyAV, with the audio of another file."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake_detector.faces.video_reader import DEMUX_ERRORS, open_video, picture_stream
from deepfake_detector.files import ffmpeg_name

TIME_BASE = Fraction(1, 90_000)
MP4_AUDIO_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})


class VideoWriter:
    """Writes uint8 BGR frames as H.264 yuv420p in MP4, which browsers play. Use it as a context manager.

    The same frames give the same bytes. Odd sizes are padded by one pixel.
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
        """Open `path` for writing.

        Args:
            path: the file; it becomes MP4 whatever its suffix.
            rate: nominal frames per second.
            size: width and height in pixels.
            crf: constant rate factor of x264, from 0 (lossless) to 51.
            preset: speed preset of x264.
            sound_from: a video whose first audio stream is added; it is copied where MP4 can hold its codec, else
                encoded as AAC.
        """
        width, height = size
        self._padding = (height % 2, width % 2)
        self._container = av.open(ffmpeg_name(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        # One thread, and no macroblock tree: x264's lookahead gives other bytes for the same frames now and then.
        self._stream.options = {"crf": str(crf), "preset": preset, "x264-params": "mbtree=0"}
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.time_base = TIME_BASE
        self._audio = AudioCopy(self._container, sound_from) if sound_from else None

    def write(self, image: np.ndarray, time: float) -> None:
        """Add a frame, uint8 BGR (height, width, 3), shown from `time` seconds on; times must rise."""
        if any(self._padding):
            image = cv2.copyMakeBorder(image, 0, self._padding[0], 0, self._padding[1], cv2.BORDER_REPLICATE)
        picture = av.VideoFrame.from_ndarray(image, format="bgr24")
        picture.time_base = TIME_BASE
        picture.pts = round(time * TIME_BASE.denominator)
        self._container.mux(self._stream.encode(picture))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
                if self._audio:
                    self._audio.copy()
        finally:
            if self._audio:
                self._audio.close()
            self._container.close()


class AudioCopy:
    """Adds the first audio stream of the video `source`, if it has one, to an MP4 container that is being written."""

    def __init__(self, container: av.container.OutputContainer, source: Path | str) -> None:
        self._container = container
        self._input = open_video(source)
        self._source = self._input.streams.audio[0] if self._input.streams.audio else None
        if self._source is None:
            return
        self._remux = self._source.codec_context.name in MP4_AUDIO_CODECS
        if self._remux:
            self._target = container.add_stream_from_template(self._source)
        else:
            layout = self._source.layout.name
            if layout.endswith("channels"):  # "2 channels": PCM often names no layout, and the encoder needs one
                layout = "mono" if self._source.channels == 1 else "stereo"
            self._target = container.add_stream("aac", rate=self._source.rate, layout=layout)

    def copy(self) -> None:
        """Write all packets, with times relative to the start of the pictures; leave out a damaged end."""
        if self._source is None:
            return
        pictures = picture_stream(self._input)
        start = Fraction(pictures.start_time or 0) * (pictures.time_base or 1)
        try:
            for packet in self._input.demux(self._source):
                self._write(packet, start)
        except DEMUX_ERRORS:
            pass
        if not self._remux:
            self._container.mux(self._target.encode(None))

    def _write(self, packet: "av.Packet[av.AudioStream]", start: Fraction) -> None:
        """Write one packet, or encode what it decodes to, `start` seconds earlier."""
        if packet.dts is None or packet.pts is None:
            return
        if self._remux:
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._target
            self._container.mux(packet)
            return
        for samples in packet.decode():
            samples.pts = (samples.pts or 0) - round(start / (samples.time_base or 1))
            self._container.mux(self._target.encode(samples))

    def close(self) -> None:
        """Close the source; the container stays open."""
        self._input.close()
