"""The evaluate stage from faces to reports, on a small project with an untrained detector."""

import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from deepfake_detector.corpora.face_table import corpus_fingerprint
from deepfake_detector.corpora.identity_graph import links
from deepfake_detector.corpora.leakage import link_digests
from deepfake_detector.evaluation import robustness
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.extraction import read_geometry
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.training.checkpoint import save_detector
from deepfake_detector.training.detector_config import DetectorConfig
from deepfake_detector.training.model import create_model
from stages import evaluate, extract
from stages.params import parse

DATA = ["--data.videos", "videos", "--data.labels", "videos/labels.csv"]
SMALL = ["--frames", "3", "--size", "64"]
OPTIONS = [*DATA, "--bootstrap", "60", "--checkpoint", "detector.safetensors"]


def run(monkeypatch, stage, *argv):
    monkeypatch.setattr("sys.argv", [stage.__name__, *map(str, argv)])
    stage.main()


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, clip_folder, recipes):
    """Val and test with the same clips under other names; test also has a video without a face and a text file."""
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
        run(patch, extract, *DATA, *SMALL)
    return folder


@pytest.fixture
def project(extracted, tmp_path, monkeypatch):
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    make_detector_file(Calibration(scale=1, bias=0, threshold=0.5, low=0.45, high=0.55))
    return tmp_path


def make_detector_file(calibration, fingerprint=None, seen=None):
    torch.manual_seed(1)
    data = parse("evaluate", "", DATA).data
    config = DetectorConfig(
        backbone="resnet10t",
        geometry=read_geometry(data.index),
        calibration=calibration,
        params={"train": {"epochs": 1}},
        corpus=fingerprint or corpus_fingerprint(data.labels, data.index, data.splits),
        seen=seen or {"person": []},
        epoch=1,
        val_auc=0.5,
    )
    save_detector(Path("detector.safetensors"), create_model("resnet10t"), config)


def keep_rows(path, rows):
    """Rewrite a face index with some of its rows and all of its metadata."""
    table = pq.read_table(path)
    pq.write_table(table.filter(pa.array(rows)), path)


