"""Real clips to damage: short versions of some videos in many containers, or clips of the sample corpus."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake_detector.corpora.sample_corpus import Person, partner, sample_clips, write_clip
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.video_reader import read_frames

SIDE = 320  # pixels of the longer side, at most
FRAMES = 12
# Suffix of a short version: codec, pixel format, options of the container.
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("libx264", "yuv420p", {}),
    ".frag.mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ".mov": ("mjpeg", "yuvj420p", {}),
    ".mkv": ("libx264", "yuv420p", {}),
    ".webm": ("libvpx", "yuv420p", {}),
    ".avi": ("mpeg4", "yuv420p", {}),
    ".ts": ("libx264", "yuv420p", {}),
    ".mpg": ("mpeg1video", "yuv420p", {}),
    ".flv": ("flv", "yuv420p", {}),
    ".wmv": ("wmv2", "yuv420p", {}),
    ".gif": ("gif", "rgb8", {}),
}


def make_sample_clips(folder: Path) -> list[Path]:
    """A real clip and fakes of one person of the sample corpus."""
    folder.mkdir()
    people = {number: Person(number) for number in (1, partner(1))}
    for clip in sample_clips(seed=1):
        if clip.person == 1:
            write_clip(clip, people, folder)
    return sorted(folder.glob("*.mp4"))[:4]


def find_clips(folder: str) -> list[Path]:
    return [Path(video) for video in find_videos([folder])[0]]


def write_short_versions(clips: Sequence[Path], folder: Path) -> list[Path]:
    """A short version of each clip in a container of FORMATS, so that all containers occur."""
    folder.mkdir()
    written = []
    for i, (suffix, format) in enumerate(FORMATS.items()):
        clip = clips[i % len(clips)]
        images = [_small(frame.image) for frame in read_frames(clip, list(range(FRAMES)))]
        written.append(folder / f"clip-{i}{suffix}")
        _write(written[-1], images, *format)
    return written


def _small(image: np.ndarray) -> np.ndarray:
    factor = min(1.0, SIDE / max(image.shape[:2]))
    height, width = (max(int(side * factor) // 2 * 2, 2) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _write(path: Path, images: Sequence[np.ndarray], codec: str, form: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = form
        stream.codec_context.thread_count = 1
        for i, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=form)
            picture.pts, picture.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
