"""The exported network: the same probabilities, all settings in its metadata, and INT8."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepfake_detector.files import file_sha256
from deepfake_detector.inference.backends import OnnxBackend, TorchBackend, onnx_providers, open_backend, read_config
from deepfake_detector.inference.onnx_export import largest_difference, save_with_metadata
from deepfake_detector.inference.prediction_task import DeviceError
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig
from stages import export, extract

CUT = ("--margin", 0.5, "--min-eye-distance", 0)  # as the faces of the checkpoint


def run(monkeypatch, stage, *argv):
    monkeypatch.setattr("sys.argv", [stage.__name__, *map(str, argv)])
    stage.main()


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.fixture
def corpus(in_project, clip_folder, recipes, monkeypatch):
    """Arguments for a corpus: a real clip and a fake one, as training and again as validation videos."""
    fake = next(clip for method, clip in recipes.items() if method != "real")
    (in_project / "videos").mkdir()
    rows = []
    for part in ("train", "val"):
        for label, clip in (("real", recipes["real"]), ("fake", fake)):
            (in_project / f"videos/{part}_{label}.mp4").write_bytes((clip_folder / f"{clip.video_id}.mp4").read_bytes())
            rows.append(f"{part}_{label},{part}_{label}.mp4,{label}")
    (in_project / "labels.csv").write_text("\n".join(["video_id,filepath,label", *rows]) + "\n")
    splits = [f"{row.split(',')[0]},{row.split('_')[0]},{i},0" for i, row in enumerate(rows)]
    (in_project / "splits.csv").write_text("\n".join(["video_id,partition,group,fold", *splits]) + "\n")
    arguments = ["--data.videos", "videos", "--data.labels", "labels.csv", "--data.splits", "splits.csv"]
    arguments += ["--data.faces", "faces", "--data.index", "faces.parquet"]
    run(monkeypatch, extract, *arguments[:4], *arguments[6:], "--frames", 4, "--size", 64, "--workers", 1, *CUT)
    return arguments


@pytest.fixture
def crops():
    return list(np.random.default_rng(1).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8))


def test_export_needs_nothing_but_a_checkpoint(in_project, checkpoint, crops, monkeypatch, capsys):
    """There is no corpus in this folder."""
    run(monkeypatch, export, "--checkpoint", checkpoint, "--output", "out/net.onnx", "--crops", 40)
    message = capsys.readouterr().out
    assert f"largest difference of probabilities on {40 + export.NOISE_CROPS} crops" in message
    assert [path.name for path in (in_project / "out").iterdir()] == ["net.onnx"]
    exported, original = OnnxBackend(in_project / "out/net.onnx", "cpu"), TorchBackend(checkpoint, "cpu")
    people = [0] * len(crops)
    assert largest_difference(original, exported, crops, people) < 1e-4
    assert exported.config == load_detector(checkpoint)[1]
    assert metadata(in_project / "out/net.onnx")["checkpoint"] == file_sha256(checkpoint)
    assert len(exported.score([], [])) == 0 and len(exported.score(crops[:1], people[:1])) == 1


def test_export_says_nothing_of_the_machine(exported):
    """PyTorch notes the path of every module; the file would then differ between folders, and give them away."""
    assert str(Path(torch.__file__).parents[1]).encode() not in exported.read_bytes()
    assert str(Path(__file__).parents[1]).encode() not in exported.read_bytes()


def test_metadata_is_read_without_the_network(tmp_path, checkpoint, exported):
    assert read_config(str(checkpoint)) == read_config(str(exported)) == load_detector(checkpoint)[1]
    (tmp_path / "words.safetensors").write_text("words")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_config(str(tmp_path / "words.safetensors"))


def test_comparison_uses_aligned_photographs_and_noise(checkpoint):
    geometry = load_detector(checkpoint)[1].geometry
    crops, people = export.comparison_crops(geometry, 80)
    assert len(crops) == len(people) == 80 + export.NOISE_CROPS and len(set(people)) == 41
    assert {crop.shape for crop in crops} == {(64, 64, 3)}
    assert people[:80] == sorted(people[:80]) and set(people[80:]) == {"noise"}
    assert all(np.ptp(crop, axis=2).max() == 0 for crop in crops[:80]), "the photographs are grey"
    again, _ = export.comparison_crops(geometry, 80)
    assert all(np.array_equal(a, b) for a, b in zip(crops, again, strict=True))


def test_int8_writes_the_quantised_network_and_prints_its_cost(
    corpus, in_project, checkpoint, crops, monkeypatch, capsys
):
    arguments = [*corpus, "--checkpoint", checkpoint, "--output", "out/int8.onnx", "--int8", "true"]
    run(monkeypatch, export, *arguments, "--crops", 40)
    message = capsys.readouterr().out
    assert "validation video AUC" in message and "in INT8: difference" in message
    assert [path.name for path in (in_project / "out").iterdir()] == ["int8.onnx"]
    quantised = OnnxBackend(in_project / "out/int8.onnx", "cpu")
    assert quantised.config == load_detector(checkpoint)[1]
    assert 0 < largest_difference(TorchBackend(checkpoint, "cpu"), quantised, crops, [0] * len(crops)) < 0.2
    kinds = {node.op_type for node in onnx.load(in_project / "out/int8.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    weights = sum(parameter.numel() for parameter in load_detector(checkpoint)[0].parameters())
    assert (in_project / "out/int8.onnx").stat().st_size < 1.2 * weights  # once, not for crop and mirror image each


def test_int8_without_training_faces_ends_with_one_sentence(corpus, in_project, checkpoint, monkeypatch, capsys):
    for labels, splits in (("absent.csv", "splits.csv"), ("labels.csv", "without_train.csv")):
        text = (in_project / "splits.csv").read_text().replace(",train,", ",test,")
        (in_project / "without_train.csv").write_text(text)
        arguments = [*corpus, "--data.labels", labels, "--data.splits", splits]
        with pytest.raises(SystemExit) as stop:
            run(monkeypatch, export, *arguments, "--checkpoint", checkpoint, "--output", "o.onnx", "--int8", "true")
        message = capsys.readouterr().err
        assert stop.value.code == 2 and "export.int8 = true needs" in message and message.count("\n") == 1
        assert not (in_project / "o.onnx").exists()


def test_int8_with_faces_that_were_cut_otherwise_ends_with_one_sentence(
    corpus, in_project, checkpoint, monkeypatch, capsys
):
    monkeypatch.setattr(
        "stages.evaluate.read_geometry", lambda _: replace(read_config(str(checkpoint)).geometry, size=96)
    )
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, export, *corpus, "--checkpoint", checkpoint, "--output", "o.onnx", "--int8", "true")
    message = capsys.readouterr().err
    assert stop.value.code == 2 and "set extract.size: 64" in message and message.count("\n") == 1


def test_network_that_gives_other_probabilities_is_not_kept(in_project, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(export, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, export, "--checkpoint", checkpoint, "--output", "out/net.onnx", "--crops", 10)
    assert stop.value.code == 2 and "differs from PyTorch" in capsys.readouterr().err
    assert not list((in_project / "out").iterdir())


def test_files_that_are_no_export_are_refused_with_the_reason(tmp_path, exported):
    (tmp_path / "words.onnx").write_text("words")
    with pytest.raises(CheckpointError, match="is no ONNX network"):
        OnnxBackend(tmp_path / "words.onnx")
    model = onnx.load(exported)
    assert DetectorConfig.model_validate_json(metadata(exported)["detector"])
    save_with_metadata(model, tmp_path / "old.onnx", {"detector": "{}"})
    with pytest.raises(CheckpointError, match="export it again"):
        OnnxBackend(tmp_path / "old.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(CheckpointError, match="no detector metadata"):
        OnnxBackend(tmp_path / "bare.onnx")


def test_suffix_decides_the_backend(tmp_path, checkpoint, exported):
    assert isinstance(open_backend(str(checkpoint), "cpu"), TorchBackend)
    assert isinstance(open_backend(str(exported), "cpu"), OnnxBackend)
    (tmp_path / "net.pt").write_bytes(checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match=r"net\.pt is no detector: its suffix must be \.safetensors or \.onnx"):
        open_backend(str(tmp_path / "net.pt"))
    with pytest.raises(CheckpointError, match=r"absent\.onnx does not exist; make it with: python -m stages\.export"):
        open_backend(str(tmp_path / "absent.onnx"))


def test_pytorch_computes_on_the_device_asked_for_or_refuses(monkeypatch, checkpoint):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(DeviceError, match="PyTorch finds 2 CUDA devices"):
        TorchBackend(checkpoint, "cuda:2")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(DeviceError, match="PyTorch finds no Apple GPU"):
        TorchBackend(checkpoint, "mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("deepfake_detector.training.model.FaceClassifier.to", lambda model, *_, **__: model)
    assert TorchBackend(checkpoint, "mps").device.type == "mps"


def test_onnx_runtime_computes_on_the_device_asked_for_or_refuses(monkeypatch):
    available = ["CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: available)
    assert onnx_providers("auto") == onnx_providers("cpu") == ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match="cuda:1 is not available to ONNX Runtime; install onnxruntime-gpu"):
        onnx_providers("cuda:1")
    available.insert(0, "CUDAExecutionProvider")
    assert onnx_providers("cpu") == ["CPUExecutionProvider"]
    assert onnx_providers("auto")[0] == ("CUDAExecutionProvider", {"device_id": 0})
    assert onnx_providers("cuda:1")[0] == ("CUDAExecutionProvider", {"device_id": 1})
    with pytest.raises(DeviceError, match=r"mps is not available to ONNX Runtime; use a \.safetensors checkpoint"):
        onnx_providers("mps")
