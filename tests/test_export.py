"""The exported network: the same scores, everything in its metadata, and INT8 beside it."""

import numpy as np
import onnx
import pytest

from deepfake_detector.files import file_sha256
from deepfake_detector.inference.backends import OnnxBackend, TorchBackend
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig
from stages import export, extract


def run(monkeypatch, door, *argv):
    monkeypatch.setattr("sys.argv", [door.__name__, *map(str, argv)])
    door.main()


@pytest.fixture
def corpus(in_project, clip_folder, recipes, monkeypatch):
    """A real clip and a fake, as training and again as validation videos."""
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
    run(monkeypatch, extract, *arguments, "--frames", 4, "--size", 64, "--workers", 1)
    return arguments


def test_export_writes_what_judges_alike_and_an_int8_network(corpus, in_project, checkpoint, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(
            monkeypatch, export, *corpus, "--infer.checkpoint", checkpoint, "--output", "out/net.onnx", "--int8", "true"
        )
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert (
        "largest difference of probabilities on 16 faces" in said and "validation video AUC" in said and "INT8" in said
    )
    assert sorted(path.name for path in (in_project / "out").iterdir()) == ["net.int8.onnx", "net.onnx"]
    crops = list(np.random.default_rng(1).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8))
    people = [0] * len(crops)
    exact, quantised = (OnnxBackend(in_project / "out" / name) for name in ("net.onnx", "net.int8.onnx"))
    torch_scorer = TorchBackend(checkpoint)
    assert export.parity(torch_scorer, exact, crops, people) < 1e-4
    assert 0 < export.parity(torch_scorer, quantised, crops, people) < 0.2
    for scorer in (exact, quantised):
        assert scorer.config == load_detector(checkpoint)[1] and scorer.checkpoint == file_sha256(checkpoint)
        assert len(scorer.score([], [])) == 0 and len(scorer.score(crops[:1], people[:1])) == 1
    kinds = {node.op_type for node in onnx.load(in_project / "out/net.int8.onnx").graph.node}
    assert "QuantizeLinear" in kinds


def test_an_export_that_judges_otherwise_is_not_kept(corpus, in_project, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(export, "parity", lambda *_: float("nan"))
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, export, *corpus, "--infer.checkpoint", checkpoint, "--output", "out/net.onnx")
    assert stop.value.code == 2 and "does not export faithfully" in capsys.readouterr().err
    assert not list((in_project / "out").iterdir())


def test_files_that_are_no_export_are_refused_with_the_reason(tmp_path, exported):
    (tmp_path / "words.onnx").write_text("words")
    with pytest.raises(CheckpointError, match="is no ONNX network"):
        OnnxBackend(tmp_path / "words.onnx")
    model = onnx.load(exported)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert DetectorConfig.model_validate_json(metadata["detector"])
    export.write(model, tmp_path / "old.onnx", {"detector": "{}"})
    with pytest.raises(CheckpointError, match="export it again"):
        OnnxBackend(tmp_path / "old.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(CheckpointError, match="no detector metadata"):
        OnnxBackend(tmp_path / "bare.onnx")
    with pytest.raises(CheckpointError, match="CPU only"):
        OnnxBackend(exported, "cuda:7")
