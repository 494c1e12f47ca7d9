"""Detector files: what goes in comes out, and what is no detector is refused with a reason."""

import json
from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from training_data import make_config

from deepfake_detector.inference.backends import OnnxBackend, TorchBackend, read_config
from deepfake_detector.inference.onnx_export import save_with_metadata
from deepfake_detector.training.checkpoint import CheckpointError, load_detector, save_detector
from deepfake_detector.training.model import create_model
from deepfake_detector.training.temporal_heads import create_temporal_head


@pytest.mark.parametrize("patch_head", [False, True])
def test_checkpoint_gives_back_the_detector_and_the_same_bytes(tmp_path, patch_head):
    model, config = create_model("resnet10t", patch_head=patch_head).eval(), make_config()
    save_detector(tmp_path / "a.safetensors", model, config)
    save_detector(tmp_path / "b.safetensors", model, config)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded, read = load_detector(tmp_path / "a.safetensors")
    crops = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    assert read == config and torch.equal(loaded(crops), model(crops))


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "resnet10t"])
def test_temporal_head_of_any_backbone_is_read_again(tmp_path, backbone):
    """MobileNetV3 has another number of channels before its classifier than in its last feature map."""
    model, crops = create_model(backbone).eval(), torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        model.temporal = create_temporal_head("attention", model.forward_features(crops)[2].shape[1]).eval()
        config = make_config(backbone=backbone, params={"model": {"temporal": "attention"}})
        save_detector(tmp_path / "a.safetensors", model, config)
        assert torch.equal(load_detector(tmp_path / "a.safetensors")[0](crops), model(crops))


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


def write_config(path, change):
    """A detector file whose metadata were changed by hand."""
    tree = make_config().model_dump(mode="json")
    change(tree)
    weights = {name: tensor.contiguous() for name, tensor in create_model("resnet10t").state_dict().items()}
    save_file(weights, path, {"detector": json.dumps(tree)})


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("geometry", "size", 0),
        ("geometry", "size", 10**9),
        ("geometry", "margin", -1),
        ("geometry", "margin", float("nan")),
        ("geometry", "frames", 0),
        ("geometry", "frames", "all"),
        ("geometry", "fps", float("inf")),
        ("geometry", "align", "eyes"),
        ("geometry", "format", "bmp"),
        ("geometry", "detector", "magic"),
        ("geometry", "threshold", 2),
        ("geometry", "min_eye_distance", -1),
        ("geometry", "detector_weights", "/dev/zero"),
        ("geometry", "detector_weights", "models/../../x.onnx"),
        ("geometry", "rotation", 90),
        ("calibration", "aggregation", "mean_of_nothing"),
        ("calibration", "scale", 1e300),
        ("calibration", "scale", 0),
        ("calibration", "bias", float("nan")),
        ("calibration", "face_scale", float("inf")),
        ("calibration", "threshold", 0.9),
        ("params", "model", {"temporal": "magic"}),
        ("", "description", 20_000 * "x"),
        ("", "epoch", -1),
        ("", "val_auc", 7),
        ("", "seen", {"person": [1000 * "x"]}),
    ],
)
def test_impossible_setting_of_a_detector_is_refused_in_one_sentence(tmp_path, section, field, value):
    path = tmp_path / "x.safetensors"
    write_config(path, lambda tree: (tree[section] if section else tree).update({field: value}))
    for read in (load_detector, lambda path: read_config(str(path))):
        with pytest.raises(CheckpointError, match=r"x\.safetensors does not fit this version") as caught:
            read(path)
        assert "\n" not in str(caught.value) and field.split("_")[0] in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_the_fault_of_the_detector(tmp_path, value):
    model = create_model("resnet10t")
    with torch.no_grad():
        model.backbone.conv1[0].weight[0, 0, 0, 0] = value
    save_detector(tmp_path / "x.safetensors", model, make_config())
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged: backbone\.conv1\.0\.weight"):
        load_detector(tmp_path / "x.safetensors")


