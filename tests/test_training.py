"""The train stage as a program: killed and started again, and shared by two processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from deepfake_detector.faces.archive import encode_crop, write_archive
from deepfake_detector.inference.backends import OnnxBackend, TorchBackend
from deepfake_detector.inference.onnx_export import export_onnx
from deepfake_detector.training.batching import batch_lengths
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.model import TemporalHead
from deepfake_detector.training.scoring import batch_crops, predict_logits

PROJECT = Path(__file__).parent.parent
FACES, SIZE = 4, 32
SMALL = {"workers": 0, "epochs": 5, "batch_size": 8, "precision": "float32"}


@pytest.fixture
def project(in_project: Path) -> Path:
    """A folder where `python -m stages.train` finds the faces of twelve videos."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["train"] |= SMALL
    params["model"] |= {"backbone": "resnet10t"}
    params["extract"] |= {"size": SIZE}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    rng = np.random.default_rng(0)
    faces, labels, splits = [], [], []
    Path("data/faces").mkdir(parents=True)
    for number in range(6):
        smooth = [
            cv2.GaussianBlur(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8), (0, 0), 3) for _ in range(FACES)
        ]
        for kind in ("real", "fake"):
            video = f"{kind}{number}"
            noise = 40 if kind == "fake" else 0
            crops = [np.clip(c + rng.normal(0, noise + 1e-9, c.shape), 0, 255).astype(np.uint8) for c in smooth]
            write_archive(Path(f"data/faces/{video}.zip"), [(f"{i}.jpg", encode_crop(crop)) for i, crop in enumerate(crops)])
            faces += [
                {"video_id": video, "track": 0, "member": f"{i}.jpg", "time": i / 10, "frame": i} for i in range(FACES)
            ]
            labels.append({"video_id": video, "filepath": f"{video}.mp4", "label": kind, "identity": f"p{number}"})
            labels[-1]["source_video"] = f"real{number}" if kind == "fake" else ""
            splits.append(
                {"video_id": video, "partition": "train" if number < 4 else "val", "group": number, "fold": 0}
            )
    pd.DataFrame(faces).to_parquet("data/faces.parquet")
    pd.DataFrame(splits).to_csv("data/splits.csv", index=False)
    Path("data/sample").mkdir()
    pd.DataFrame(labels).to_csv("data/sample/labels.csv", index=False)
    return in_project


def start(folder: Path, *launcher: str, overrides: tuple[str, ...] = ()) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *launcher, "-m", "stages.train", *overrides]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen) -> str:
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    return output


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("checkpoints/best.safetensors", "metrics/train.json")}


def losses(folder: Path) -> list[float]:
    return pd.read_csv(folder / "plots/train/plots/metrics/loss.tsv", sep="\t")["loss"].tolist()


def test_training_killed_at_any_moment_ends_in_the_same_bytes(project, tmp_path_factory):
    once = tmp_path_factory.mktemp("once") / "project"
    shutil.copytree(project, once)
    finish(start(once, overrides=("--ema", "0.9")))
    state = project / "checkpoints/last.pt"
    for moment in (0.0, 0.05):  # seconds after a state was written: between epochs, and within one
        written = state.stat().st_mtime_ns if state.exists() else 0
        process = start(project, overrides=("--ema", "0.9"))
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > written):
            time.sleep(0.002)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
    output = finish(start(project, overrides=("--ema", "0.9")))
    assert "resuming after epoch" in output
    assert results(project) == results(once)
    again = finish(start(project, overrides=("--ema", "0.9", "--lr", "1e-4")))
    assert "belongs to other params" in again and results(project) != results(once)


def test_two_processes_learn_as_one_does(project, tmp_path_factory):
    """With a network whose layers do not look at the batch, sharing it changes nothing but rounding."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["model"]["backbone"] = "convnext_atto"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    alone = tmp_path_factory.mktemp("alone") / "project"
    shutil.copytree(project, alone)
    finish(start(alone))
    output = finish(start(project, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"))
    assert output.count("epoch 1:") == 1  # the leader alone speaks
    np.testing.assert_allclose(losses(project), losses(alone), rtol=2e-3)
    assert losses(project)[0] != losses(project)[-1]
    assert json.loads((project / "metrics/train.json").read_text())["epochs"] == SMALL["epochs"]


def test_batch_that_cannot_be_shared_is_refused(project, monkeypatch, capsys):
    from deepfake_detector.training.distributed import ProcessGroup
    from stages import train

    monkeypatch.setattr(train, "init_process_group", lambda: ProcessGroup(0, 3, train.torch.device("cpu")))
    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit):
        train.main()
    assert "train.batch_size = 8" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_head_over_time_is_trained_alike_twice_and_served_alike_by_both_runtimes(project, kind):
    finish(start(project, overrides=("--model.temporal", kind)))
    once = results(project)
    finish(
        start(project, overrides=("--model.temporal", kind))
    )  # its faces are learnt already: the head alone is made again
    assert results(project) == once
    scorer = TorchBackend("checkpoints/best.safetensors", "cpu")
    export_onnx(scorer, "checkpoints/best.safetensors", project / "detector.onnx")
    onnx = OnnxBackend(project / "detector.onnx")
    crops = list(np.random.default_rng(1).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8))
    people = ["a"] * 5 + ["b"] + ["c"] * 34
    logits = scorer.score(crops, people)
    np.testing.assert_allclose(onnx.score(crops, people), logits, atol=1e-4)
    np.testing.assert_allclose(scorer.score(crops[:5], people[:5]), logits[:5], atol=1e-4)  # of others nothing is asked
    alone = scorer.score(crops[:5], [1, 2, 3, 4, 5])
    assert np.abs(alone - logits[:5]).max() > 1e-4  # but of the same person's other faces
    base, _ = load_detector("checkpoints/best.safetensors")
    base.temporal = TemporalHead(kind, base.backbone.num_features).eval()  # untrained
    untrained = predict_logits(base, batch_crops(crops, [40]), scorer.device)
    base.temporal = None
    np.testing.assert_array_equal(untrained, predict_logits(base, batch_crops(crops, [40]), scorer.device))


def test_batches_hold_one_person_only_where_a_head_sees_them_over_time():
    people = ["a"] * 3 + ["b"] * 20 + ["a"]
    assert batch_lengths(people, 10, "mean") == [10, 10, 4]
    assert batch_lengths(people, 10, "gru") == [3, 16, 4, 1]
    assert batch_lengths([], 10, "mean") == batch_lengths([], 10, "gru") == []
