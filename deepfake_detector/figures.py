"""Figures that need no display, with one palette and plain text, written as PNG. All pictures with axes come from here.

Text is drawn as it is. Matplotlib would read a `$` in the name of a method or a video as mathematics and may fail.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from deepfake_detector.files import atomic_path

# Colours that colour-blind readers tell apart (Okabe & Ito 2008).
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#666666"


@contextmanager
def empty_figure(path: Path, size: tuple[float, float], dpi: int = 100) -> Iterator[Figure]:
    """A figure of `size` inches without axes. It is written to `path`, whatever the suffix, when the block ends.

    It is not written atomically; `figure_file` does that.
    """
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})


@contextmanager
def figure_file(
    path: Path, size: tuple[float, float], rows: int = 1, columns: int = 1, **subplots: Any
) -> Iterator[tuple[Figure, np.ndarray]]:
    """A figure of `size` inches and its axes (rows, columns). It is written to `path` when the block ends."""
    with atomic_path(path) as part, empty_figure(part, size, dpi=110) as figure:
        yield figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def shorten(text: str, length: int) -> str:
    """`text` on one line, its middle left out if it is longer than `length` characters."""
    text = " ".join(text.split())
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"
