"""The sample clips that a visitor may try: pictures of them, and what was done to them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deepfake_detector.faces.video_file import VideoError, probe
from web_app.worker import write_thumbnail


@dataclass(frozen=True)
class SampleClip:
    path: Path
    title: str
    what_was_done: str
    thumbnail: bytes | None


def sample_clips(folder: Path) -> list[SampleClip]:
    """The clips that the sample stage wrote to `folder`; none if it has not run."""
    return [_describe(path, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.mp4"))]


@lru_cache(maxsize=16)
def _describe(path: Path, modified: int) -> SampleClip:
    """`modified` makes a changed clip read again."""
    from tempfile import TemporaryDirectory

    from deepfake_detector.corpora.sample_corpus import DEMONSTRATION

    thumbnail = None
    with TemporaryDirectory() as folder:
        target = Path(folder, "thumbnail.jpg")
        try:
            write_thumbnail(path, probe(path), target)
            thumbnail = target.read_bytes()
        except (VideoError, OSError):
            pass  # the button says enough
    title = path.stem.replace("_", " ").capitalize()
    return SampleClip(path, title, DEMONSTRATION.get(path.stem, ""), thumbnail)
