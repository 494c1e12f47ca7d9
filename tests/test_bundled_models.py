"""The model files that come with the project, and the released detector among them."""

import numpy as np
import pandas as pd
import pytest

from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR, SHA256, bundled_model
from deepfake_detector.corpora.sample_corpus import write_demonstration
from deepfake_detector.inference.backends import open_backend, read_config
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.detector_config import CheckpointError
from stages import infer
from stages.export import comparison_crops


@pytest.mark.parametrize("name", SHA256)
def test_model_file_is_what_the_code_says(name):
    assert bundled_model(name).is_file()


def test_dvc_sees_when_the_released_detector_changes():
    assert SHA256[RELEASED_DETECTOR] in (MODELS / "released").read_text()


@pytest.mark.parametrize("name", ["face_resnet18.safetensors", "face_resnet18_int8.onnx"])
def test_damaged_detector_is_refused_whoever_opens_it(name, monkeypatch):
    monkeypatch.setitem(SHA256, name, "0" * 64)
    path = str(MODELS / name)
    for open_detector in (open_backend, read_config, *([load_detector] if name == RELEASED_DETECTOR else [])):
        with pytest.raises(CheckpointError, match="git checkout"):
            open_detector(path)


def test_int8_sibling_agrees_with_the_released_detector():
    exact, quantized = (
        open_backend(str(MODELS / name), "cpu") for name in (RELEASED_DETECTOR, "face_resnet18_int8.onnx")
    )
    crops, people = comparison_crops(exact.config.geometry, 40)
    assert exact.config == quantized.config
    logits = [backend.score(crops, people) for backend in (exact, quantized)]
    assert np.corrcoef(*logits)[0, 1] > 0.9


def test_released_detector_tells_the_sample_clips_apart(in_project, monkeypatch):
    """Those that the page offers: their names say what was done to them."""
    write_demonstration(in_project / "demo", 1)
    monkeypatch.setattr("sys.argv", ["infer", "demo", "--checkpoint", "released", "--overlay", "none"])
    with pytest.raises(SystemExit) as exit_status:
        infer.main()
    assert exit_status.value.code == 0
    rows = pd.read_csv("results/predictions.csv").set_index("video_id")
    assert rows.loc[["genuine", "swapped", "nobody"], "verdict"].tolist() == ["real", "fake", "no_face"]
    assert rows["probability"]["genuine"] < rows["probability"]["one_of_two_swapped"] < rows["probability"]["swapped"]
