"""Evaluation from faces to page, on a small project with a detector that knows nothing."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deepfake_detector.corpora.face_table import corpus_fingerprint
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import Geometry
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.training.checkpoint import DetectorConfig, save_detector
from deepfake_detector.training.device import make_deterministic
from deepfake_detector.training.model import create_model
from stages import evaluate, extract
from stages.params import parse

SMALL = [
    "--extract.frames",
    "3",
    "--extract.size",
    "64",
    "--bootstrap",
    "60",
    "--infer.checkpoint",
    "detector.safetensors",
]
WHERE = ["--data.videos", "videos", "--data.labels", "videos/labels.csv"]


def run(monkeypatch, door, *argv):
    monkeypatch.setattr("sys.argv", [door.__name__, *map(str, argv)])
    door.main()


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, clip_folder, recipes):
    """Val and test with the same clips under other names; in test also a video without a face and a file that is none."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(Path(__file__).parent.parent / "params.yaml", folder)
    videos = folder / "videos"
    videos.mkdir()
    (folder / "data").mkdir()
    rows, parts = [], []
    for part in ("val", "test"):
        for i, (method, clip) in enumerate(recipes.items()):
            for copy, place in (("a", "indoors"), ("b", "outdoors")):
                name = f"{part}_{method}_{copy}"
                shutil.copy(clip_folder / f"{clip.video_id}.mp4", videos / f"{name}.mp4")
                kind = ("real", "") if method == "real" else ("fake", method)
                rows.append((name, f"{name}.mp4", *kind, place, f"tag{len(rows)}"))
                parts.append((name, part, 10 * (part == "test") + 2 * (i % 2) + (copy == "a"), 0))
    with VideoWriter(videos / "nobody.mp4", Fraction(25), (320, 240)) as writer:
        for i in range(10):
            writer.write(np.full((240, 320, 3), 90 + i, np.uint8), i / 25)
    (videos / "text.mp4").write_text("words")
    rows += [(name, f"{name}.mp4", "real", "", "indoors", name) for name in ("nobody", "text")]
    parts += [("nobody", "test", 20, 0), ("text", "test", 21, 0)]
    columns = ["video_id", "filepath", "label", "method", "place", "logit"]  # an attribute with the name of a score
    pd.DataFrame(rows, columns=columns).to_csv(videos / "labels.csv", index=False)
    pd.DataFrame(parts, columns=["video_id", "partition", "group", "fold"]).to_csv(
        folder / "data/splits.csv", index=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(patch, extract, *WHERE, *SMALL[:4])
    return folder


@pytest.fixture
def project(extracted, tmp_path, monkeypatch):
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    make_detector_file(Calibration(scale=1, bias=0, threshold=0.5, low=0.45, high=0.55))
    return tmp_path


def make_detector_file(calibration, fingerprint=None):
    make_deterministic(1)
    params = parse("evaluate", "", [*WHERE, *SMALL])
    config = DetectorConfig(
        backbone="resnet10t",
        geometry=Geometry.of(params.extract),
        calibration=calibration,
        params={"train": {"epochs": 1}},
        corpus=fingerprint or corpus_fingerprint(params.data),
        seen={"person": []},
        epoch=1,
        val_auc=0.5,
    )
    save_detector(Path("detector.safetensors"), create_model("resnet10t"), config)


def strict(path):
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{path} holds {word}"))


def test_evaluation_leaves_numbers_pictures_page_and_card(project, monkeypatch, capsys):
    run(monkeypatch, evaluate, *WHERE, *SMALL)
    metrics = strict(project / "metrics/evaluate.json")
    assert metrics["coverage"] == 0.8 and metrics["unscored"] == {"no_face": 1, "unreadable": 1}
    for level, n in (("video", 8), ("track", 8), ("frame", 24)):
        assert metrics[level]["n"] == n and metrics["val"][level]["n"] == n
        assert 0 <= metrics[level]["auc_low"] <= metrics[level]["auc"] <= metrics[level]["auc_high"] <= 1
    predictions = pd.read_csv(project / "data/predictions.csv")
    assert list(predictions) == ["video_id", "partition", "label", "probability", "logit", "verdict", "frames", "faces"]
    assert predictions.set_index("video_id").loc[["nobody", "text"], "verdict"].tolist() == ["no_face"] * 2
    for path in project.glob("plots/evaluate/*.json"):
        strict(path)
    names = ["roc", "precision_recall", "det", "reliability", "confusion", "histogram", "breakdown", "robustness"]
    assert {path.stem for path in project.glob("plots/evaluate/*.png")} == set(names)
    breakdown = pd.DataFrame(strict(project / "plots/evaluate/breakdown.json"))
    assert set(breakdown["column"]) == {"method", "place"} and breakdown["small"].all()
    feathered = breakdown.set_index("value").loc["feathered"]
    assert feathered["all_reals"] and (feathered["real"], feathered["fake"]) == (2, 2)
    page = (project / "reports/evaluation.html").read_text()
    text, pictures = re.subn(
        r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page
    )  # four letters of a picture may spell it, too
    assert "http" not in text.replace("http-equiv", "") and pictures == len(names) + 1
    card = (project / "reports/model_card.md").read_text()
    assert "1: no_face." in card and "evidence, not proof" in card and "nan" not in card.lower().split()
    assert "1 no_face, 1 unreadable" in capsys.readouterr().out


def test_nothing_to_score_is_told_not_a_crash(project, monkeypatch, capsys):
    """All test videos are unreadable: no number, and every count in its place."""
    index = pd.read_parquet(project / "data/faces.parquet")
    index[index["video_id"].str.startswith("val")].to_parquet(project / "data/faces.parquet", index=False)
    make_detector_file(Calibration(scale=1, bias=0, threshold=0.5, low=0.45, high=0.55))
    run(monkeypatch, evaluate, *WHERE, *SMALL)
    metrics = strict(project / "metrics/evaluate.json")
    assert metrics["coverage"] == 0 and metrics["video"]["auc"] is None and metrics["video"]["n"] == 0
    assert "0 of 10 videos scored" in capsys.readouterr().out
    assert (project / "reports/evaluation.html").is_file()


def test_further_corpus_is_scored_at_the_same_threshold(project, monkeypatch):
    labels = pd.read_csv(project / "videos/labels.csv", keep_default_na=False)
    labels[labels["video_id"].str.startswith("val")].to_csv(project / "other.csv", index=False)
    other = project / "data/corpora/other"
    shutil.copytree(project / "data/faces", other / "faces")
    index = pd.read_parquet(project / "data/faces.parquet")
    index[index["video_id"].str.startswith("val")].to_parquet(other / "faces.parquet", index=False)
    shutil.copy(project / "data/extract_report.csv", other)
    tree = yaml.safe_load((project / "params.yaml").read_text())
    tree["evaluate"]["corpora"] = {"other": {"videos": "videos", "labels": "other.csv"}}
    (project / "params.yaml").write_text(yaml.safe_dump(tree))
    run(monkeypatch, evaluate, *WHERE, *SMALL, "--robustness", "none")
    rows = {row["corpus"]: row for row in strict(project / "plots/evaluate/corpora.json")}
    assert list(rows) == ["test", "other", "all together"]
    val = strict(project / "metrics/evaluate.json")["val"]["video"]
    assert rows["other"]["auc"] == val["auc"] and rows["other"]["accuracy"] == val["accuracy"]
    assert rows["all together"]["n"] == rows["test"]["n"] + rows["other"]["n"] == 16
    predictions = pd.read_csv(project / "data/predictions.csv")
    assert (predictions["partition"] == "other").sum() == 8
    assert not (project / "plots/evaluate/robustness.png").exists()


def test_quick_robustness_compares_with_the_same_videos_and_repeats(project, monkeypatch):
    contents = []
    for _ in range(2):
        run(monkeypatch, evaluate, *WHERE, *SMALL)
        files = [*project.glob("plots/evaluate/*"), *project.glob("reports/*"), project / "metrics/evaluate.json"]
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    overall = strict(project / "metrics/evaluate.json")["video"]["auc"]
    for family, strengths in {"h264": [32, 40], "resolution": [0.25], "jpeg": [50, 20]}.items():
        rows = strict(project / f"plots/evaluate/robustness_{family}.json")
        assert [row["strength"] for row in rows] == strengths
        assert all(row["coverage"] == 1 and row["n"] == 8 for row in rows)
        assert all(row["auc_change"] == pytest.approx(row["auc"] - overall, abs=2e-6) for row in rows)


def test_calibration_for_another_aggregate_is_refused(project, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *WHERE, *SMALL, "--aggregate", "median")
    assert "evaluate.aggregate = median" in capsys.readouterr().err


def test_detector_of_another_corpus_is_refused(project, monkeypatch, capsys):
    make_detector_file(Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6), fingerprint="other")
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *WHERE, *SMALL)
    assert "train again" in capsys.readouterr().err
