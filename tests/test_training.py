"""The train stage as a program: killed and started again, and shared by two processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_data import make_config

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.faces.archive import encode_crop, write_archive
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.inference.backends import OnnxBackend, TorchBackend
from deepfake_detector.inference.onnx_export import export_onnx
from deepfake_detector.training.checkpoint import load_detector, save_detector
from deepfake_detector.training.detector_config import read_safetensors_config
from deepfake_detector.training.distributed import DistributedContext
from deepfake_detector.training.model import create_model
from deepfake_detector.training.scoring import batch_crops, predict_logits
from deepfake_detector.training.temporal_heads import create_temporal_head
from deepfake_detector.training.validation import Validation, calibrate
from deepfake_detector.version import VERSION

PROJECT = Path(__file__).parent.parent
FACES, SIZE = 4, 32
SMALL = {"workers": 0, "epochs": 5, "batch_size": 8, "precision": "float32"}


@pytest.fixture
def project(in_project: Path) -> Path:
    """A folder where `python -m stages.train` finds the faces of twelve videos."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["train"] |= SMALL
    params["model"] |= {"backbone": "resnet10t", "weights": "none"}
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
            write_archive(
                Path(f"data/faces/{video}.zip"), [(f"{i}.jpg", encode_crop(crop)) for i, crop in enumerate(crops)]
            )
            faces += [
                {"video_id": video, "track": 0, "member": f"{i}.jpg", "time": i / 10, "frame": i} for i in range(FACES)
            ]
            labels.append({"video_id": video, "filepath": f"{video}.mp4", "label": kind, "identity": f"p{number}"})
            labels[-1]["source_video"] = f"real{number}" if kind == "fake" else ""
            splits.append(
                {"video_id": video, "partition": "train" if number < 4 else "val", "group": number, "fold": 0}
            )
    table = pa.Table.from_pandas(pd.DataFrame(faces))
    geometry = Geometry(frames=FACES, size=SIZE, margin=0.3, detector="centerface", threshold=0.5)
    metadata = {**table.schema.metadata, b"geometry": json.dumps(asdict(geometry))}
    pq.write_table(table.replace_schema_metadata(metadata), "data/faces.parquet")
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


def start_and_kill(project: Path, moment: float, *overrides: str) -> None:
    """Start a training and kill it `moment` seconds after it wrote its state."""
    state = project / "checkpoints/last.pt"
    written = state.stat().st_mtime_ns if state.exists() else 0
    process = start(project, overrides=overrides)
    while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > written):
        time.sleep(0.002)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_training_killed_at_any_moment_ends_in_the_same_bytes(project, tmp_path_factory):
    once = tmp_path_factory.mktemp("once") / "project"
    shutil.copytree(project, once)
    finish(start(once))
    for moment in (0.0, 0.05):  # between epochs, and within one
        start_and_kill(project, moment)
    output = finish(start(project))
    assert "resuming after epoch" in output
    assert results(project) == results(once)


def test_finished_training_leaves_its_version_in_the_detector_and_no_state_to_resume(project):
    finish(start(project))
    assert not (project / "checkpoints/last.pt").exists()
    left = project / "checkpoints/best.safetensors.17.part"
    left.write_bytes(b"of a killed process")
    before = results(project)
    assert read_safetensors_config(project / "checkpoints/best.safetensors").version == VERSION
    output = finish(start(project))
    assert "epoch 1:" in output and "resuming" not in output  # it trains again, and comes to the same bytes
    assert not left.exists()
    assert results(project) == before


def test_tensorboard_shows_rate_loss_terms_gradient_and_pairs(project):
    finish(start(project, overrides=("--epochs", "1")))
    (folder,) = (project / "runs").iterdir()
    board = EventAccumulator(str(folder)).Reload()
    scalars = {"loss", "classification_loss", "ranking_loss", "localization_loss", "gradient_norm", "lr", "val_loss"}
    assert scalars <= set(board.Tags()["scalars"])
    assert len(board.Tags()["images"]) == 1


