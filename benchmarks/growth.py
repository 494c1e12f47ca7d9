"""Time and memory of what handles a whole corpus at once, by the number of videos.

    python -m benchmarks.growth [--videos 100 1000 10000]

The corpus is invented: every video has 20 faces of one person, and four of five videos are fakes. The videos are small
files of noise, the crops of a video one noisy picture of 32 pixels. Steps: `index` writes the face index from the
records of all videos, as the parent of `extract` does; `split`, `train` and `evaluate` are the whole stages, with a
small network and, in training, no more than STEPS_OF_EPOCH steps; `repro` is `dvc repro` with nothing changed, in a
pipeline with the dependencies of this one, and `experiments` is `dvc exp show` there, with three saved experiments.
Processor seconds include the worker processes and the imports, elapsed ones do not; memory is the peak of the largest
process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pandas as pd

from benchmarks.command import command_line, environment
from benchmarks.split_scale import random_corpus
from deepfake_detector.faces.archive import archive_path, encode_crop, make_shards, write_archive
from deepfake_detector.faces.extraction import INDEX_COLUMNS, Geometry, Record, write_index

FACES, SIZE = 20, 32
STEPS = ("index", "split", "train", "evaluate", "repro", "experiments")
STEPS_OF_EPOCH = 5
ENVIRONMENT = environment() | {"PYTHONPATH": str(Path(__file__).parent.parent)}
DVC_YAML = """\
stages:
  extract: {cmd: 'true', deps: [videos, labels.csv], outs: [faces, faces.parquet]}
  split: {cmd: 'true', deps: [faces, faces.parquet, labels.csv], outs: [splits.csv]}
  train:
    cmd: 'true'
    params: [train.lr]
    deps: [faces, faces.parquet, labels.csv, splits.csv]
    outs: [checkpoints]
  evaluate:
    cmd: 'true'
    deps: [videos, faces, faces.parquet, labels.csv, splits.csv, checkpoints]
    outs: [predictions.csv]
    metrics: [metrics/evaluate.json]
"""


def make_corpus(videos: int) -> None:
    """Videos, archives and labels in the current folder, and a DVC pipeline over them."""
    rng = np.random.default_rng(1)
    labels = random_corpus(videos, 4)
    labels.to_csv("labels.csv", index=False)
    Path("videos").mkdir()
    Path("faces").mkdir()
    make_shards(Path("faces"), videos)
    for name in labels["video_id"]:
        Path(f"videos/{name}.mp4").write_bytes(rng.bytes(1000))
        crop = encode_crop(cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (SIZE, SIZE)))
        write_archive(archive_path(Path("faces"), name), [(f"000_{i:06d}.jpg", crop) for i in range(FACES)])
    labels[["video_id"]].assign(status="ok").to_csv("extract_report.csv", index=False)
    Path("dvc.yaml").write_text(DVC_YAML)
    run("git init -q", "git config user.email a@b", "git config user.name a", "dvc init -q", "git commit -qm dvc")


def run(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


def index() -> None:
    """As the extract stage, from records as its workers return them."""
    labels = pd.read_csv("labels.csv", dtype=str)
    rng = np.random.default_rng(2)
    records: list[Record] = []
    for _ in range(len(labels)):
        numbers = rng.random((FACES, len(INDEX_COLUMNS) - 5))
        numbers[:, 3:5] += 1  # x2 and y2, beyond x1 and y1
        rows = [[0, i, *row, f"000_{i:06d}.jpg", ""] for i, row in enumerate(numbers.tolist())]
        records.append({"report": {}, "index": rows})
    start = time.perf_counter()
    named = zip(labels["video_id"], records, strict=True)
    faces = ([video_id, *row] for video_id, record in named for row in record["index"])
    write_index(Path("faces.parquet"), faces, Geometry(FACES, SIZE, 0.3, "centerface", 0.5))
    print(time.perf_counter() - start)


def run_stage(stage: ModuleType, *more: str) -> None:
    keys = ("labels", "splits", "faces", "videos", "predictions")
    paths = {"index": "faces.parquet", "extract_report": "extract_report.csv", "split_report": "report"}
    paths |= {key: f"{key}.csv" if key not in ("faces", "videos") else key for key in keys}
    sys.argv = [stage.__name__, *(word for key, path in paths.items() for word in (f"--data.{key}", path)), *more]
    start = time.perf_counter()
    stage.main()
    print(time.perf_counter() - start)


def split() -> None:
    from stages import split as stage

    run_stage(stage)


def train() -> None:
    from deepfake_detector.training.samplers import PairedBatchSampler
    from stages import train as stage

    whole = PairedBatchSampler.__len__
    PairedBatchSampler.__len__ = lambda self: min(STEPS_OF_EPOCH, whole(self))  # type: ignore[method-assign]
    run_stage(stage, "--model.backbone", "resnet10t", "--model.weights", "none", "--epochs", "1", "--workers", "0")


def evaluate() -> None:
    from stages import evaluate as stage

    run_stage(stage, "--robustness", "none")


def run_dvc(*command: str) -> None:
    from dvc.cli import main as dvc

    start = time.perf_counter()
    status = dvc(list(command))
    print(f"\n{time.perf_counter() - start}")
    if status:
        sys.exit(status)


def repro() -> None:
    run_dvc("repro", "-q")


def experiments() -> None:
    run_dvc("exp", "show", "--csv")


def save_experiments() -> None:
    """The corpus under version control, and three experiments in the current folder."""
    run("dvc commit -fq", "git add -A", "git commit -qm corpus")
    params = Path("params.yaml").read_text()
    for i in range(3):
        Path("params.yaml").write_text(params.replace("  lr:", f"  lr: 0.000{i + 1} #"))
        run(f"dvc exp save -q -n try-{i}")
    Path("params.yaml").write_text(params)


def measure(step: str, folder: Path) -> tuple[float, float, float]:
    """Elapsed seconds, processor seconds and MB of a step in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.growth", "--step", step],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    said = process.stdout.read().split("\n")
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{step} failed:\n" + "\n".join(said))
    return float(said[-2].split()[0]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def prepare(call: str, folder: Path) -> None:
    """Call a function of this module in a process whose current folder is `folder`."""
    command = [sys.executable, "-c", f"from benchmarks.growth import *; {call}"]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        globals()[options.step]()
        return
    params = Path("params.yaml").read_text()
    print("| videos | step | seconds | processor seconds | MB |\n|---|---|---|---|---|")
    for videos in options.videos:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "params.yaml").write_text(params)
            prepare(f"make_corpus({videos})", folder)
            for step in STEPS:
                if step == "repro":
                    prepare("save_experiments()", folder)
                seconds, processor, memory = measure(step, folder)
                print(f"| {videos:,} | {step} | {seconds:.1f} | {processor:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
