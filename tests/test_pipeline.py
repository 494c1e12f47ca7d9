"""The whole way of the data, as README and quickstart run it, on a small corpus in a clone of its own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import cv2
import pandas as pd
import pytest
import yaml

from deepfake_detector.faces.video_reader import read_frames
from release.sources import Image
from tests.test_docs import BLOCK, BLOCKS, CODE, PAGES, commands_of

STAGES = ["sample", "extract", "split", "train", "evaluate", "export", "infer"]
ROOT = Path(__file__).parent.parent
SMALL = {
    "sample": {"pairs": 6},
    "extract": {"frames": 4, "size": 64},
    "split": {"folds": 3, "val_fraction": 0.4},
    "train": {"epochs": 1},
    "evaluate": {"bootstrap": 50, "robustness": "none"},
    "model": {"backbone": "resnet10t", "weights": "none"},
}
# What each command in the blocks of README and quickstart prints.
PRINTS = {
    "make app": "http://localhost:",
    "make setup": "",
    "make repro": "up to date",
    "source .venv/bin/activate": "",
    "dvc metrics show": "video.auc",
    "cat results/predictions.csv": "one_of_two_swapped",
    "python -m stages.infer clip.mp4 --checkpoint released --output judged": "clip",
    "python -m stages.infer data/sample/demo --checkpoint released --output judged": "swapped",
    "cat judged/predictions.csv": "one_of_two_swapped",
}
SERVERS = {"make app"}  # never end: interrupted once the page answers
NOT_WRITTEN = {"site/"}  # by a command outside the blocks


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The files that git tracks or would, in a repository of their own, with small params."""
    folder = tmp_path_factory.mktemp("clone")
    files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    tree = yaml.safe_load((folder / "params.yaml").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        tree["app"]["port"] = free.getsockname()[1]
    for section, values in SMALL.items():
        tree[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    (folder / "dvc.lock").unlink(missing_ok=True)
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (folder / ".venv" / path.name).symlink_to(path)
    for path in folder.glob("requirements*"):
        os.utime(path, (0, 0))  # older than the environment, so that make installs nothing
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.email", "nobody@example.com")
    run(folder, "git", "config", "user.name", "nobody")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "start")
    return folder


def run(folder, *command):
    """Run a command with this Python's own programs first; its output, or its error as the test's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}, text=True, capture_output=True
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def in_shell(folder, command):
    """Start a command as a newcomer does: nothing is activated or set, and the home is empty. Nothing is downloaded."""
    (home := folder.with_name("home")).mkdir(exist_ok=True)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(sys.prefix))
    environment = {"PATH": path, "HOME": str(home), "PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run_as_printed(folder, command):
    process = in_shell(folder, command)
    output = process.communicate()[0]
    assert process.returncode == 0, f"{command}\n{output[-3000:]}"
    return output


def serve_as_printed(folder, command):
    """Ask the page at the address that the command prints, and press Ctrl-C."""
    server, output = in_shell(folder, command), ""
    try:
        for line in server.stdout:
            output += line
            if address := re.search(r"http://localhost:\d+", line):
                with urllib.request.urlopen(address[0], timeout=60) as answer:
                    assert answer.status == 200 and b"<title>" in answer.read()
                break
    finally:
        os.killpg(server.pid, signal.SIGINT)
        output += server.communicate(timeout=60)[0]
    assert address, f"{command}\n{output}"
    assert "Traceback" not in output
    return output


def ran(output):
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_pipeline_from_nothing(clone):
    assert ran(run_as_printed(clone, "make repro")) == STAGES
    labels, splits = pd.read_csv(clone / "data/sample/labels.csv"), pd.read_csv(clone / "data/splits.csv")
    report, index = pd.read_csv(clone / "data/extract_report.csv"), pd.read_parquet(clone / "data/faces.parquet")
    assert len(labels) == len(report) == len(splits) == 60 and (report["status"] == "ok").all()
    assert set(index["video_id"]) == set(labels["video_id"])
    predictions = pd.read_csv(clone / "data/predictions.csv")
    assert list(predictions) == ["video_id", "partition", "label", "probability", "logit", "verdict", "frames", "faces"]
    assert len(predictions) == splits["partition"].isin(["val", "test"]).sum()
    metrics = json.loads((clone / "metrics/evaluate.json").read_text())
    assert set(metrics) == {"video", "frame", "coverage", "threshold"} and set(metrics["frame"]) == {"auc"}
    headline = {"auc", "auc_low", "auc_high", "ap", "eer", "accuracy", "recall", "fpr", "log_loss", "ece"}
    assert set(metrics["video"]) == headline
    low, auc, high = (metrics["video"][f"auc{end}"] for end in ("_low", "", "_high"))
    assert metrics["coverage"] == 1 and 0 <= auc <= 1
    assert (
        low is None and high is None and auc == 0.5
    ) or 0 <= low <= auc <= high <= 1  # one epoch may have learnt nothing
    every = json.loads((clone / "reports/metrics.json").read_text())["test"]["frame"]
    assert {"ap", "eer", "accuracy", "precision", "recall", "f1", "log_loss", "brier", "ece"} <= set(every)
    verdicts = pd.read_csv(clone / "results/predictions.csv").set_index("video_id")["verdict"]
    assert verdicts["nobody"] == "no_face" and len(verdicts) == 4
    people = json.loads((clone / "results/one_of_two_swapped.json").read_text())["people"]
    assert len(people) == 2
    for name in ("roc", "precision_recall", "confusion", "reliability", "histogram"):
        assert (clone / f"plots/evaluate/{name}.png").stat().st_size > 5000
    assert "evidence, not proof" in (clone / "reports/model_card.md").read_text()
    assert (clone / "reports/evaluation.html").stat().st_size > 50_000


def test_nothing_changed_runs_nothing(clone):
    output = run(clone, "dvc", "repro")
    assert ran(output) == [] and "up to date" in output


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_console_blocks_of_a_page_run_as_printed(page, clone):
    """One after the other in one shell; then each file of which the page speaks is there."""
    shutil.copy(clone / "data/sample/demo/swapped.mp4", clone / "clip.mp4")
    shutil.rmtree(clone / "judged", ignore_errors=True)
    blocks = [text for name, kind, _, text in BLOCKS if name == page and kind == "console"]
    activation = ""
    for command in [command.partition(" #")[0].strip() for text in blocks for command in commands_of(text)]:
        output = (serve_as_printed if command in SERVERS else run_as_printed)(clone, activation + command)
        assert command in PRINTS, f"{command}: say in PRINTS what it prints"
        assert PRINTS[command] in output
        if command.startswith("source "):
            activation = f"{command} && "
    named = [code for code in CODE.findall(BLOCK.sub("", PAGES[page])) if re.fullmatch(r"[\w.-]+/[\w./-]*", code)]
    assert [code for code in named if not (clone / code).exists() and code not in NOT_WRITTEN] == []
    rows = pd.read_csv(clone / "judged/predictions.csv")
    assert rows["verdict"].isin(["real", "fake", "uncertain", "no_face"]).all()
    for name in rows["video_id"]:
        assert all((clone / f"judged/{name}{end}").stat().st_size for end in (".mp4", ".png", ".json"))


def test_recipe_of_the_released_detector_runs_from_archives_to_figures(clone):
    release, sample = clone / "release", clone / "data/sample"
    labels = pd.read_csv(sample / "labels.csv", dtype=str, keep_default_na=False)
    write_archive_of_images(release / "sources/images.zip", sample, labels)
    for corpus in ("dev", "genuine"):
        (release / "sources" / corpus).mkdir()
        some = labels.groupby(labels["source_video"] == "").head(4) if corpus == "dev" else labels[-12:]
        some.to_csv(release / "sources" / corpus / "labels.csv", index=False)
        for path in some["filepath"]:
            shutil.copy(sample / path, release / "sources" / corpus)
    sources = yaml.safe_load((release / "sources.yaml").read_text())
    sources |= {"genuine": ["sources/images.zip"], "autoencoder": "none", "left_out": ["elsewhere"]}
    sources |= {"archives": ["sources/images.zip", sources["reconstructed"]]}
    (release / "sources.yaml").write_text(yaml.safe_dump(sources))
    tree = yaml.safe_load((release / "params.yaml").read_text())
    tree["model"]["weights"] = "imagenet"
    tree["extract"] |= {"size": 64, "frames": 2}
    tree["evaluate"]["bootstrap"] = 50
    (release / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    settings = yaml.safe_load((release / "head.yaml").read_text())
    (release / "head.yaml").write_text(yaml.safe_dump(settings | {"start_share": 0.0}))
    stages = ["reconstruct", "faces", "split", "train", "head", "corpus@dev", "publish", "export", "corpus@genuine"]
    assert sorted(ran(run(release, "dvc", "repro"))) == sorted([*stages, "ablation", "evaluate"])
    assert "| 0 | anew, shrinkage 20 |" in (release / "ablation.md").read_text()
    figures = (release / "figures.md").read_text()
    for row in ("test: all", "test after H.264: all", "left out: all", "dev: all", "genuine: ", "fakes flagged"):
        assert f"| {row}" in figures, figures
    assert ran(run(release, "dvc", "repro")) == []


def write_archive_of_images(target, videos, labels):
    """A frame of each clip, with a manifest: two pairs of people are in val and test, one is left out."""
    target.parent.mkdir()
    wanted = ["train", "train", "train", "val", "test", "train"]  # subset of each pair of people
    pair = (labels["identity"].str[1:].astype(int) + 1) // 2
    number = pair.map({value: i for i, value in enumerate(sorted(set(pair)))})
    originals, rows = {}, []
    for clip, i in zip(labels.itertuples(), number, strict=True):
        if not clip.source_video:
            names = (f"{clip.video_id}_{j}" for j in range(1000))
            originals[clip.video_id] = next(
                name for name in names if Image("", "", "", "", "", "", "", name).subset == wanted[i]
            )
    with zipfile.ZipFile(target, "w") as archive:
        for clip, i in zip(labels.itertuples(), number, strict=True):
            image = next(read_frames(videos / clip.filepath, [10])).image
            archive.writestr(f"{clip.video_id}.jpg", cv2.imencode(".jpg", image)[1].tobytes())
            original = originals[clip.source_video or clip.video_id]
            rows.append((f"{clip.video_id}.jpg", clip.label, original, clip.method, "elsewhere" if i == 5 else "dfdc"))
        table = pd.DataFrame(rows, columns=["file", "label", "original", "method", "source"])
        archive.writestr("manifest.csv", table.to_csv(index=False))


def test_score_of_a_video_is_the_same_in_evaluation_and_in_judging(clone):
    """Same crop, same network, same calibration, on two ways through the code."""
    predictions = pd.read_csv(clone / "data/predictions.csv")
    one = predictions.iloc[0]
    run(
        clone,
        sys.executable,
        "-m",
        "stages.infer",
        f"data/sample/{one.video_id}.mp4",
        "--output",
        "again",
        "--max-people",
        "1",
    )
    judged = pd.read_csv(clone / "again/predictions.csv").iloc[0]
    assert judged["probability"] == pytest.approx(one["probability"], abs=1e-5)
    assert judged["frames"] == one["frames"]


def test_experiment_with_other_training_leaves_the_faces_alone(clone):
    run(clone, "git", "add", "-A")
    run(clone, "git", "commit", "-qm", "first run")
    output = run(clone, "dvc", "exp", "run", "-S", "train.lr=0.002")
    assert ran(output) == ["train", "evaluate", "export", "infer"]
    assert "train.lr" in run(clone, "dvc", "params", "diff")
    assert "ROC" in run(clone, "dvc", "plots", "diff", "HEAD", "--json")
    assert "train.lr" in run(clone, "dvc", "exp", "show", "--csv")


def test_difference_of_metrics_fits_a_terminal(clone):
    """Of 80 columns and 24 lines, between the committed run and the experiment."""
    lines = run(clone, "dvc", "metrics", "diff").splitlines()
    assert any(line.startswith("metrics/") for line in lines)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80


def test_training_of_earlier_params_comes_from_the_run_cache(clone):
    before = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]["lr"]
    output = run(clone, "dvc", "exp", "run", "-S", f"train.lr={before}")
    assert ran(output) == [] and output.count("is cached - skipping run") >= 4


def test_dvc_finds_python_without_an_activated_environment(clone):
    environment = {"PATH": "/usr/bin:/bin", "DVC_NO_ANALYTICS": "1", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [".venv/bin/dvc", "repro", "--force", "--single-item", "split"],
        cwd=clone,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_further_corpus_is_extracted_once_and_judged_again_when_its_labels_change(clone):
    tree = yaml.safe_load((clone / "params.yaml").read_text())
    (clone / "second corpus").mkdir()
    second_labels = clone / "second corpus/it's [all] of $(them).csv"
    tree["evaluate"]["corpora"] = {"second": {"videos": "data/sample", "labels": str(second_labels.relative_to(clone))}}
    (clone / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    labels = pd.read_csv(clone / "data/sample/labels.csv", dtype=str).iloc[:30]
    labels.to_csv(second_labels, index=False)
    assert ran(run(clone, "dvc", "repro", "evaluate")) == ["corpus@second", "evaluate"]
    before = json.loads((clone / "reports/metrics.json").read_text())
    second = before["corpora"]["second"]
    assert (second["n"], second["coverage"]) == (30, 1) and {"slope", "ece", "auc_low"} <= set(second)
    assert before["corpora"]["all together"]["n"] == 30 + before["test"]["video"]["n"]
    labels.loc[0, "label"] = "fake" if labels.loc[0, "label"] == "real" else "real"
    labels.to_csv(second_labels, index=False)
    assert ran(run(clone, "dvc", "repro", "evaluate")) == ["corpus@second", "evaluate"]
    after = json.loads((clone / "reports/metrics.json").read_text())["corpora"]["second"]
    assert after["real"] != second["real"]


def test_sample_is_not_made_for_a_corpus_of_ones_own(clone, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(clone / "data/sample", own)
    changes = {"data.videos": own, "data.labels": own / "labels.csv", "infer.videos": own / "demo"}
    options = [option for key, value in changes.items() for option in ("-S", f"{key}={value}")]
    run(clone, "dvc", "exp", "run", "--name", "own", *options, "sample")
    assert [path.name for path in (clone / "data/sample").iterdir()] == ["README.txt"]
