"""Faces as archives of JPEGs and as folders of PNGs: bytes, reading them, and what data versioning takes with them.

    python -m benchmarks.storage VIDEOS [--videos 1000]

The faces of VIDEOS are stored both ways. For DVC, random bytes of the same sizes stand for those of `--videos` videos:
it does not look into files. Times are processor seconds, because the disk of the machine may be shared.
"""

import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

import cv2

from benchmarks.command import command_line, environment
from deepfake_detector.faces.archive import encode_crop, read_crops, write_archive
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import VideoFaces, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sources import find_videos

GEOMETRY = Geometry(16, 224, 0.3, "centerface", 0.5)


def store(videos: list[VideoFaces], archives: Path, pngs: Path) -> tuple[float, float]:
    """Write the faces both ways; milliseconds of reading a face from each."""
    members = {}
    for i, video in enumerate(videos):
        path = archives / f"{i}.zip"
        write_archive(path, [(face.member, face.data) for face in video.faces])
        members[path] = [face.member for face in video.faces]
        for face in video.faces:
            (pngs / f"{i}").mkdir(parents=True, exist_ok=True)
            (pngs / f"{i}/{face.member}.png").write_bytes(encode_crop(face.crop, "png"))
    start = time.process_time()
    for path, names in members.items():
        read_crops(path, names)
    middle = time.process_time()
    for path in pngs.rglob("*.png"):
        cv2.imread(str(path))
    faces = sum(map(len, members.values()))
    return 1000 * (middle - start) / faces, 1000 * (time.process_time() - middle) / faces


def time_dvc(files: int, folders: int, size: int) -> dict[str, float]:
    """Processor seconds of `dvc add`, `dvc checkout` and `dvc status` with so many files of random bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = random.Random(1)
        for i in range(files):
            path = folder / f"faces/{i % folders}/{i}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(size))

        def run(*command: str) -> float:
            before = os.times()
            subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=True)
            after = os.times()
            return after.children_user + after.children_system - before.children_user - before.children_system

        run("git", "init", "-q")
        run("dvc", "init", "-q")
        add = run("dvc", "add", "-q", "faces")
        (folder / "faces").rename(folder / "away")
        return {"add": add, "checkout": run("dvc", "checkout", "-q"), "status": run("dvc", "status", "-q")}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("folder", metavar="VIDEOS")
    parser.add_argument("--videos", type=int, default=1000)
    options = parser.parse_args()
    detector = create_face_detector(GEOMETRY.detector, GEOMETRY.threshold)
    videos = [extract_faces(path, GEOMETRY, detector, "all") for path in find_videos([options.folder])[0]]
    videos = [video for video in videos if video.faces]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archives, pngs = folder / "archives", folder / "pngs"
        reading = store(videos, archives, pngs)
        sizes = [sum(path.stat().st_size for path in place.rglob("*.*")) for place in (archives, pngs)]
    faces = sum(len(video.faces) for video in videos)
    per_video = faces // len(videos)
    costs = [
        time_dvc(options.videos, 1, sizes[0] // len(videos)),
        time_dvc(options.videos * per_video, options.videos, sizes[1] // faces),
    ]
    print(f"{faces} faces of {GEOMETRY.size} pixels; DVC with {options.videos:,} videos of {per_video} faces.\n")
    print("| | archives of JPEGs | folders of PNGs | PNGs against archives |\n|---|---|---|---|")
    rows = [("KB a face", sizes[0] / faces / 1000, sizes[1] / faces / 1000), ("milliseconds to read a face", *reading)]
    rows += [(f"dvc {name}, processor seconds", costs[0][name], costs[1][name]) for name in costs[0]]
    for what, ours, theirs in rows:
        print(f"| {what} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |")


if __name__ == "__main__":
    main()
