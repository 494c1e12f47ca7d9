"""Detector files: what goes in comes out, and what is no detector is refused with a reason."""

import json

import pytest
import torch
from safetensors.torch import save_file
from training_data import make_config

from deepfake_detector.training.checkpoint import CheckpointError, load_detector, save_detector
from deepfake_detector.training.model import create_model


@pytest.mark.parametrize("patch_head", [False, True])
def test_checkpoint_gives_back_the_detector_and_the_same_bytes(tmp_path, patch_head):
    model, config = create_model("resnet10t", patch_head=patch_head).eval(), make_config()
    save_detector(tmp_path / "a.safetensors", model, config)
    save_detector(tmp_path / "b.safetensors", model, config)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded, read = load_detector(tmp_path / "a.safetensors")
    crops = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    assert read == config and torch.equal(loaded(crops), model(crops))


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    save_detector(tmp_path / "a.safetensors", create_model("resnet10t"), make_config(backbone="resnet18"))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle"])
def test_what_is_no_checkpoint_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_detector(path)


def test_weights_without_metadata_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="metadata"):
        load_detector(tmp_path / "x.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors", {"detector": json.dumps({"backbone": "resnet18"})})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector(tmp_path / "y.safetensors")
