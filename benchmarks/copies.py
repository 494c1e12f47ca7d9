"""How far are copies of a clip from it, and other clips from each other, by the hashes that `split` compares?

    python -m benchmarks.copies VIDEOS

Copies of each clip with a face are made here: compressed (H.264, CRF 40), shrunk to half of each side, and without the
first third. Distances are those of `clip_distance`; the limit is split.near_duplicate.
"""

import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml

from benchmarks.command import command_line
from benchmarks.encoding import write_clip
from deepfake_detector.corpora.near_duplicates import clip_distance, perceptual_hash
from deepfake_detector.evaluation.reencoding import reencode
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames

GEOMETRY = Geometry(16, 96, 0.3, "centerface", 0.5)  # as in params.yaml
CRF = 20


def cut(source: Path, target: Path) -> None:
    """Write the clip without its first third."""
    frames = probe(source).frames
    write_clip(target, [frame.image for frame in read_frames(source, list(range(frames // 3, frames)))], CRF)


COPIES = {
    "compressed": lambda source, target: reencode(source, target, "h264", 40),
    "half the size": lambda source, target: reencode(source, target, "resolution", 0.5),
    "a third cut off": cut,
}


def hashes_of(path: Path) -> np.ndarray:
    """The hashes of the faces of the most prominent person: uint64 (faces, 4)."""
    detector = create_face_detector(GEOMETRY.detector, GEOMETRY.threshold)
    faces = extract_faces(path, GEOMETRY, detector, 1).faces
    return np.array([perceptual_hash(face.crop) for face in faces], np.uint64).reshape(-1, 4)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("videos", help="folder of real clips")
    found = {path: hashes_of(Path(path)) for path in find_videos([parser.parse_args().videos])[0]}
    clips = {path: hashes for path, hashes in found.items() if len(hashes)}
    limit = yaml.safe_load(Path("params.yaml").read_text())["split"]["near_duplicate"]
    print(f"| pairs | number | least distance | largest | within {limit} |\n|---|---|---|---|---|")

    def print_row(what: str, distances: list[float]) -> None:
        within = sum(distance <= limit for distance in distances)
        print(f"| {what} | {len(distances)} | {min(distances):.3f} | {max(distances):.3f} | {within} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "copy.mp4"
        for name, copy in COPIES.items():
            distances = []
            for path, hashes in clips.items():
                copy(Path(path), target)
                distances.append(clip_distance(hashes, hashes_of(target)))
            print_row(f"a clip and a copy of it, {name}", distances)
    print_row("two clips", [clip_distance(*pair) for pair in combinations(clips.values(), 2)])


if __name__ == "__main__":
    main()
