"""Video files that benchmarks make."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path, frames: Sequence[np.ndarray], rate: Fraction | int, form: str = "bgr24", **options: str
) -> None:
    """Frames uint8 (height, width, 3), BGR or as `form` says, as H.264 with options of x264, such as `crf="23"`."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=form)))
        output.mux(stream.encode(None))
