"""How many unchanged patches of a fake does its localization target call changed?

    python -m benchmarks.localization VIDEOS [--videos 12]

In the first seconds of genuine clips with one person the mouth is blurred. The clip and this fake of it are encoded
apart, and their faces extracted. Where the crops of both show the same before any compression, a patch is unchanged.
`now` is what extraction and training do; `before`, both faces were cut by their own landmarks, at the nearest time, and
every difference counted. A shorter fake lacks the last fifth of the clip.
"""

import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import torch

from benchmarks.command import command_line
from benchmarks.encoding import write_clip
from deepfake_detector.faces.archive import decode_crop
from deepfake_detector.faces.detected_frames import crop_face
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import Face, crop_originals, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.training import losses

GEOMETRY = Geometry(16, 96, 0.3, "centerface", 0.5)
PATCHES = (6, 6)
FRAMES = 75  # of a clip
TOLD = 0.5  # target from which a patch is told to be changed
CRFS = (23, 40)


def blur_mouth(frames: list[np.ndarray], face: Face) -> list[np.ndarray]:
    """The frames with the lower third of one face blurred in all of them, as it lies in its own frame."""
    x1, y1, x2, y2 = face.detection.box.round().astype(int).clip(0)
    place = slice(y1 + 2 * (y2 - y1) // 3, y2), slice(x1 + (x2 - x1) // 5, x2 - (x2 - x1) // 5)
    blurred = [frame.copy() for frame in frames]
    for frame in blurred:
        frame[place] = cv2.GaussianBlur(frame[place], (0, 0), (y2 - y1) / 15)
    return blurred


def targets_of(folder: Path, frames: list[np.ndarray], face: Face, crf: int, missing: int) -> Iterator[pd.DataFrame]:
    """The patches of the faces of a fake that lacks the last `missing` frames: `how,told,unchanged`."""
    original, fake = folder / "original.mp4", folder / "fake.mp4"
    changed = blur_mouth(frames[: len(frames) - missing], face)
    write_clip(original, frames, crf)
    write_clip(fake, changed, crf)
    detector = create_face_detector(GEOMETRY.detector, GEOMETRY.threshold)
    faces = [face for face in extract_faces(fake, GEOMETRY, detector, "all").faces if face.track == 0]
    own = [face for face in extract_faces(original, GEOMETRY, detector, "all").faces if face.track == 0]
    cut_alike = crop_originals(faces, fake, original, GEOMETRY)
    for face in faces:
        truth = [crop_face(clip[face.frame], face.detection, GEOMETRY) for clip in (changed, frames)]
        unchanged = _differences(*truth) == 0
        nearest = min(own, key=lambda other: abs(other.time - face.time))
        yield _patches("now", face.crop, decode_crop(cut_alike[face.member]), losses.NOISE, unchanged)
        yield _patches("before", face.crop, nearest.crop, 0.0, unchanged)


def _differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest difference in each patch of two crops: int (6, 6)."""
    size = len(one) // PATCHES[0]
    return cv2.absdiff(one, other).reshape(PATCHES[0], size, PATCHES[1], size, 3).max(axis=(1, 3, 4))


def _patches(how: str, fake: np.ndarray, real: np.ndarray, noise: float, unchanged: np.ndarray) -> pd.DataFrame:
    """The patches of a fake beside a crop of its original: `how,told,unchanged`."""
    crops = torch.from_numpy(np.stack([fake, real])[..., ::-1].transpose(0, 3, 1, 2).copy())
    with mock.patch.object(losses, "NOISE", noise):
        target, weight = losses.localization_target(crops, torch.tensor([True, True]), PATCHES)
    asked = bool(weight[0])
    return pd.DataFrame(
        {"how": how, "told": (target[0].numpy() >= TOLD).ravel() & asked, "unchanged": unchanged.ravel()}
    )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("videos", type=Path, help="folder of genuine clips")
    parser.add_argument("--videos", dest="count", type=int, default=12, help="clips to take")
    args = parser.parse_args()
    detector = create_face_detector(GEOMETRY.detector, GEOMETRY.threshold)
    parts, used = [], 0
    with tempfile.TemporaryDirectory() as name:
        for path in find_videos([str(args.videos)])[0]:
            if used == args.count:
                break
            found = extract_faces(path, GEOMETRY, detector, "all")
            if found.tracks != 1:
                continue
            used += 1
            frames = [frame.image for frame in read_frames(path, list(range(min(FRAMES, probe(path).frames))))]
            frames = [frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames]
            for crf, missing in product(CRFS, (0, len(frames) // 5)):
                for part in targets_of(Path(name), frames, found.faces[0], crf, missing):
                    parts.append(part.assign(crf=crf, shorter=missing > 0))
    patches = pd.concat(parts)
    print(f"{used} clips.\n\n| CRF | fake | targets | unchanged patches told changed | changed patches told changed |")
    print("|---|---|---|---|---|")
    for (crf, shorter, how), part in patches.groupby(["crf", "shorter", "how"]):
        told = part.groupby("unchanged")["told"].mean()
        fake = "shorter" if shorter else "as long"
        print(f"| {crf} | {fake} | {how} | {told[True]:.1%} | {told[False]:.0%} |")


if __name__ == "__main__":
    main()
