"""What the stages say and leave behind when their input is bad."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from training_data import make_config

from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.training.checkpoint import save_detector
from deepfake_detector.training.distributed import DistributedContext
from deepfake_detector.training.model import create_model
from stages import evaluate, extract, infer, split, train
from stages.params import parse


def run(monkeypatch, door, *argv):
    monkeypatch.setattr("sys.argv", [door.__name__, *map(str, argv)])
    door.main()


def run_to_error(monkeypatch, capsys, door, *argv):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, door, *argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def corpus(in_project, real_clip, faceless_clip):
    """A good video, one without a face, a text, an empty file and a missing one."""
    folder = in_project / "videos"
    folder.mkdir()
    (folder / "good.mp4").write_bytes(real_clip.read_bytes())
    (folder / "nobody.mp4").write_bytes(faceless_clip.read_bytes())
    (folder / "text.mp4").write_text("words")
    (folder / "empty.mp4").write_bytes(b"")
    names = ["good", "nobody", "text", "empty", "missing"]
    rows = [f"{name},{name}.mp4,real" for name in names]
    (in_project / "labels.csv").write_text("\n".join(["video_id,filepath,label", *rows]) + "\n")
    return [
        "--data.videos",
        "videos",
        "--data.labels",
        "labels.csv",
        "--data.faces",
        "out",
        "--data.index",
        "out.parquet",
    ]


def test_every_labelled_video_gets_a_row_whatever_it_is(corpus, in_project, monkeypatch):
    run(monkeypatch, extract, *corpus, "--frames", 4)
    report = pd.read_csv(in_project / "extract_report.csv").set_index("video_id")
    assert report["status"].to_dict() == {
        "good": "ok", "nobody": "no_face", "text": "unreadable", "empty": "unreadable", "missing": "unreadable",
    }  # fmt: skip
    assert "text.mp4" in report.loc["text", "reason"] and "missing.mp4" in report.loc["missing", "reason"]
    assert str(in_project) not in (in_project / "extract_report.csv").read_text()
    assert set(pd.read_parquet(in_project / "out.parquet")["video_id"]) == {"good"}
    assert json.loads((in_project / "metrics/extract.json").read_text())["unreadable"] == 3


def test_same_extraction_gives_the_same_bytes(corpus, in_project, monkeypatch):
    contents = []
    for workers in (1, 2):
        run(monkeypatch, extract, *corpus, "--frames", 4, "--workers", workers)
        contents.append(
            [(in_project / name).read_bytes() for name in ("out.parquet", "extract_report.csv", "out/good.zip")]
        )
    assert contents[0] == contents[1]


def test_bad_labels_cost_nothing_done_before(corpus, in_project, monkeypatch, capsys):
    run(monkeypatch, extract, *corpus, "--frames", 4)
    (in_project / "labels.csv").write_text("video_id,filepath,label\na,a.mp4,perhaps\n")
    assert "row 2: label 'perhaps'" in run_to_error(monkeypatch, capsys, extract, *corpus)
    assert (in_project / "out/good.zip").is_file()


def test_folder_with_other_files_is_not_emptied(corpus, in_project, monkeypatch, capsys):
    (in_project / "out").mkdir()
    (in_project / "out/thesis.doc").write_text("precious")
    assert "thesis.doc" in run_to_error(monkeypatch, capsys, extract, *corpus)
    assert (in_project / "out/thesis.doc").is_file()


def test_too_few_people_to_split_is_an_error_that_counts_them(corpus, in_project, monkeypatch, capsys):
    message = run_to_error(monkeypatch, capsys, split, *corpus, "--folds", 9)
    assert "5 separable groups" in message and "split.folds = 9" in message


def test_fold_outside_the_folds_is_refused(corpus, in_project, monkeypatch, capsys):
    assert "split.fold = 5" in run_to_error(monkeypatch, capsys, split, *corpus, "--fold", 5, "--folds", 5)


def test_training_before_its_stages_says_which_to_run(corpus, in_project, monkeypatch, capsys):
    assert "run the extract stage" in run_to_error(monkeypatch, capsys, train, *corpus)


def test_training_without_fakes_says_so(corpus, in_project, monkeypatch, capsys):
    run(monkeypatch, extract, *corpus, "--frames", 4)
    rows = ["good,train,0,0", "nobody,val,1,1", "text,test,2,2", "empty,test,3,3", "missing,test,4,4"]
    (in_project / "splits.csv").write_text("\n".join(["video_id,partition,group,fold", *rows]) + "\n")
    message = run_to_error(monkeypatch, capsys, train, *corpus, "--data.splits", "splits.csv")
    assert "train partition has no fake video" in message


def test_training_time_manipulations_of_faces_cut_by_their_boxes_are_refused(in_project, capsys):
    faces = pd.DataFrame(
        [(part, label) for part in ("train", "val") for label in (0, 1)], columns=["partition", "label"]
    )
    context, box = DistributedContext(0, 1, torch.device("cpu")), Geometry(4, 32, 0.5, "centerface", 0.5, align="box")
    with pytest.raises(SystemExit):
        train.check_trainable(faces, box, parse("train", "", []), context)
    assert "set its shares to 0, or extract.align to landmarks" in capsys.readouterr().err
    none = ["--train.manipulations.blend", "0", "--train.manipulations.self_blend", "0"]
    train.check_trainable(faces, box, parse("train", "", none), context)


def test_evaluating_without_a_detector_says_how_to_get_one(corpus, in_project, monkeypatch, capsys):
    assert "dvc repro train" in run_to_error(monkeypatch, capsys, evaluate, *corpus)


@pytest.mark.parametrize("stage", ["sample", "extract", "split", "train", "evaluate", "infer", "export"])
def test_each_stage_explains_itself(stage, in_project, monkeypatch, capsys):
    module = __import__(f"stages.{stage}", fromlist=["main"])
    monkeypatch.setattr(sys, "argv", [stage, "--help"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 0
    assert f"python -m stages.{stage}" in capsys.readouterr().out


def test_damaged_detector_ends_the_run_and_is_no_error_of_each_video(in_project, real_clip, monkeypatch, capsys):
    model = create_model("resnet10t")
    with torch.no_grad():
        model.backbone.conv1[0].weight[:] = float("nan")
    save_detector(in_project / "x.safetensors", model, make_config())
    message = run_to_error(monkeypatch, capsys, infer, real_clip, "--checkpoint", "x.safetensors", "--workers", 1)
    assert "x.safetensors is damaged" in message and message.count("error: ") == 1
    assert not (in_project / "results/predictions.csv").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--data.splits", "folder", "error: folder: Is a directory"),
        ("--data.split_report", "labels.csv", "error: labels.csv: File exists"),
        ("--data.plots", "labels.csv/x", "error: labels.csv/x/split: Not a directory"),
        ("--data.metrics", "/dev/null/\x7fx", "\\x7fx"),
    ],
)
def test_output_that_cannot_be_written_is_one_sentence(in_project, option, value, said):
    rows = [f"v{i},{i}.mp4,{'fake' if i % 2 else 'real'},p{i // 2}" for i in range(12)]
    Path("labels.csv").write_text("\n".join(["video_id,filepath,label,identity", *rows]) + "\n")
    Path("folder").mkdir()
    command = [sys.executable, "-m", "stages.split", "--data.labels", "labels.csv", "--data.videos", "v"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([*command, option, value], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
