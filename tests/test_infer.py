"""Judging videos from the command line: one row each, whatever they are."""

import csv
import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from deepfake_detector.faces.archive import write_archive
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import INDEX_COLUMNS, extract_faces, index_rows
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.inference import overlay, timeline
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.task import PredictionSettings, PredictionTask, run_task
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.dataset import FaceDataset, SequentialBatches, make_loader
from deepfake_detector.training.scoring import predict_logits
from stages import infer
from stages.evaluate import add_verdicts
from stages.params import parse

ROOT = Path(__file__).parent.parent
PLAIN = ("--runtime", "onnx", "--overlay", "none", "--timeline", "false")


def run(monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["infer", *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        infer.main()
    return stop.value.code


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def settings(checkpoint, **changes):
    return PredictionSettings(
        **{
            "checkpoint": str(checkpoint), "exported": "", "runtime": "onnx" if checkpoint.suffix == ".onnx" else "torch",
            "detector": "0", "faces": "all", "overlay": "boxes", "timeline": True,
        } | changes
    )  # fmt: skip


@pytest.fixture
def mixed(in_project, real_clip, faceless_clip):
    """A hundred files: good ones under difficult names, damaged ones, and such as are no videos at all."""
    folder = in_project / "mixed folder"
    (folder / "below").mkdir(parents=True)
    good, faceless = real_clip.read_bytes(), faceless_clip.read_bytes()
    names = [
        "Gesicht ü 1.mp4",
        "below/Gesicht ü 1.mp4",
        "顔 'quoted', \"so\".MP4",
        "10:00.mp4",
        "clip [1].mp4",
        "x" * 250 + ".mp4",
    ]
    names += [
        "predictions.mp4",
        "-dash.mp4",
        "new\nline.mp4",
        os.fsdecode(b"not-utf8-\xff.mp4"),
        "%s{}.mp4",
        "trailing .mp4",
    ]
    for name in names:
        (folder / name).write_bytes(good)
    for i in range(8):
        (folder / f"good {i}.mp4").write_bytes(good + b"\0" * i)
    for i in range(20):
        (folder / f"nobody {i:02d}.mp4").write_bytes(faceless)
    for i in range(20):
        (folder / f"empty {i:02d}.mp4").write_bytes(b"")
        (folder / f"text {i:02d}.mp4").write_text("words")
        (folder / f"cut {i:02d}.mp4").write_bytes(
            good[: 300 + 500 * i]
        )  # its index of frames, which comes first, still whole or not
    (folder / "notes.txt").write_text("no video by its name")
    return folder, len(names) + 8


def test_a_hundred_mixed_files_get_one_row_each_and_the_same_after_a_kill(
    mixed, in_project, monkeypatch, exported, capsys
):
    folder, good = mixed
    assert run(monkeypatch, folder, "--checkpoint", exported, "--output", "out", *PLAIN) == 3
    assert "1 files in folders are no videos" in capsys.readouterr().out
    table = rows(in_project / "out/predictions.csv")
    assert len(table) == 100 == len({row["video_id"].casefold() for row in table})
    by_kind = {}
    for row in table:
        by_kind.setdefault(Path(row["filepath"]).name.split(" ")[0], set()).add(row["verdict"])
    for kind in ("empty", "text"):
        assert by_kind.pop(kind) == {"error"}
    assert by_kind.pop("nobody") == {"no_face"}
    assert by_kind.pop("cut") <= {"error", "fake", "real", "uncertain"}
    assert all(verdicts <= {"fake", "real", "uncertain"} for verdicts in by_kind.values())
    assert sum(row["frames_with_face"] == "4" for row in table) >= good
    assert not list((in_project / "out").glob("*.part"))
    assert (
        json.loads((in_project / "out/predictions.json").read_text())["videos"][0]["video_id"] == table[0]["video_id"]
    )

    command = [
        sys.executable,
        "-m",
        "stages.infer",
        str(folder),
        "--checkpoint",
        str(exported),
        "--output",
        "again",
        *PLAIN,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    part = in_project / "again/predictions.csv.part"
    for _ in range(1200):
        if part.exists() and len(list((in_project / "again").glob("*.json"))) >= 10:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (in_project / "again").glob("nobody*.json")}
    assert part.exists() and not (in_project / "again/predictions.csv").exists()
    assert run(monkeypatch, folder, "--checkpoint", exported, "--output", "again", *PLAIN) == 3
    assert "were judged before" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    for name in ("predictions.csv", "predictions.json"):
        assert (in_project / "again" / name).read_bytes() == (in_project / "out" / name).read_bytes()


def test_a_rewritten_video_or_other_settings_are_judged_again(
    in_project, monkeypatch, exported, faceless_clip, real_clip
):
    clip = in_project / "clip.mp4"
    clip.write_bytes(faceless_clip.read_bytes())
    job = PredictionTask(str(clip), "clip", str(in_project), settings(exported, overlay="none", timeline=False))
    predict_video(job)
    assert set(infer.finished([job])) == {0}
    assert not infer.finished([PredictionTask(str(clip), "clip", str(in_project), settings(exported, timeline=False))])
    clip.write_bytes(real_clip.read_bytes())
    assert not infer.finished([job])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_lists_globs_urls_and_what_is_missing(in_project, monkeypatch, exported, real_clip, capsys):
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        (in_project / name).write_bytes(real_clip.read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(in_project)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}"
    (in_project / "list.txt").write_text(
        f"\ufeff# a comment\none.mp4\n\nmissing.mp4\n{host}/three.mp4\n{host}/gone.mp4\n"
    )
    assert run(monkeypatch, "list.txt", "t*.mp4", "one.mp4", "--checkpoint", exported, "--output", "out", *PLAIN) == 3
    server.shutdown()
    table = {row["filepath"]: row for row in rows(in_project / "out/predictions.csv")}
    assert list(table) == ["one.mp4", "missing.mp4", f"{host}/three.mp4", f"{host}/gone.mp4", "three.mp4", "two.mp4"]
    assert {path for path, row in table.items() if row["verdict"] == "error"} == {"missing.mp4", f"{host}/gone.mp4"}
    assert (
        "missing.mp4" in table["missing.mp4"]["message"] and "cannot be fetched" in table[f"{host}/gone.mp4"]["message"]
    )
    assert len({row["probability"] for row in table.values() if row["probability"]}) == 1


def test_a_list_may_name_files_in_any_bytes(tmp_path):
    name = b"caf\xe9.mp4"
    (tmp_path / "list.txt").write_bytes(b"# videos \xff\n \n" + name + b"\n#1.mp4\n")
    assert find_videos([str(tmp_path / "list.txt")]) == ([os.fsdecode(name), "#1.mp4"], 0)


def test_pictures_and_tables_are_the_same_whatever_the_number_of_processes(
    in_project, monkeypatch, exported, real_clip, faceless_clip
):
    contents = []
    for workers in (1, 2):
        output = f"out{workers}"
        assert run(monkeypatch, real_clip, faceless_clip, "--checkpoint", exported, "--runtime", "onnx",
                   "--output", output, "--workers", workers) == 0  # fmt: skip
        contents.append({path.name: path.read_bytes() for path in (in_project / output).iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 8
    record = json.loads(contents[0][f"{real_clip.stem}.json"])
    face = record["people"][0]["faces"][0]
    assert (record["frames_wanted"], record["frames"], record["frames_with_face"], record["person"]) == (4, 4, 4, 1)
    assert {"time", "box", "logit", "probability"} <= set(face) and len(face["box"]) == 4


@pytest.mark.parametrize(
    "module, function, suffix", [(overlay, "annotate_video", ".mp4"), (timeline, "draw_timeline", ".png")]
)
def test_a_picture_that_fails_costs_the_picture_not_the_verdict(
    module, function, suffix, tmp_path, monkeypatch, exported, real_clip
):
    def broken(target, *_):
        raise RuntimeError("the encoder gave up")

    monkeypatch.setattr(module, function, broken)
    record = predict_video(PredictionTask(str(real_clip), "clip", str(tmp_path), settings(exported)))
    assert record["verdict"] in ("real", "fake", "uncertain") and "the encoder gave up" in record["message"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".mp4", ".png"} - {suffix}


def test_a_process_that_dies_costs_its_own_video(tmp_path, monkeypatch, exported):
    jobs = [PredictionTask(f"{name}.mp4", name, str(tmp_path), settings(exported)) for name in ("a", "b")]
    monkeypatch.setattr(
        infer, "parallel_map", lambda *_: iter([(1, OSError("Abnormal termination")), (0, TimeoutError())])
    )
    table = infer.predict_all(jobs, tmp_path, 1, 60)
    assert [row["verdict"] for row in table] == ["error", "error"]
    assert "infer.timeout = 60" in table[0]["message"] and "Abnormal termination" in table[1]["message"]


def test_mistakes_in_the_command_end_it_at_once(in_project, monkeypatch, checkpoint, exported, real_clip, capsys):
    def complaint(*argv):
        assert run(monkeypatch, *argv) == 2
        return capsys.readouterr().err

    (in_project / "none").mkdir()
    assert "no video in none" in complaint("none", "--checkpoint", checkpoint)
    assert "none.safetensors does not exist" in complaint("a.mp4", "--checkpoint", "none.safetensors")
    assert "python -m stages.export" in complaint("a.mp4", "--checkpoint", checkpoint, "--runtime", "onnx")
    assert "--runtime onnx" in complaint("a.mp4", "--checkpoint", exported)
    assert "heatmap" in complaint("a.mp4", "--checkpoint", exported, "--runtime", "onnx", "--overlay", "heatmap")
    assert "infer.device" in complaint("a.mp4", "--checkpoint", checkpoint, "--device", "abacus")
    (in_project / "clip.mp4").write_bytes(real_clip.read_bytes())
    assert "choose another" in complaint("clip.mp4", "--checkpoint", checkpoint, "--output", ".")
    assert (in_project / "clip.mp4").read_bytes() == real_clip.read_bytes()


def test_an_export_of_an_older_training_is_refused(in_project, monkeypatch, checkpoint, exported, capsys):
    (in_project / "best.safetensors").write_bytes(checkpoint.read_bytes() + b"\0")
    arguments = [
        "--checkpoint",
        "best.safetensors",
        "--runtime",
        "onnx",
        "--export.output",
        exported,
        "--output",
        "out",
    ]
    assert run(monkeypatch, "a.mp4", *arguments) == 2
    assert "exported from another detector" in capsys.readouterr().err


def test_onnx_runtime_judges_without_torch_and_what_is_slow_to_import(tmp_path, exported, real_clip):
    job = PredictionTask(str(real_clip), "clip", str(tmp_path), settings(exported))
    barred = ["torch", "torchvision", "timm", "pandas", "sklearn"]
    code = f"import sys; sys.modules.update(dict.fromkeys({barred}))\nfrom deepfake_detector.inference.task import *\nrun_task({job})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    record = json.loads((tmp_path / "clip.json").read_text())
    assert record["verdict"] != "error" and record["message"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.mp4", "clip.png"]


def test_judging_gives_the_scores_that_evaluation_gives(tmp_path, checkpoint, exported, real_clip):
    """The same faces, through the archive and the data loader of training, and straight from the video."""
    model, config = load_detector(checkpoint)
    found = extract_faces(real_clip, config.geometry, CenterFace(config.geometry.threshold), "all")
    write_archive(tmp_path / "clip.zip", [(face.member, face.data) for face in found.faces])
    faces = pd.DataFrame([["clip", *row] for row in index_rows(found.faces)], columns=INDEX_COLUMNS)
    faces = faces.assign(label=0, partition="test", group=0)
    loader = make_loader(FaceDataset(faces, tmp_path), SequentialBatches(batch_lengths(track_ids(faces), 3, "mean")), 0)
    faces["logit"] = predict_logits(model, (crops for crops, _ in loader), torch.device("cpu"))
    evaluated = add_verdicts(faces, pd.DataFrame({"video_id": ["clip"]}), config.calibration).iloc[0]
    for path in (checkpoint, exported):
        record = run_task(
            PredictionTask(str(real_clip), "clip", str(tmp_path), settings(path, overlay="none", timeline=False))
        )
        assert record["probability"] == pytest.approx(evaluated["probability"], abs=1.1e-6)
        assert record["verdict"] == evaluated["verdict"]
        logits = [face["logit"] for face in record["people"][0]["faces"]]
        assert logits == pytest.approx(faces["logit"].tolist(), abs=2e-5)


def test_settings_are_read_from_params(in_project, checkpoint):
    params = parse("infer", "", ["--checkpoint", str(checkpoint), "--overlay", "none", "--faces", "2"])
    chosen = PredictionSettings.of(params)
    assert (chosen.overlay, chosen.faces, chosen.runtime, len(chosen.detector)) == ("none", 2, "torch", 64)