def test_state_of_other_params_is_not_resumed(project):
    start_and_kill(project, 0.0)
    assert "belongs to other params" in finish(start(project, overrides=("--lr", "1e-4")))


def test_state_of_fewer_processes_is_not_resumed(project):
    start_and_kill(project, 0.0)
    output = finish(start(project, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"))
    assert "belongs to other params" in output


def test_fingerprint_covers_what_shapes_the_weights_and_nothing_else(project):
    from deepfake_detector.faces.extraction import read_geometry
    from deepfake_detector.training.distributed import DistributedContext
    from stages.params import parse
    from stages.train import training_fingerprint

    def fingerprint(*argv: str, world_size: int = 1) -> str:
        group = DistributedContext(0, world_size, torch.device("cpu"))
        return training_fingerprint(parse("train", "", list(argv)), read_geometry("data/faces.parquet"), group)

    same = fingerprint()
    assert fingerprint("--workers", "3", "--logs", "elsewhere") == same
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["extract"] |= {"cache": False, "timeout": 5, "memory": 1}
    tree["infer"] |= {"overlay": "none"}
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    assert fingerprint() == same
    others = [fingerprint("--lr", "1e-5"), fingerprint("--manipulations.blend", "0.1"), fingerprint(world_size=2)]
    others.append(fingerprint("--model.backbone", "resnet18"))
    splits = pd.read_csv("data/splits.csv")
    splits.loc[0, "partition"] = "excluded"
    splits.to_csv("data/splits.csv", index=False)
    assert len({same, fingerprint(), *others}) == 6


def test_two_processes_learn_as_one_does(project, tmp_path_factory):
    """With a network whose layers do not look at the batch, sharing it changes nothing but rounding."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["model"]["backbone"] = "convnext_atto"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    alone = tmp_path_factory.mktemp("alone") / "project"
    shutil.copytree(project, alone)
    finish(start(alone))
    output = finish(start(project, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"))
    assert output.count("epoch 1:") == 1  # only the main process prints
    np.testing.assert_allclose(losses(project), losses(alone), rtol=2e-3)
    assert losses(project)[0] != losses(project)[-1]
    assert len(losses(project)) == SMALL["epochs"]
    assert set(json.loads((project / "metrics/train.json").read_text())) == {"best_epoch", "val_auc"}


def test_calibration_of_two_processes_is_that_of_the_detector_that_they_wrote(project):
    """Each has the batch statistics of its own half of the faces, and scores a half of the validation videos."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    finish(start(project, *launcher, overrides=("--epochs", "2", "--ema-decay", "0")))
    model, config = load_detector("checkpoints/best.safetensors")
    table = load_face_table("data/faces.parquet", "data/sample/labels.csv", "data/sample", "data/splits.csv")
    alone = DistributedContext(0, 1, torch.device("cpu"))
    val = table[table["partition"] == "val"].reset_index(drop=True)
    faces = Validation(val, 1, "mean_logit", Path("data/faces"), "mean", alone).score(model, "float32")
    expected = calibrate(faces, config.calibration.operating_point, config.calibration.aggregation)
    assert config.calibration.scale == pytest.approx(expected.scale, rel=1e-3)
    assert config.calibration.face_bias == pytest.approx(expected.face_bias, rel=1e-3)


def test_calibration_sees_all_people_of_a_video_as_evaluation_does(project, monkeypatch):
    """Training sees one, as `train.max_people` says."""
    from stages import train

    table = pq.read_table("data/faces.parquet")
    people = table.set_column(table.column_names.index("track"), "track", pa.array(np.arange(len(table)) % FACES // 2))
    pq.write_table(people, "data/faces.parquet")
    seen = {}
    learn, fit_to = train.train, train.calibrate
    monkeypatch.setattr(
        train, "train", lambda model, faces, *rest: learn(model, seen.setdefault("train", faces), *rest)
    )
    monkeypatch.setattr(train, "calibrate", lambda faces, *rest: fit_to(seen.setdefault("val", faces), *rest))
    monkeypatch.setattr(sys, "argv", ["train", "--epochs", "1"])
    train.main()
    assert set(seen["train"]["track"]) == {0}
    assert set(seen["val"]["track"]) == {0, 1}


def test_detector_remembers_what_the_one_saw_that_it_started_from(project):
    """Else a test person of the first training could be called unseen by the second."""
    from stages.params import parse
    from stages.train import seen_videos

    Path("models").mkdir()
    save_detector(Path("models/start.safetensors"), create_model("resnet10t"), make_config(seen={"person": ["abc"]}))
    save_file({"conv.weight": torch.zeros(1)}, "models/backbone.safetensors")
    videos = pd.DataFrame({"video_id": ["a"], "identity": ["anna"]})
    started, fresh, of_backbone = (
        seen_videos(videos, parse("train", "", ["--model.weights", name]))
        for name in ("start.safetensors", "none", "backbone.safetensors")
    )
    assert fresh == of_backbone and len(fresh["person"]) == 1
    assert started == fresh | {"person": sorted(["abc", *fresh["person"]])}


def test_two_nodes_give_the_same_bytes_as_two_processes_of_one(project, tmp_path_factory):
    """The second node has a disk of its own, and writes nothing to it."""
    second, together = (tmp_path_factory.mktemp(name) / "project" for name in ("second", "together"))
    for copy in (second, together):
        shutil.copytree(project, copy)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    launcher += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    epochs = ("--epochs", "2")
    nodes = [
        start(folder, *launcher, f"--node-rank={rank}", overrides=epochs)
        for rank, folder in enumerate((project, second))
    ]
    said = [finish(node) for node in nodes]
    assert ["epoch 2:" in output for output in said] == [True, False]
    before = {path.relative_to(together) for path in together.rglob("*")}
    assert {path.relative_to(second) for path in second.rglob("*")} == before
    finish(start(together, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", overrides=epochs))
    assert results(project) == results(together)


def test_batch_that_cannot_be_shared_is_refused(project, monkeypatch, capsys):
    from deepfake_detector.training.distributed import DistributedContext
    from stages import train

    monkeypatch.setattr(train, "init_process_group", lambda: DistributedContext(0, 3, torch.device("cpu")))
    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit):
        train.main()
    assert "train.batch_size = 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("batch_size", "said"),
    [("4", "the loss is nan"), ("1000", "a validation face has a logit that is no finite number")],
)
def test_training_that_diverges_ends_in_a_sentence(project, batch_size, said):
    process = start(project, overrides=("--lr", "1e30", "--batch-size", batch_size))
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 2 and "Traceback" not in output, output
    assert said in output.replace("inf", "nan") and "lower train.lr" in output


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_temporal_head_is_trained_alike_twice_and_gives_the_same_logits_on_both_backends(project, kind):
    finish(start(project, overrides=("--model.temporal", kind)))
    once = results(project)
    finish(start(project, overrides=("--model.temporal", kind)))
    assert results(project) == once
    backend = TorchBackend("checkpoints/best.safetensors", "cpu")
    export_onnx(backend, "checkpoints/best.safetensors", project / "detector.onnx")
    onnx = OnnxBackend(project / "detector.onnx")
    crops = list(np.random.default_rng(1).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8))
    tracks = ["a"] * 5 + ["b"] + ["c"] * 34
    logits = backend.score(crops, tracks)
    np.testing.assert_allclose(onnx.score(crops, tracks), logits, atol=1e-4)
    np.testing.assert_allclose(backend.score(crops[:5], tracks[:5]), logits[:5], atol=1e-4)  # others change nothing
    alone = backend.score(crops[:5], [1, 2, 3, 4, 5])
    assert np.abs(alone - logits[:5]).max() > 1e-4  # the person's other faces do
    base, _ = load_detector("checkpoints/best.safetensors")
    base.temporal = create_temporal_head(kind, base.backbone.num_features).eval()  # untrained
    untrained = predict_logits(base, batch_crops(crops, [40]), backend.device)
    base.temporal = None
    np.testing.assert_array_equal(untrained, predict_logits(base, batch_crops(crops, [40]), backend.device))