@pytest.fixture
def further_corpus(project):
    """The val videos again, as a further corpus with the name `other`."""
    labels = pd.read_csv("videos/labels.csv", keep_default_na=False)
    labels[labels["video_id"].str.startswith("val")].to_csv("other.csv", index=False)
    folder = project / "data/corpora/other"
    shutil.copytree("data/faces", folder / "faces")
    shutil.copy("data/faces.parquet", folder)
    keep_rows(folder / "faces.parquet", pd.read_parquet("data/faces.parquet")["video_id"].str.startswith("val"))
    shutil.copy("data/extract_report.csv", folder)
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["evaluate"]["corpora"] = {"other": {"videos": "videos", "labels": "other.csv"}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return folder


def strict(path):
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{path} holds {word}"))


def test_evaluation_writes_metrics_plots_page_and_card(project, monkeypatch, capsys):
    run(monkeypatch, evaluate, *OPTIONS)
    metrics = strict(project / "reports/metrics.json")
    assert metrics["test"]["coverage"] == 0.8 and metrics["test"]["unscored"] == {"no_face": 1, "unreadable": 1}
    for level, n in (("video", 8), ("track", 8), ("frame", 24)):
        assert metrics["test"][level]["n"] == metrics["val"][level]["n"] == n
    video = metrics["test"]["video"]
    assert 0 <= video["auc_low"] <= video["auc"] <= video["auc_high"] <= 1
    headline = strict(project / "metrics/evaluate.json")
    assert headline["video"]["auc"] == video["auc"]
    assert headline["coverage"] == 0.8 and headline["threshold"] == 0.5
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
    text, images = re.subn(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)  # an image may contain these letters
    assert "http" not in text.replace("http-equiv", "") and images == len(names) + 1
    card = (project / "reports/model_card.md").read_text()
    assert "1: no\\_face." in card and "evidence, not proof" in card and "nan" not in card.lower().split()
    assert "1 no_face, 1 unreadable" in capsys.readouterr().out


def test_outputs_go_beside_the_predictions_or_where_params_say(project, monkeypatch):
    before = sorted(project.rglob("*"))
    options = ["--data.predictions", "out/predictions.csv", "--data.plots", "elsewhere", "--robustness", "none"]
    run(monkeypatch, evaluate, *OPTIONS, *options)
    made = {path.relative_to(project).parts[0] for path in set(project.rglob("*")) - set(before)}
    assert made == {"out", "elsewhere"}
    assert (project / "elsewhere/evaluate/roc.png").is_file()
    assert sorted(path.name for path in (project / "out").iterdir()) == ["metrics", "predictions.csv", "reports"]


def test_test_set_without_a_score_is_reported(project, monkeypatch, capsys):
    """No face of the test videos is in the index: there are no metrics, and every count is in its place."""
    index = pd.read_parquet(project / "data/faces.parquet")
    keep_rows(project / "data/faces.parquet", index["video_id"].str.startswith("val"))
    make_detector_file(Calibration(scale=1, bias=0, threshold=0.5, low=0.45, high=0.55))
    run(monkeypatch, evaluate, *OPTIONS)
    headline = strict(project / "metrics/evaluate.json")
    assert headline["coverage"] == 0 and headline["video"]["auc"] is None
    assert strict(project / "reports/metrics.json")["test"]["video"]["n"] == 0
    assert "0 of 10 videos scored" in capsys.readouterr().out
    assert "no test video has a score" in (project / "reports/evaluation.html").read_text()


def test_further_corpus_is_scored_at_the_same_threshold(project, further_corpus, monkeypatch):
    run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
    rows = {row["corpus"]: row for row in strict(project / "plots/evaluate/corpora.json")}
    assert list(rows) == ["test", "other", "all together"]
    metrics = strict(project / "reports/metrics.json")
    val = metrics["val"]["video"]
    assert rows["other"]["auc"] == val["auc"] and rows["other"]["accuracy"] == val["accuracy"]
    assert rows["all together"]["n"] == rows["test"]["n"] + rows["other"]["n"] == 16
    assert 0 < rows["other"]["frame_auc"] < 1 and rows["all together"]["frame_auc"] is None
    values = {(row["column"], row["value"]): row["n"] for row in metrics["corpora"]["other"]["breakdown"]}
    assert values and all(0 < n <= 8 for n in values.values())
    assert "By attribute" in (project / "reports/evaluation.html").read_text()
    assert metrics["corpora"]["other"]["coverage"] == 1 and "slope" in metrics["corpora"]["other"]
    predictions = pd.read_csv(project / "data/predictions.csv")
    assert (predictions["partition"] == "other").sum() == 8
    assert not (project / "plots/evaluate/robustness.png").exists()


def test_further_corpus_without_a_face_has_its_row(project, further_corpus, monkeypatch):
    keep_rows("data/corpora/other/faces.parquet", [False] * len(pd.read_parquet("data/corpora/other/faces.parquet")))
    run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
    rows = {row["corpus"]: row for row in strict(project / "plots/evaluate/corpora.json")}
    assert rows["other"]["n"] == 0 and rows["other"]["auc"] is None
    assert strict(project / "reports/metrics.json")["corpora"]["other"]["unscored"] == {"ok": 8}


def test_distortion_after_which_no_face_is_found_has_its_row(project, monkeypatch):
    monkeypatch.setattr(robustness, "extract_reencoded", lambda *_, **__: [])
    run(monkeypatch, evaluate, *OPTIONS)
    for row in strict(project / "plots/evaluate/robustness_h264.json"):
        assert row["coverage"] == row["n"] == 0 and row["auc"] is None


def test_video_that_cannot_be_read_again_is_counted_and_no_loss_of_faces(project, monkeypatch, caplog):
    labels = pd.read_csv("videos/labels.csv", keep_default_na=False)
    place = {name: f"file://{project}/videos/{name}" for name in labels["filepath"]}
    place["test_real_a.mp4"] = "ftp://nobody/test_real_a.mp4"
    labels.assign(filepath=labels["filepath"].map(place)).to_csv("videos/labels.csv", index=False)
    run(monkeypatch, evaluate, *OPTIONS)
    for row in strict(project / "plots/evaluate/robustness_h264.json"):
        assert (row["coverage"], row["n"], row["not_encoded"]) == (1, 7, 1)
    assert "ftp://nobody/test_real_a.mp4 cannot be encoded again: " in caplog.text
    assert all(
        ", 1 not encoded" in (project / "reports" / name).read_text() for name in ("evaluation.html", "model_card.md")
    )


def test_subset_of_a_further_corpus_is_tested_alone(project, further_corpus, monkeypatch, capsys):
    labels = pd.read_csv("other.csv", keep_default_na=False)
    labels.assign(subset=np.where(np.arange(len(labels)) < 6, "test", "train")).to_csv("other.csv", index=False)
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["evaluate"]["corpora"]["other"]["subset"] = "test"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
    predictions = pd.read_csv(project / "data/predictions.csv")
    assert predictions.loc[predictions["partition"] == "other", "video_id"].tolist() == labels["video_id"][:6].tolist()
    params["evaluate"]["corpora"]["other"]["subset"] = "tests"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
    assert "its subsets are test, train" in capsys.readouterr().err


def test_further_corpus_with_another_geometry_is_refused(project, further_corpus, monkeypatch, capsys):
    geometry = read_geometry("data/faces.parquet")
    other = replace(geometry, margin=0.5)
    monkeypatch.setattr(evaluate, "read_geometry", lambda index: other if "other" in str(index) else geometry)
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
    assert "data/corpora/other/faces.parquet: the faces were cropped otherwise" in capsys.readouterr().err


def test_further_corpus_that_is_not_extracted_names_its_stage(project, further_corpus, monkeypatch, capsys):
    (further_corpus / "faces.parquet").unlink()
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *OPTIONS)
    assert "run dvc repro corpus@other" in capsys.readouterr().err


