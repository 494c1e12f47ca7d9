"""What a temporal head adds: the test videos of each fold of benchmarks.crossval with each head and without.

    python -m benchmarks.temporal

The heads learn from the finished network, so nothing else is trained anew. Writes docs/temporal.md.
"""

import sys
import tempfile
from pathlib import Path

import dvc.api
import pandas as pd
import torch
import yaml
from dvc.scm import RevError

from benchmarks.command import need
from benchmarks.crossval import NOTE, mean_and_sd
from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.faces.extraction import read_geometry
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.dataset import FaceDataset, make_loader
from deepfake_detector.training.device import make_deterministic, pick_device
from deepfake_detector.training.model import FaceClassifier
from deepfake_detector.training.samplers import SequentialBatches
from deepfake_detector.training.scoring import predict_logits
from stages.export import video_and_frame_auc
from stages.params import Params, parse
from stages.train import add_temporal_head, select_partition

HEADS = ("mean", "gru", "attention")
OUTPUT = Path("docs/temporal.md")


def of_revision(name: str, path: str, folder: Path) -> Path:
    """A file as the experiment `name` left it."""
    target = folder / Path(path).name
    try:
        target.write_bytes(dvc.api.read(path, rev=name, mode="rb"))
    except RevError:
        sys.exit(f"there is no experiment {name}: run make crossval first")
    return target


def test_aucs(
    model: FaceClassifier, head: str, faces: pd.DataFrame, folder: Path, device: torch.device
) -> tuple[float, float]:
    """AUC of videos and of faces."""
    loader = make_loader(FaceDataset(faces, folder), SequentialBatches(batch_lengths(track_ids(faces), 64, head)), 0)
    return video_and_frame_auc(faces, predict_logits(model, (crops for crops, *_ in loader), device))


def compare_heads(name: str, params: Params) -> dict[str, tuple[float, float]]:
    device, folder = pick_device(), Path(params.data.faces)
    with tempfile.TemporaryDirectory() as work:
        model, _ = load_detector(of_revision(name, params.train.checkpoint, Path(work)))
        splits = of_revision(name, params.data.splits, Path(work))
        faces = load_face_table(params.data.index, params.data.labels, params.data.videos, splits)
    train, test = select_partition(faces, "train"), select_partition(faces, "test")
    geometry = read_geometry(params.data.index)
    result = {}
    for head in HEADS:
        model.to(device).temporal = None
        if head != "mean":
            add_temporal_head(model, head, train, geometry, params, device)
        result[head] = test_aucs(model, head, test, folder, device)
        print(name, head, *result[head], flush=True)
    return result


def main() -> None:
    params = parse("train", __doc__ or "")
    need(params.data.index, params.data.labels)
    make_deterministic(params.train.seed, pick_device())
    names = [f"fold-{fold}" for fold in range(yaml.safe_load(Path("params.yaml").read_text())["split"]["folds"])]
    rows = [compare_heads(name, params) for name in names]
    lines = [
        "# Heads over time",
        "",
        f"`python -m benchmarks.temporal`, after `make crossval`, writes this page. {NOTE}",
        "",
    ]
    lines += ["Test videos of each fold; mean ± sd over folds.", ""]
    lines += [
        "| model.temporal | " + " | ".join(names) + " | video AUC | frame AUC |",
        "|---|" + "---|" * (len(names) + 2),
    ]
    for head in HEADS:
        videos, frames = ([row[head][level] for row in rows] for level in (0, 1))
        lines.append(
            f"| {head} | "
            + " | ".join(f"{auc:.3f}" for auc in videos)
            + f" | {mean_and_sd(videos)} | {mean_and_sd(frames)} |"
        )
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
