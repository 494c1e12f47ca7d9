"""What the annotated video costs, compared with the length of the clip and with decoding and encoding it alone.

    python -m benchmarks.annotate

The clips are made here: ten seconds of H.264 at 25 frames a second, a face of the sample corpus before a moving
background. One frame a second is scored. Costs are the lowest of several runs. Processor seconds hardly depend on what
else the machine does.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter

from benchmarks.command import command_line
from benchmarks.infer import SECONDS, Cost, best, make_clip
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.pixels import to_yuv
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_pictures
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.box_tracks import track_boxes
from deepfake_detector.inference.overlay import CRF, MAX_SIDE, PRESET, THREADS, annotate_video
from deepfake_detector.inference.prediction import Prediction, predict_people

SIZES = ((854, 480), (1920, 1080), (3840, 2160))
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)
DETECTOR = CenterFace(0.5)
RUNS = 3


def predict(clip: Path) -> Prediction:
    geometry = Geometry(16, 128, 0.5, "centerface", 0.5)
    video = extract_faces(clip, geometry, DETECTOR, "all")
    return predict_people(video, np.zeros(len(video.faces), np.float32), CALIBRATION)


def reencode(clip: Path, target: Path) -> None:
    """Decode and encode, as the annotated video does, with nothing drawn."""
    info, reformatter, writer = probe(clip), VideoReformatter(), None
    for picture in read_pictures(clip, None, info):
        image = to_yuv(picture.decoded, reformatter, picture.pixel_aspect, MAX_SIDE)
        writer = writer or VideoWriter(target, info.rate, (image.y.shape[1], image.y.shape[0]), CRF, PRESET, THREADS)
        writer.write(image, picture.time)
    if writer:
        writer.__exit__(None, None, None)


def main() -> None:
    command_line(__doc__).parse_args()
    print("| clip | what | clock seconds | processor seconds | processor against length | against the floor |")
    print("|---|---|---|---|---|---|")
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            clip, target = make_clip(folder, (width, height)), folder / "out.mp4"
            prediction, info = predict(clip), probe(clip)
            tasks: dict[str, Callable[[], object]] = {
                "floor: decode and encode": partial(reencode, clip, target),
                "find the faces between scored frames": partial(track_boxes, clip, info, prediction, DETECTOR),
                "**annotated video**": partial(annotate_video, clip, target, prediction, CALIBRATION, DETECTOR),
            }
            costs = {what: best(task, RUNS) for what, task in tasks.items()}
            floor = costs["floor: decode and encode"]
            for what, cost in costs.items():
                print(f"| {height}p | {what} | {ratios(cost, floor)} |", flush=True)


def ratios(cost: Cost, floor: Cost) -> str:
    return f"{cost} | {cost.processor / SECONDS:.2f} | {cost.processor / floor.processor:.2f}"


if __name__ == "__main__":
    main()
