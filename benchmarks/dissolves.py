"""How many dissolves join two people in one track, and how many clips without a cut does the search divide?

    python -m benchmarks.dissolves VIDEOS

The first seconds of each clip in VIDEOS are moved and scaled so that the faces of all lie at one place. Then pairs of
them fade into each other while both go on. A dissolve joins two people if a track has faces from before its first frame
and from after its last. The clips in VIDEOS, and those of the sample corpus, are searched as they are, too: one is
divided if it has more tracks with the search for dissolves than without.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from benchmarks.command import command_line
from benchmarks.encoding import write_clip
from deepfake_detector.faces.detectors import FaceDetector, create_face_detector
from deepfake_detector.faces.dissolves import DissolveFinder
from deepfake_detector.faces.extraction import VideoFaces, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames

GEOMETRY = Geometry(16, 96, 0.3, "centerface", 0.5)  # as in params.yaml
SAMPLE = Path("data/sample")
FADES = (8, 16, 24, 50)  # frames of a dissolve
CLIPS = 20  # of each length
FRAMES = 75  # that each of the two people is seen, those of the dissolve included
SIZE, FACE = 320, 128  # pixels of a picture, and of the height of a face in it
CRF = 20


def same_place(path: Path, detector: FaceDetector) -> list[np.ndarray]:
    """The first FRAMES frames, with the surest face of the middle one at one place; none if there are not enough."""
    frames = [frame.image for frame in read_frames(path, list(range(min(FRAMES, probe(path).frames))))]
    found = detector.detect(frames[len(frames) // 2])
    if len(frames) < FRAMES or not found:
        return []
    x1, y1, x2, y2 = max(found, key=lambda face: face.score).box
    scale = FACE / (y2 - y1)
    moved = np.array([[scale, 0, (SIZE - scale * (x1 + x2)) / 2], [0, scale, (SIZE - scale * (y1 + y2)) / 2]])
    return [cv2.warpAffine(frame, moved, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT) for frame in frames]


def dissolve(before: Sequence[np.ndarray], after: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """`before` and `after`, whose last and first `length` frames fade into each other."""
    weights = np.linspace(0, 1, length + 2)[1:-1]
    fading = zip(before[-length:], after[:length], weights, strict=True)
    mixed = [cv2.addWeighted(one, 1 - weight, other, weight, 0) for one, other, weight in fading]
    return [*before[:-length], *mixed, *after[length:]]


def is_joined(found: VideoFaces, length: int) -> bool:
    """Whether a track has faces from before and from after a dissolve of `length` frames."""
    before = {face.track for face in found.faces if face.frame < FRAMES - length}
    return any(face.track in before for face in found.faces if face.frame >= FRAMES)


def extract_both(path: Path, detector: FaceDetector) -> tuple[VideoFaces, VideoFaces]:
    """What extraction finds with the search for dissolves, and without."""
    found = extract_faces(path, GEOMETRY, detector, "all")
    with mock.patch.object(DissolveFinder, "add", return_value=[]):
        return found, extract_faces(path, GEOMETRY, detector, "all")


def count_joined(people: Sequence[list[np.ndarray]], step: int, length: int, detector: FaceDetector) -> np.ndarray:
    """How many of CLIPS dissolves between each person and that `step` later are joined, with and without the search."""
    joined = np.zeros(2, int)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dissolve.mp4"
        for i in range(CLIPS):
            before, after = people[i % len(people)], people[(i + step) % len(people)]
            write_clip(path, dissolve(before, after, length), CRF)
            joined += [is_joined(found, length) for found in extract_both(path, detector)]
    return joined


def is_divided(path: Path, detector: FaceDetector) -> bool:
    with_search, without = extract_both(path, detector)
    return with_search.tracks > without.tracks


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("videos", help="folder of clips, each of another person")
    videos = [Path(path) for path in find_videos([parser.parse_args().videos])[0]]
    detector = create_face_detector(GEOMETRY.detector, GEOMETRY.threshold)
    people = [frames for path in videos if (frames := same_place(path, detector))]
    print("| clips | number | with the search | without |\n|---|---|---|---|")
    for step, length in enumerate(FADES, 1):
        joined, joined_without = count_joined(people, step, length, detector)
        print(f"| dissolves of {length} frames, joined | {CLIPS} | {joined} | {joined_without} |", flush=True)
    for name, paths in {"real": videos, "sample": sorted(SAMPLE.glob("*.mp4"))}.items():
        divided = sum(is_divided(path, detector) for path in paths)
        print(f"| {name} clips as they are, divided | {len(paths)} | {divided} | |", flush=True)


if __name__ == "__main__":
    main()
