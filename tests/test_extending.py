"""The examples of docs/extending.md: their files, lines and commands, applied to a copy of the project and run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from deepfake_detector.faces.extraction import INDEX_COLUMNS, write_index
from deepfake_detector.faces.geometry import Geometry

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', re.M | re.S)
SECTIONS = {part.split("\n")[0]: BLOCK.findall(part) for part in PAGE.split("\n## ")[1:]}


def commands(section):
    """The commands of a section, as lists of words."""
    lines = [line for kind, _, text in SECTIONS[section] if kind == "console" for line in text.splitlines()]
    return [shlex.split(line.removeprefix("$ ")) for line in lines]


def apply_diff(text, diff):
    """`text` with a diff without line numbers applied. Its old lines must stand in one place."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the code with all examples in it."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("deepfake_detector", "stages", "tests", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for blocks in SECTIONS.values():
        for kind, title, text in blocks:
            if kind == "python":
                (folder / title).write_text(text, encoding="utf-8")
            elif kind == "diff":
                target = folder / title
                target.write_text(apply_diff(target.read_text(encoding="utf-8"), text), encoding="utf-8")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x"]  # DVCLive asks for a repository with a commit
    run(folder, [*git, "init", "-q"])
    run(folder, [*git, "commit", "-q", "--allow-empty", "-m", "x"])
    return folder


def run(folder, words, *options):
    """Run a command of the page; its output."""
    words = [sys.executable if word == "python" else word for word in [*words, *map(str, options)]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    done = subprocess.run(words, cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def faces(extended, small_faces):
    """Options of the train stage: two videos to train on and two to validate on."""
    table, archives = small_faces
    geometry = Geometry(frames=4, size=32, margin=0.3, detector="centerface", threshold=0.5)
    shutil.copytree(archives, extended / "small/faces")
    index = table.assign(frame=range(len(table)), original="").reindex(columns=INDEX_COLUMNS, fill_value=0)
    write_index(extended / "small/faces.parquet", index.values.tolist(), geometry)
    videos = table.drop_duplicates("video_id")
    labels = videos.assign(filepath=videos["video_id"] + ".mp4", identity=videos["video_id"].str[1])
    labels[["video_id", "filepath", "label", "identity", "source_video"]].to_csv(extended / "small/labels.csv")
    groups = videos["video_id"].str[1].astype(int)  # r1 and f1, r2 and f2
    splits = videos.assign(partition=groups.map({1: "train", 2: "val"}), group=groups, fold=0)
    splits = splits[["video_id", "partition", "group", "fold"]]
    splits.to_csv(extended / "small/splits.csv", index=False)
    paths = {"faces": "faces", "index": "faces.parquet", "labels": "labels.csv", "splits": "splits.csv"}
    options = [word for key, name in paths.items() for word in (f"--data.{key}", f"small/{name}")]
    return [*options, "--epochs", "1", "--batch-size", "4", "--checkpoint", "small/best.safetensors"]


def test_each_example_is_under_50_lines_and_as_clean_as_the_code(extended):
    written = [(title, text) for blocks in SECTIONS.values() for kind, title, text in blocks if kind == "python"]
    assert len(written) == 4 and all(text.count("\n") < 50 for _, text in written)
    titles = [title for title, _ in written]
    run(extended, ["ruff", "check", *titles])
    run(extended, ["ruff", "format", "--check", *titles])


def test_face_detector_of_the_page_finds_the_faces_of_a_clip(extended, clip_folder):
    (command,) = [words for words in commands("A face detector") if words[0] == "python"]
    options = ["--data.videos", clip_folder, "--data.labels", "none", "--frames", "3", "--cache", "found/cache"]
    run(extended, command, *options, "--data.faces", "found/faces", "--data.index", "found/faces.parquet")
    report = pd.read_csv(extended / "found/extract_report.csv")
    index = pd.read_parquet(extended / "found/faces.parquet")
    assert set(report["status"]) == {"ok"} and len(index) == 3 * len(report)
    # The eyes of an aligned crop are where those of the other detectors are: the landmarks are in the right order.
    assert (index["right_eye_x"] < index["left_eye_x"]).all() and (index["nose_y"] < index["mouth_right_y"]).all()


def test_adapter_of_the_page_reads_its_corpus(extended, tmp_path):
    for name in ("genuine/alice_3.mp4", "genuine/bob_1.mp4", "swapped/alice_3_bob.mp4", "swapped/odd name.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (command,) = commands("A corpus")
    said = run(extended, [word.replace("/path/to/recordings", str(tmp_path)) for word in command])
    rows = pd.read_csv(extended / "laboratory.csv").set_index("video_id")
    assert list(rows.index) == ["alice_3", "bob_1", "alice_3_bob"]
    assert rows.loc["alice_3_bob", ["identity", "donor", "source_video"]].tolist() == ["alice", "bob", "alice_3"]
    assert "present but unlisted: 1: swapped/odd name.mp4" in said


def test_manipulation_of_the_page_trains(extended, faces):
    (command,) = commands("A manipulation")
    run(extended, command, *faces, "--model.backbone", "resnet10t", "--model.weights", "none")
    code = "import numpy as np; from deepfake_detector.training.smoothing import smooth_face as f; r = np.random"
    code += ".default_rng(0); x = r.integers(0, 255, (96, 96, 3), np.uint8); d = f(x, None, 0.3, r) != x"
    assert (
        run(extended, ["python", "-c", f"{code}; print(d[40:56, 40:56].mean() > 0.5, d[:4].any())"]) == "True False\n"
    )


def test_backbone_of_the_page_trains_and_judges(extended, faces, real_clip):
    (command,) = commands("A backbone")
    run(extended, command, *faces)
    judge = ["python", "-m", "stages.infer", real_clip, "--checkpoint", "small/best.safetensors", "--output", "judged"]
    run(extended, list(map(str, judge)), "--overlay", "heatmap", "--timeline", "false")
    assert pd.read_csv(extended / "judged/predictions.csv")["verdict"].isin(["real", "fake", "uncertain"]).all()
    assert (extended / f"judged/{real_clip.stem}.mp4").is_file()


def test_metric_of_the_page_agrees_with_its_reference(extended):
    run(extended, commands("A metric")[0])
    with pytest.raises(AssertionError):  # without its reference, the test of metrics fails
        reference = next(text for kind, title, text in SECTIONS["A metric"] if title == "tests/test_metrics.py")
        tests = (extended / "tests/test_metrics.py").read_text(encoding="utf-8")
        undone = "".join(line[1:] for line in reference.splitlines(keepends=True) if line[0] == "+")
        (extended / "tests/test_metrics_alone.py").write_text(tests.replace(undone, ""), encoding="utf-8")
        run(extended, ["pytest", "tests/test_metrics_alone.py"])
