"""Time and memory of what handles a whole corpus at once, by the number of videos.

    python -m benchmarks.growth [--videos 100 1000 10000]

The corpus is invented: every video has 20 faces of one person, and four of five videos are fakes. The videos are small
files of noise, the crops of a video one noisy picture. Steps: `index` writes the face index from the records of all
videos, `split` is the whole stage, `table` loads the faces with their labels and prepares one epoch of batches (their
order, not their pictures), `repro` is `dvc repro` with nothing changed, in a pipeline with the dependencies of this
one. Processor seconds include the worker processes and the imports, elapsed ones do not; memory is the peak of the
largest process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.split_scale import random_corpus
from deepfake_detector.faces.archive import archive_path, encode_crop, write_archive
from deepfake_detector.faces.extraction import INDEX_COLUMNS, Geometry, Record, write_index

FACES = 20
STEPS = ("index", "split", "table", "repro")
DVC_YAML = """\
stages:
  extract: {cmd: 'true', deps: [videos, labels.csv], outs: [faces, faces.parquet]}
  split: {cmd: 'true', deps: [faces, faces.parquet, labels.csv], outs: [splits.csv]}
  train: {cmd: 'true', deps: [faces, faces.parquet, labels.csv, splits.csv], outs: [best]}
  evaluate: {cmd: 'true', deps: [videos, faces, faces.parquet, labels.csv, splits.csv, best], outs: [predictions]}
"""


def make_corpus(videos: int) -> None:
    """Videos, archives and labels in the current folder, and a DVC pipeline over them."""
    rng = np.random.default_rng(1)
    labels = random_corpus(videos, 4)
    labels.to_csv("labels.csv", index=False)
    for folder in ("videos", "faces"):
        Path(folder).mkdir()
    for name in labels["video_id"]:
        Path(f"videos/{name}.mp4").write_bytes(rng.bytes(1000))
        crop = encode_crop(cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (96, 96)))
        write_archive(archive_path(Path("faces"), name), [(f"000_{i:06d}.jpg", crop) for i in range(FACES)])
    for name in ("best", "predictions"):
        Path(name).write_text("")
    Path("dvc.yaml").write_text(DVC_YAML)
    for command in ("git init -q", "dvc init -q"):
        subprocess.run(command.split(), check=True)


def index() -> None:
    """As the extract stage, from records as its workers return them."""
    labels = pd.read_csv("labels.csv", dtype=str)
    rng = np.random.default_rng(2)
    records: list[Record] = []
    for _ in range(len(labels)):
        numbers = rng.random((FACES, len(INDEX_COLUMNS) - 5)).tolist()
        rows = [[0, i, *row, f"000_{i:06d}.jpg", ""] for i, row in enumerate(numbers)]
        records.append({"report": {}, "index": rows})
    start = time.perf_counter()
    named = zip(labels["video_id"], records, strict=True)
    faces = ([video_id, *row] for video_id, record in named for row in record["index"])
    write_index(Path("faces.parquet"), faces, Geometry(FACES, 96, 0.3, "centerface", 0.5))
    print(time.perf_counter() - start)


def table() -> None:
    from deepfake_detector.corpora.face_table import load_face_table
    from deepfake_detector.training.dataset import FaceDataset
    from deepfake_detector.training.samplers import PairedBatchSampler, add_originals

    start = time.perf_counter()
    faces = load_face_table("faces.parquet", "labels.csv", "videos", "splits.csv")
    faces = add_originals(faces[faces["partition"] == "train"].reset_index(drop=True))
    dataset = FaceDataset(faces, Path("faces"))
    batches = sum(1 for _ in PairedBatchSampler(faces, 32, 1, {"blend": 0.4}))
    print(time.perf_counter() - start, len(dataset), batches)


def split() -> None:
    from stages import split as stage

    paths = {
        "videos": "videos",
        "labels": "labels.csv",
        "splits": "splits.csv",
        "index": "faces.parquet",
        "faces": "faces",
    }
    sys.argv = ["split", *(word for key, path in paths.items() for word in (f"--data.{key}", path))]
    start = time.perf_counter()
    stage.main()
    print(time.perf_counter() - start)


def repro() -> None:
    from dvc.cli import main as dvc

    start = time.perf_counter()
    status = dvc(["repro", "-q"])
    print(time.perf_counter() - start)
    if status:
        sys.exit(status)


def measure(step: str, folder: Path) -> tuple[float, float, float]:
    """Elapsed seconds, processor seconds and MB of a step in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.growth", "--step", step],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "DVC_NO_ANALYTICS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    said = process.stdout.read().split("\n")
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{step} failed:\n" + "\n".join(said))
    return float(said[-2].split()[0]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        globals()[options.step]()
        return
    params = Path("params.yaml").read_text()
    print(
        f"load {os.getloadavg()[0]:.1f}\n\n| videos | step | seconds | processor seconds | MB |\n|---|---|---|---|---|"
    )
    for videos in options.videos:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "params.yaml").write_text(params)
            subprocess.run(
                [sys.executable, "-c", f"from benchmarks.growth import *; make_corpus({videos})"],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
                check=True,
            )
            for step in STEPS:
                if step == "repro":
                    subprocess.run(["dvc", "commit", "-fq"], cwd=folder, check=True)
                seconds, processor, memory = measure(step, folder)
                print(f"| {videos:,} | {step} | {seconds:.1f} | {processor:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
