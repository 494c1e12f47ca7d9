"""The picture of a judged video in README: a frame of the annotated video of a clip of the sample corpus.

    python -m benchmarks.pictures

The released detector judges the clip. Writes docs/annotated.png.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

from benchmarks.command import command_line
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames

DOCS, DEMO_FOLDER = Path("docs"), Path("data/sample/demo")


def annotated(clip: Path) -> None:
    """A frame from the middle of the annotated video of `clip`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stages.infer", str(clip), "--checkpoint", "released", "--output", folder]
        subprocess.run([*command, "--timeline", "false"], check=True)
        video = f"{folder}/{clip.stem}.mp4"
        (frame,) = read_frames(video, [probe(video).frames // 2])
        cv2.imwrite(str(DOCS / "annotated.png"), frame.image)


def main() -> None:
    command_line(__doc__).parse_args()
    if not DEMO_FOLDER.is_dir():
        raise SystemExit(f"{DEMO_FOLDER} is not here: run make repro, or python -m stages.sample")
    annotated(DEMO_FOLDER / "one_of_two_swapped.mp4")


if __name__ == "__main__":
    main()
