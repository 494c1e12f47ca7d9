"""Real faces to test on: clips of the embedded corpus, made once for all tests."""

import signal
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from deepfake_detector.corpora.sample_corpus import Person, SampleClip, partner, sample_clips, write_clip
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.archive import encode_crop, write_archive
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.backends import TorchBackend
from deepfake_detector.inference.onnx_export import export_onnx
from deepfake_detector.training.checkpoint import DetectorConfig, save_detector
from deepfake_detector.training.model import create_model

# Tests that run in the background inherit that Ctrl-C is ignored, and so would the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def pair() -> dict[int, Person]:
    return {number: Person(number) for number in (1, partner(1))}


@pytest.fixture(scope="session")
def recipes(pair: dict[int, Person]) -> dict[str, SampleClip]:
    """One real clip of person 1 and a fake of it by each method."""
    mine = [clip for clip in sample_clips(seed=1) if clip.person == 1]
    return {"real": next(clip for clip in mine if not clip.method)} | {
        clip.method: clip for clip in mine if clip.method
    }


@pytest.fixture(scope="session")
def clip_folder(
    tmp_path_factory: pytest.TempPathFactory, pair: dict[int, Person], recipes: dict[str, SampleClip]
) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for clip in recipes.values():
        write_clip(clip, pair, folder)
    return folder


@pytest.fixture(scope="session")
def real_clip(clip_folder: Path, recipes: dict[str, SampleClip]) -> Path:
    return clip_folder / f"{recipes['real'].video_id}.mp4"


@pytest.fixture
def faceless_clip(tmp_path: Path) -> Path:
    """A second of a moving gradient."""
    path = tmp_path / "faceless.mp4"
    row = np.linspace(40, 180, 320, dtype=np.uint8)
    with VideoWriter(path, Fraction(25), (320, 240)) as writer:
        for i in range(25):
            image = np.broadcast_to(np.roll(row, 4 * i)[None, :, None], (240, 320, 3))
            writer.write(cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), 9), i / 25)
    return path


@pytest.fixture
def in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the project's params.yaml, as current folder."""
    (tmp_path / "params.yaml").write_text((Path(__file__).parent.parent / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, calibrated so that what it says is spread over the verdicts."""
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    config = DetectorConfig(
        backbone="resnet10t",
        geometry=Geometry(4, 64, 0.5, "centerface", 0.5),
        calibration=Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6),
        params={},
        corpus="",
        epoch=1,
        val_auc=0.5,
    )
    torch.manual_seed(1)
    save_detector(path, create_model("resnet10t"), config)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Path:
    """The same network for ONNX Runtime, which starts in a tenth of the time."""
    path = checkpoint.with_suffix(".onnx")
    export_onnx(TorchBackend(checkpoint, "cpu"), checkpoint, path)
    return path


@pytest.fixture(scope="session")
def small_faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """Two real and two fake videos with four random crops each: a table and the folder of archives."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    rows = []
    for video, label, source in (("r1", 0, ""), ("r2", 0, ""), ("f1", 1, "r1"), ("f2", 1, "r2")):
        members = [(f"{i}.jpg", encode_crop(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))) for i in range(4)]
        write_archive(folder / f"{video}.zip", members)
        rows += [(video, 0, name, i / 10, label, source) for i, (name, _) in enumerate(members)]
    return pd.DataFrame(rows, columns=["video_id", "track", "member", "time", "label", "source_video"]), folder
