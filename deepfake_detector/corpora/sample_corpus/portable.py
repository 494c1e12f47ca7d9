"""The same bytes on every x86-64 processor. By themselves, OpenCV, NumPy and x264 round differently."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from deepfake_detector.files import ffmpeg_name

# For the processes that render clips. OpenCV, its Intel library and NumPy choose code by the processor, and that code
# rounds differently. All read this when they are imported, so a process needs it from its start.
ENVIRONMENT = {
    "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,FP16,AVX2,AVX512-SKX",
    "OPENCV_IPP": "disabled",
    "OPENCV_LOG_LEVEL": "ERROR",  # it warns of the line above
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
}
# x264 without assembler and without what it decides by floating-point numbers: rate control, adaptive quantisers.
X264 = "asm=0:aq-mode=0:mbtree=0:weightp=0"
LUMA = np.round(16 + np.arange(256) * 219 / 255).astype(np.uint8)  # full-range gray to the range of video (BT.601)


@contextmanager
def portable_workers() -> Iterator[None]:
    """Processes that start within this context compute the same on every processor."""
    before = os.environ.copy()
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_gray_video(path: Path, frames: Iterable[np.ndarray], rate: int, quantiser: int) -> None:
    """Write frames, uint8 gray (height, width) with even sides, as H.264 at `rate` frames per second."""
    with av.open(ffmpeg_name(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.options = {"qp": str(quantiser), "preset": "veryfast", "x264-params": X264}
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, rate)
        for number, image in enumerate(frames):
            height, width = image.shape
            if not number:
                stream.height, stream.width = height, width
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = LUMA[image]
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
