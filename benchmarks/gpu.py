"""The whole pipeline and every temporal head on a GPU: whether each stage runs, how fast, and the same bytes twice.

    python -m benchmarks.gpu                 # make gpu; on a machine without a GPU it runs on the CPU

It makes a small sample corpus in a temporary folder and runs every stage twice there, in about two minutes on a GPU.
The last table says for each stage the seconds of the first run, the faces or frames a second, and whether the outputs
of the second run have the same bytes. It exits with status 1 if any have not.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from benchmarks.command import command_line

ROOT = Path(__file__).parent.parent
SMALL: dict[str, dict[str, Any]] = {
    "sample": {"pairs": 6},
    "extract": {"size": 128, "cache": False},
    "split": {"folds": 3, "val_fraction": 0.4},
    "train": {"epochs": 2, "batch_size": 32, "workers": 0},
    "evaluate": {"bootstrap": 200, "robustness": "quick"},
}
HEADS = ("mean", "gru", "attention")


@dataclass(frozen=True)
class Measurement:
    stage: str
    seconds: float
    items: int  # faces or frames that the stage processed; 0: not counted
    same: bool


def run(folder: Path, stage: str, *options: str) -> float:
    """Run a stage in `folder`; the seconds that it took."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", f"stages.{stage}", *options], check=True, cwd=folder, env=environment)
    return time.perf_counter() - started


def measure(folder: Path, stage: str, outputs: Iterable[str], items: int, *options: str, name: str = "") -> Measurement:
    """Run a stage twice and compare the bytes of its `outputs`, files or folders."""
    seconds, first = run(folder, stage, *options), read(folder, outputs)
    run(folder, stage, *options)
    return Measurement(name or stage, seconds, items, read(folder, outputs) == first)


def read(folder: Path, outputs: Iterable[str]) -> dict[str, bytes]:
    paths = [path for output in outputs for path in [folder / output, *(folder / output).rglob("*")] if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def measure_all(folder: Path) -> list[Measurement]:
    """Every stage, and training, evaluation, export and inference with every temporal head."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SMALL.items():
        params[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["git", "init", "-q", str(folder)], check=True)  # DVCLive asks for a repository with a commit
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(commit, check=True, cwd=folder)
    run(folder, "sample")
    rows = [measure(folder, "extract", ["data/faces", "data/faces.parquet"], 60 * 16)]
    rows.append(measure(folder, "split", ["data/splits.csv"], 0))
    splits, faces = pd.read_csv(folder / "data/splits.csv"), pd.read_parquet(folder / "data/faces.parquet")
    count = faces.merge(splits, on="video_id")["partition"].value_counts()
    for head in HEADS:
        seen = SMALL["train"]["epochs"] * int(count["train"])
        options = ("--model.temporal", head)
        rows.append(measure(folder, "train", ["checkpoints"], seen, *options, name=f"train, {head}"))
        scored = int(count["val"] + count["test"])
        rows.append(measure(folder, "evaluate", ["data/predictions.csv"], scored, name=f"evaluate, {head}"))
        rows.append(measure(folder, "export", ["checkpoints/best.onnx"], 0, name=f"export, {head}"))
        rows.append(measure(folder, "infer", ["results"], 0, name=f"infer, {head}"))
    return rows


def table(rows: Iterable[Measurement]) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (no GPU here)"
    lines = [f"{device}, PyTorch {torch.__version__}", "", "| stage | seconds | images a second | same bytes twice |"]
    lines.append("|---|---|---|---|")
    for row in rows:
        rate = f"{row.items / row.seconds:.0f}" if row.items else ""
        lines.append(f"| {row.stage} | {row.seconds:.1f} | {rate} | {'yes' if row.same else 'NO'} |")
    return "\n".join(lines)


def main() -> None:
    command_line(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_all(Path(folder))
    print("\n" + table(rows))
    sys.exit(0 if all(row.same for row in rows) else 1)


if __name__ == "__main__":
    main()