def test_quick_robustness_compares_with_the_same_videos_and_repeats(project, monkeypatch):
    contents = []
    for _ in range(2):
        run(monkeypatch, evaluate, *OPTIONS)
        files = [*project.glob("plots/evaluate/*"), *project.glob("reports/*"), project / "metrics/evaluate.json"]
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    overall = strict(project / "metrics/evaluate.json")["video"]["auc"]
    for family, strengths in {"h264": [32, 40], "resolution": [0.25], "jpeg": [50, 20]}.items():
        rows = strict(project / f"plots/evaluate/robustness_{family}.json")
        assert [row["strength"] for row in rows] == strengths
        assert all(row["coverage"] == 1 and row["n"] == 8 for row in rows)
        assert all(row["auc_change"] == pytest.approx(row["auc"] - overall, abs=2e-6) for row in rows)


def test_detector_of_another_corpus_is_evaluated_unless_it_saw_a_test_video(project, monkeypatch, capsys):
    calibration = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)
    for fingerprint in ("", "other"):
        make_detector_file(calibration, fingerprint)
        run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
        card = Path("reports/model_card.md").read_text()
        assert ("not the one that the detector was trained on" in card) == (fingerprint == "other")
    splits = pd.read_csv("data/splits.csv")
    one = splits.loc[splits["partition"] == "test", "video_id"].iloc[0]
    seen = link_digests({"original": pd.Series([one])})
    make_detector_file(calibration, fingerprint="other", seen=seen)
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *OPTIONS, "--robustness", "none")
    assert one in capsys.readouterr().err


def test_detector_of_another_geometry_says_how_to_extract(project, monkeypatch, capsys):
    geometry = read_geometry("data/faces.parquet")
    monkeypatch.setattr(evaluate, "read_geometry", lambda index: replace(geometry, margin=0.75, size=72))
    with pytest.raises(SystemExit):
        run(monkeypatch, evaluate, *OPTIONS)
    assert f"set extract.size: {geometry.size}, extract.margin: {geometry.margin}, and" in capsys.readouterr().err


COLUMNS = ["video_id", "identity", "donor", "source_video"]
TRAINED = pd.DataFrame([("a", "p1", "", ""), ("b", "p2", "p1", "a")], columns=COLUMNS)
LEAKING = pd.DataFrame([("e", "p5", "p2", "b2")], columns=COLUMNS)


def test_detector_that_was_trained_on_a_test_person_is_refused(in_project, capsys):
    config = SimpleNamespace(seen=link_digests(links(TRAINED)))
    clean = pd.DataFrame([("c", "p3", "", ""), ("d", "p3", "p4", "c")], columns=COLUMNS)
    evaluate.check_leakage(config, clean, parse("evaluate", "", []))
    with pytest.raises(SystemExit):
        evaluate.check_leakage(config, LEAKING, parse("evaluate", "", []))
    assert (
        "shares names of people or videos with the training of checkpoints/best.safetensors: donor p2"
        in capsys.readouterr().err
    )
    evaluate.check_leakage(config, LEAKING, parse("evaluate", "", ["--split.allow_leaks", "donor"]))
    same_person = pd.DataFrame([("f", "p1", "", "")], columns=COLUMNS)
    evaluate.check_leakage(config, same_person, parse("evaluate", "", ["--split.allow_leaks", "person"]))
    with pytest.raises(SystemExit):
        evaluate.check_leakage(SimpleNamespace(seen={}), clean, parse("evaluate", "", []))
    assert "no record" in capsys.readouterr().err


def test_further_corpus_with_a_training_person_is_warned_of():
    config = SimpleNamespace(seen=link_digests(links(TRAINED)))
    assert not evaluate.seen_in_training(config, "other", LEAKING.assign(donor="p9"))
    warning = evaluate.seen_in_training(config, "other", LEAKING)
    assert "corpus other may be too good" in warning and "shares names" in warning and "1 by donor (p2)" in warning
