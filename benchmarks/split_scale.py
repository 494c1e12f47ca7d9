"""Time and memory of the split stage on an invented corpus of a million videos, with one thread.

    python -m benchmarks.split_scale
    python -m benchmarks.split_scale --videos 100000

There are two corpora: people are swapped within circles of four, or everybody with anybody, where people must be
separated.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.command import command_line

METHODS = np.array(["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"])


def random_corpus(videos: int, circle: int, seed: int = 0) -> pd.DataFrame:
    """One real video for four fakes. A person has two real videos and is swapped within a circle of `circle` people."""
    rng = np.random.default_rng(seed)
    real = videos // 5
    people = real // 2
    person = np.concatenate([np.arange(real) % people, rng.integers(people, size=videos - real)])
    fake = np.arange(videos) >= real
    donor = np.minimum(person // circle * circle + rng.integers(circle, size=videos), people - 1)
    source = person + people * rng.integers(2, size=videos)
    name = np.char.add("v", np.arange(videos).astype(str))
    columns = {
        "video_id": name,
        "filepath": np.char.add(name, ".mp4"),
        "label": np.where(fake, "fake", "real"),
        "identity": np.char.add("p", person.astype(str)),
        "donor": np.where(fake, np.char.add("p", donor.astype(str)), ""),
        "source_video": np.where(fake, np.char.add("v", source.astype(str)), ""),
        "method": np.where(fake, METHODS[rng.integers(len(METHODS), size=videos)], ""),
        "quality": np.array(["c23", "c40"])[rng.integers(2, size=videos)],
    }
    return pd.DataFrame(columns)


def measure(labels: pd.DataFrame, folder: Path) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor, and GiB, of the whole split stage."""
    labels.to_csv(folder / "labels.csv", index=False)
    (folder / "params.yaml").write_text(Path("params.yaml").read_text())
    paths = {"videos": ".", "labels": "labels.csv", "splits": "splits.csv", "index": "none"}
    options = [word for key, path in paths.items() for word in (f"--data.{key}", path)]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.split", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())} | one_thread,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the split stage failed with status {status}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000)
    given = parser.parse_args()
    print(f"{given.videos:,} videos.\n\n| corpus | seconds | processor seconds | GiB |\n|---|---|---|---|")
    for title, circle in (("circles of four people", 4), ("everybody with anybody", given.videos)):
        with tempfile.TemporaryDirectory() as folder:
            seconds, processor, memory = measure(random_corpus(given.videos, circle), Path(folder))
        print(f"| {title} | {seconds:.1f} | {processor:.1f} | {memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
