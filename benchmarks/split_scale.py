"""Time and memory of splitting and auditing a made-up corpus of a million videos, on one core.

    python -m benchmarks.split_scale
    python -m benchmarks.split_scale --videos 100000

Two shapes: people swapped within circles of four, and everybody swapped with anybody, which people have to be parted in.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

METHODS = np.array(["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"])


def made_up(videos: int, circle: int, seed: int = 0) -> pd.DataFrame:
    """One real video to four fakes; a person has two real videos, and is swapped within a circle of that many people."""
    rng = np.random.default_rng(seed)
    real = videos // 5
    people = real // 2
    person = np.concatenate([np.arange(real) % people, rng.integers(people, size=videos - real)])
    fake = np.arange(videos) >= real
    donor = np.minimum(person // circle * circle + rng.integers(circle, size=videos), people - 1)
    take = person + people * rng.integers(2, size=videos)
    name = np.char.add("v", np.arange(videos).astype(str))
    columns = {
        "video_id": name,
        "filepath": np.char.add(name, ".mp4"),
        "label": np.where(fake, "fake", "real"),
        "identity": np.char.add("p", person.astype(str)),
        "donor": np.where(fake, np.char.add("p", donor.astype(str)), ""),
        "source_video": np.where(fake, np.char.add("v", take.astype(str)), ""),
        "method": np.where(fake, METHODS[rng.integers(len(METHODS), size=videos)], ""),
        "quality": np.array(["c23", "c40"])[rng.integers(2, size=videos)],
    }
    return pd.DataFrame(columns)


def measure(labels: pd.DataFrame, folder: Path) -> tuple[float, float, str]:
    """Seconds and GiB of the split stage, all of it, and what it said."""
    labels.to_csv(folder / "labels.csv", index=False)
    (folder / "params.yaml").write_text(Path("params.yaml").read_text())
    places = [
        "--data.videos",
        ".",
        "--data.labels",
        "labels.csv",
        "--data.splits",
        "splits.csv",
        "--data.index",
        "none",
    ]
    environment = (
        os.environ | {"PYTHONPATH": str(Path.cwd())} | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    )
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.split", *places],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )  # fmt: skip
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the split stage failed with status {status}")
    return time.monotonic() - start, usage.ru_maxrss / 2**20, said


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.split_scale", description=__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000)
    given = parser.parse_args()
    for title, circle in (("circles of four people", 4), ("everybody with anybody", given.videos)):
        with tempfile.TemporaryDirectory() as folder:
            seconds, memory, said = measure(made_up(given.videos, circle), Path(folder))
        print(f"{title}: {given.videos:,} videos in {seconds:.1f} s with {memory:.2f} GiB\n{said}")


if __name__ == "__main__":
    main()
