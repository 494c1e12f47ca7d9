"""What a video costs in extraction and inference: processor seconds of one thread, and bytes of its faces.

    python -m benchmarks.cost

Two clips like those of large corpora are made here, one keyframe in 250: an enlarged clip of the sample corpus before a
moving background, with noise. The original that a fake is extracted with is the same file. Inference has no pictures
and uses the released INT8 detector. Costs are the lowest of several runs; other work on the same cores raises them.
"""

import tempfile
from multiprocessing import get_context
from pathlib import Path

import cv2

from benchmarks.command import command_line
from benchmarks.extract import decode_all
from benchmarks.infer import best, make_clip
from deepfake_detector.faces.extraction import extract_video
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask

CLIPS = (((1920, 1080), 10, 30), ((854, 480), 18, 28))  # size in pixels, seconds, frames a second
GEOMETRY = Geometry(16, 224, 0.05, "centerface", 0.5)  # of the released detector
DETECTOR = "models/face_resnet18_int8.onnx"
RUNS = 3


def print_costs(folder: Path, size: tuple[int, int], seconds: int, rate: int) -> None:
    clip = str(make_clip(folder, size, seconds, rate))
    settings = PredictionSettings.with_checkpoint(DETECTOR, overlay="none", timeline=False)

    def extract(name: str, original: str) -> float:
        return best(lambda: extract_video((name, clip, original), GEOMETRY, "all", folder), RUNS).processor

    decode = best(lambda: decode_all(Path(clip)), RUNS).processor
    real, fake = extract("real", ""), extract("fake", clip)
    infer = best(lambda: predict_video(PredictionTask(clip, "judged", str(folder), settings, "cpu")), RUNS).processor
    megabytes = Path(clip).stat().st_size / 1e6
    kilobytes = [(folder / f"{name}.zip").stat().st_size / 1e3 for name in ("real", "fake")]
    print(
        f"| {size[0]}×{size[1]}, {seconds} s, {rate} frames a second, {megabytes:.1f} MB | {decode:.1f} "
        f"| {real:.1f} ({1000 * real / int(GEOMETRY.frames):.0f} ms a crop) | {fake:.1f} | {infer:.1f} "
        f"| {kilobytes[0]:.0f} KB, with originals {kilobytes[1]:.0f} KB "
        f"| {(folder / 'judged.json').stat().st_size / 1e3:.1f} KB |",
        flush=True,
    )


def measure() -> None:
    cv2.setNumThreads(1)
    print(
        "| clip | decode it all | extract a real video | extract a fake with its original "
        "| infer, 1 frame a second and 16 at least | archive, 16 crops | JSON of the verdict |\n"
        "|---|---|---|---|---|---|---|"
    )
    for size, seconds, rate in CLIPS:
        with tempfile.TemporaryDirectory() as folder:
            print_costs(Path(folder), size, seconds, rate)


def main() -> None:
    command_line(__doc__).parse_args()
    # In a process of its own, as the stage's workers are: there, decoding takes one thread.
    process = get_context("spawn").Process(target=measure)
    process.start()
    process.join()
    raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
