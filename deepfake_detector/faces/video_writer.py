"""Writing H.264 video with PyAV, with the sound of another file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from deepfake_detector.faces.pixels import YuvImage
from deepfake_detector.faces.planes import from_bgr, to_frame
from deepfake_detector.faces.sound import SoundTrack
from deepfake_detector.faces.video_file import VideoInfo, probe
from deepfake_detector.files import ffmpeg_name

TIME_BASE = Fraction(1, 90_000)
SMPTE170M = 6  # AVCOL_SPC_SMPTE170M; PyAV's Colorspace numbers BT.601 otherwise


class VideoWriter:
    """Writes H.264 yuv420p in MP4, which browsers play. Use it as a context manager.

    The same pictures give the same bytes. The file states its colours: those of BT.709, or those of BT.601 (NTSC).

    Attributes:
        missing_sound: what is missing of the sound, in words; empty if nothing is.
    """

    def __init__(
        self,
        path: Path | str,
        rate: Fraction,
        size: tuple[int, int],
        crf: int = 20,
        preset: str = "fast",
        threads: int = 1,
        sound_from: Path | str | None = None,
        info: VideoInfo | None = None,
    ) -> None:
        """Open `path` for writing.

        Args:
            path: the file; it becomes MP4 whatever its suffix.
            rate: nominal frames per second.
            size: width and height in pixels; odd ones are padded by one pixel.
            crf: constant rate factor of x264, from 0 (lossless) to 51.
            preset: speed preset of x264.
            threads: of x264. Another number gives other bytes.
            sound_from: a video whose sound is added; its pictures are taken to be written with their own times.
            info: that of `sound_from`, from `probe`, which is called without it.
        """
        self._container = av.open(ffmpeg_name(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        # No macroblock tree: with it, x264's lookahead gives other bytes for the same frames now and then.
        self._stream.options = {"crf": str(crf), "preset": preset, "x264-params": "mbtree=0"}
        self._stream.codec_context.thread_count = threads
        self._stream.codec_context.time_base = TIME_BASE
        self._sound = SoundTrack(self._container, sound_from, info or probe(sound_from)) if sound_from else None
        self._last: int | None = None  # the time of the last picture, in TIME_BASE

    @property
    def missing_sound(self) -> str:
        return self._sound.problem if self._sound else ""

    def write(self, image: np.ndarray | YuvImage, time: float) -> None:
        """Add a picture that is shown from `time` seconds on, or from just after the last one if that is later.

        The image is a YuvImage of the size of the video, or uint8 BGR (height, width, 3). All have the colour matrix of
        the first one.
        """
        planes = from_bgr(image) if isinstance(image, np.ndarray) else image
        if self._last is None:
            self._state_colors(planes.is_bt709)
        picture = to_frame(planes)
        picture.time_base = TIME_BASE
        picture.pts = round(time * TIME_BASE.denominator)
        if self._last is not None:
            picture.pts = max(picture.pts, self._last + 1)
        self._last = picture.pts
        self._container.mux(self._stream.encode(picture))
        if self._sound:
            self._sound.write_until(time)

    def _state_colors(self, is_bt709: bool) -> None:
        context = self._stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709 if is_bt709 else SMPTE170M
        context.color_primaries = ColorPrimaries.BT709 if is_bt709 else ColorPrimaries.SMPTE170M
        context.color_trc = ColorTrc.BT709 if is_bt709 else ColorTrc.SMPTE170M

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
                if self._sound:
                    self._sound.finish()
        finally:
            self._container.close()