def test_weights_whose_logits_overflow_are_the_fault_of_the_detector(tmp_path):
    model = create_model("resnet10t")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3e38)
    save_detector(tmp_path / "x.safetensors", model, make_config())
    backend = TorchBackend(tmp_path / "x.safetensors", "cpu")
    with pytest.raises(CheckpointError, match="no finite number"):
        backend.score([np.full((32, 32, 3), 99, np.uint8)], [0])


def test_name_of_a_much_larger_network_takes_no_memory(tmp_path, monkeypatch):
    write_config(tmp_path / "x.safetensors", lambda tree: tree.update(backbone="vit_giant_patch14_224"))
    monkeypatch.setattr("deepfake_detector.training.checkpoint.create_model", None)
    with pytest.raises(CheckpointError, match="does not fit its own architecture: a vit_giant_patch14_224 has"):
        load_detector(tmp_path / "x.safetensors")


def write_network(path, node, output_type, output_shape, name="crops"):
    """An ONNX network of one node, with the metadata of a detector."""
    crops = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, ["n", 3, 32, 32])
    logits = onnx.helper.make_tensor_value_info("logits", output_type, output_shape)
    graph = onnx.helper.make_graph(node, "other", [crops], [logits])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    save_with_metadata(model, path, {"detector": make_config().model_dump_json()})


def test_network_of_something_else_is_the_fault_of_the_detector(tmp_path):
    path, make = tmp_path / "x.onnx", onnx.helper.make_node
    floats = onnx.TensorProto.FLOAT
    cast = make("Cast", ["crops"], ["floats"], to=floats)
    write_network(path, [make("Cast", ["crops"], ["logits"], to=floats)], floats, ["n", 3, 32, 32])
    with pytest.raises(CheckpointError, match=r"x\.onnx is no detector: it gives an array \(2, 3, 32, 32\)"):
        OnnxBackend(path)
    write_network(path, [make("Cast", ["images"], ["logits"], to=floats)], floats, ["n", 3, 32, 32], "images")
    with pytest.raises(CheckpointError, match=r"x\.onnx is no detector of this project") as caught:
        OnnxBackend(path)
    assert "\n" not in str(caught.value)
    mean = make("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0)
    write_network(path, [cast, mean, make("Log", ["mean"], ["logits"])], floats, ["n"])
    with pytest.raises(CheckpointError, match="no finite number"):
        OnnxBackend(path)


def test_network_with_a_loop_without_end_is_the_fault_of_the_detector(tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_detector.inference.backends.TRY_SECONDS", 0.3)
    make, value, types = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto
    going, number = value("going", types.BOOL, []), value("turn", types.INT64, [])
    kept, given = value("kept", types.FLOAT, None), value("given", types.FLOAT, None)
    still = value("still", types.BOOL, [])
    nodes = [make("Identity", ["going"], ["still"]), make("Identity", ["kept"], ["given"])]
    body = onnx.helper.make_graph(nodes, "turn", [number, going, kept], [still, given])
    true = onnx.helper.make_tensor("true", types.BOOL, [], [True])
    loop = [
        make("Cast", ["crops"], ["floats"], to=types.FLOAT),
        make("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0),
        make("Constant", [], ["true"], value=true),
        make("Loop", ["", "true", "mean"], ["logits"], body=body),
    ]
    write_network(tmp_path / "x.onnx", loop, types.FLOAT, ["n"])
    with pytest.raises(
        CheckpointError, match=r"x\.onnx is no detector of this project: two faces take it more than 0.3"
    ):
        OnnxBackend(tmp_path / "x.onnx")


def test_geometry_of_every_setting_survives_a_detector_file(tmp_path):
    geometry = replace(make_config().geometry, fps=2.5, align="box", format="png", frames="keyframes")
    save_detector(tmp_path / "a.safetensors", create_model("resnet10t"), make_config(geometry=geometry))
    assert asdict(load_detector(tmp_path / "a.safetensors")[1].geometry) == asdict(geometry)
