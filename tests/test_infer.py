"""The infer stage: one row for each video, whatever it is."""

import csv
import errno
import functools
import http.server
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import onnx
import pandas as pd
import pytest
import torch

from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.faces.archive import write_archive
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import INDEX_COLUMNS, extract_faces, index_rows
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.files import file_sha256, lock_file
from deepfake_detector.inference import batch_prediction, overlay, timeline
from deepfake_detector.inference.onnx_export import save_with_metadata
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import (
    OutputError,
    PredictionSettings,
    PredictionTask,
    run_task,
    verdict_text,
)
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.dataset import FaceDataset, make_loader
from deepfake_detector.training.detector_config import CheckpointError
from deepfake_detector.training.samplers import SequentialBatches
from deepfake_detector.training.scoring import predict_logits
from stages import infer

ROOT = Path(__file__).parent.parent
WORKERS = SimpleNamespace(workers=1, timeout=60, memory=4, executor="local", gpus_per_worker=0)
WITHOUT_PICTURES = ("--overlay", "none", "--timeline", "false")


def run(monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["infer", *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        infer.main()
    return stop.value.code


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def settings(checkpoint, **changes):
    return PredictionSettings.with_checkpoint(str(checkpoint), **changes)


@pytest.fixture
def mixed(in_project, real_clip, faceless_clip):
    """A hundred files: good ones under difficult names, damaged ones, and files that are no videos."""
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
    assert run(monkeypatch, folder, "--checkpoint", exported, "--output", "out", *WITHOUT_PICTURES) == 3
    assert "no videos by their suffix: 1 (1 .txt)" in capsys.readouterr().out
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

    command = [sys.executable, "-m", "stages.infer", str(folder), "--checkpoint", str(exported)]
    command += ["--output", "again", *WITHOUT_PICTURES]
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
    assert run(monkeypatch, folder, "--checkpoint", exported, "--output", "again", *WITHOUT_PICTURES) == 3
    assert "were finished before" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert not list((in_project / "again").glob("*.part"))
    for name in ("predictions.csv", "predictions.json"):
        assert (in_project / "again" / name).read_bytes() == (in_project / "out" / name).read_bytes()


def test_rewritten_video_and_other_settings_are_predicted_again(
    in_project, monkeypatch, exported, faceless_clip, real_clip
):
    clip = in_project / "clip.mp4"
    clip.write_bytes(faceless_clip.read_bytes())
    output = in_project / "out"
    output.mkdir()
    task = PredictionTask(str(clip), "clip", str(output), settings(exported, overlay="none", timeline=False))
    predict_video(task)
    assert set(batch_prediction.finished_rows([task])) == {0}
    other = replace(task, settings=settings(exported, timeline=False))
    assert not batch_prediction.finished_rows([other])
    clip.write_bytes(real_clip.read_bytes())
    assert not batch_prediction.finished_rows([task])


def test_pictures_of_other_settings_do_not_stay_beside_a_new_verdict(tmp_path, exported, faceless_clip):
    """`other` is named as a picture of `a` could be."""
    task = PredictionTask(str(faceless_clip), "a", str(tmp_path / "out"), settings(exported))
    other = replace(task, video_id="a.faces")
    for each in (task, other):
        predict_video(each)
        assert each.result_path(".png").exists() and each.result_path(".mp4").exists()
    predict_video(replace(task, settings=settings(exported, prior=0.1, overlay="none", timeline=False)))
    (tmp_path / "out/a.mp4").write_bytes(b"of the user: no picture belongs to this verdict")
    predict_video(replace(task, video=str(tmp_path / "none.mp4"), settings=settings(exported, timeline=False)))
    left = {"a.json", "a.mp4", *(f"a.faces.{suffix}" for suffix in ("json", "mp4", "png"))}
    assert {path.name for path in (tmp_path / "out").iterdir()} == left


def test_two_runs_do_not_share_an_output_folder(in_project, monkeypatch, exported, faceless_clip, capsys):
    output = in_project / "out"
    output.mkdir()
    arguments = (faceless_clip, "--checkpoint", exported, "--output", output, *WITHOUT_PICTURES)
    with lock_file(output / "predictions.csv.part") as other_run:
        other_run.write("its rows\n")
        other_run.flush()
        assert run(monkeypatch, *arguments) == 2
        assert "in use by another run" in capsys.readouterr().err
        assert (output / "predictions.csv.part").read_text() == "its rows\n"
    assert run(monkeypatch, *arguments) == 0
    assert [path.name for path in output.glob("*.part")] == []


def test_output_on_a_file_system_without_locks(in_project, monkeypatch, exported, faceless_clip):
    def refuse(path):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(infer, "lock_file", refuse)
    assert run(monkeypatch, faceless_clip, "--checkpoint", exported, "--output", "out", *WITHOUT_PICTURES) == 0


def test_only_temporary_files_of_the_run_are_deleted(tmp_path, exported):
    task = PredictionTask("a.b.mp4", "a.b", str(tmp_path), settings(exported))
    left = ["a.b.mp4.12.part", "a.b.faces.png.12.part", "predictions.csv.34.part"]
    others = ["a.b.mp4", "a.b.mp4.part", "download.mp4.12.part", "predictions.csv.part"]
    for name in left + others:
        (tmp_path / name).touch()
    batch_prediction.delete_partial_files([task], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == others


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
    arguments = ["--checkpoint", exported, "--output", "out", *WITHOUT_PICTURES]
    assert run(monkeypatch, "list.txt", "t*.mp4", "one.mp4", *arguments) == 3
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
    assert find_videos([str(tmp_path / "list.txt")]) == ([os.fsdecode(name), "#1.mp4"], {})


def test_list_in_a_list_is_a_row_of_its_own(tmp_path, exported):
    (tmp_path / "list.txt").write_text(f"{tmp_path}/more.txt\n")
    (tmp_path / "more.txt").write_text("a.mp4\nb.mp4\n")
    (found,), _ = find_videos([str(tmp_path / "list.txt")])
    record = predict_video(PredictionTask(found, "more", str(tmp_path / "out"), settings(exported)))
    assert record["verdict"] == "error" and record["message"].startswith(f"{found} is no video")


def test_pictures_and_tables_are_the_same_whatever_the_number_of_processes(
    in_project, monkeypatch, exported, real_clip, faceless_clip
):
    contents = []
    for workers in (1, 2):
        output = f"out{workers}"
        arguments = ["--checkpoint", exported, "--output", output, "--workers", workers]
        assert run(monkeypatch, real_clip, faceless_clip, *arguments) == 0
        contents.append({path.name: path.read_bytes() for path in (in_project / output).iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 8
    record = json.loads(contents[0][f"{real_clip.stem}.json"])
    face = record["people"][0]["faces"][0]
    assert (record["frames_wanted"], record["frames"], record["frames_with_face"], record["person"]) == (4, 4, 4, 1)
    assert {"time", "box", "logit", "probability"} <= set(face) and len(face["box"]) == 4


@pytest.mark.parametrize(
    "module, function, suffix", [(overlay, "annotate_video", ".mp4"), (timeline, "draw_timeline", ".png")]
)
def test_picture_that_fails_does_not_cost_the_verdict(
    module, function, suffix, tmp_path, monkeypatch, exported, real_clip
):
    def broken(target, *_):
        raise RuntimeError("the encoder gave up")

    monkeypatch.setattr(module, function, broken)
    record = predict_video(PredictionTask(str(real_clip), "clip", str(tmp_path), settings(exported)))
    assert record["verdict"] in ("real", "fake", "uncertain") and "the encoder gave up" in record["message"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".mp4", ".png"} - {suffix}


def test_process_that_dies_costs_only_its_own_video(tmp_path, monkeypatch, exported):
    tasks = [PredictionTask(f"{name}.mp4", name, str(tmp_path), settings(exported)) for name in ("a", "b")]
    monkeypatch.setattr(
        batch_prediction, "parallel_map", lambda *_: iter([(1, OSError("Abnormal termination")), (0, TimeoutError())])
    )
    table = infer.predict_all(tasks, tmp_path, WORKERS)
    assert [row["verdict"] for row in table] == ["error", "error"]
    assert "infer.timeout = 60" in table[0]["message"] and "Abnormal termination" in table[1]["message"]


@pytest.fixture
def interrupted(tmp_path, monkeypatch, exported, real_clip):
    """A task whose process ended while the annotated video was drawn."""

    def die(*_, **__):
        raise SystemExit

    task = PredictionTask(str(real_clip), "clip", str(tmp_path / "out"), settings(exported))
    with monkeypatch.context() as patch:
        patch.setattr(overlay, "annotate_video", die)
        with pytest.raises(SystemExit):
            predict_video(task)
    return task


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "the annotated video was not finished: it took longer than infer.timeout = 60 seconds"),
        (OSError("Abnormal termination"), "the annotated video was not finished: OSError: Abnormal termination"),
    ],
)
def test_interrupted_drawing_costs_the_drawing_only(interrupted, monkeypatch, error, words):
    monkeypatch.setattr(batch_prediction, "parallel_map", lambda *_: iter([(0, error)]))
    (row,) = infer.predict_all([interrupted], Path(interrupted.output), WORKERS)
    assert row["verdict"] in ("real", "fake", "uncertain") and row["faces"] == 4 and row["message"] == words
    names = {path.name for path in Path(interrupted.output).iterdir()}
    assert names == {"clip.json", "clip.png", "predictions.csv", "predictions.json"}
    assert json.loads((Path(interrupted.output) / "clip.json").read_text())["message"] == words
    assert set(batch_prediction.finished_rows([interrupted])) == {0}


def test_pictures_of_a_killed_run_are_drawn_by_the_next(interrupted, tmp_path):
    assert not batch_prediction.finished_rows([interrupted])
    predict_video(interrupted)
    whole = replace(interrupted, output=str(tmp_path / "whole"))
    predict_video(whole)
    for suffix in (".json", ".mp4", ".png"):
        assert interrupted.result_path(suffix).read_bytes() == whole.result_path(suffix).read_bytes()


def test_file_url_is_finished_as_its_path_is(tmp_path, exported, faceless_clip):
    without = settings(exported, overlay="none", timeline=False)
    task = PredictionTask(faceless_clip.as_uri(), "clip", str(tmp_path / "out"), without)
    assert predict_video(task)["verdict"] == "no_face"
    assert set(batch_prediction.finished_rows([task])) == {0}


def test_record_of_an_earlier_version_that_lacks_columns_is_made_anew(tmp_path, exported, faceless_clip):
    without = settings(exported, overlay="none", timeline=False)
    task = PredictionTask(str(faceless_clip), "clip", str(tmp_path / "out"), without)
    record = predict_video(task)
    del record["suspicious_from"]
    task.result_path(".json").write_text(json.dumps(record))
    assert batch_prediction.finished_rows([task]) == {}


def test_file_that_grows_while_it_is_read_gets_no_verdict(tmp_path, monkeypatch, exported, faceless_clip):
    def growing(path, *arguments):
        with path.open("ab") as file:
            file.write(b"\0" * 100)
        return extract_faces(path, *arguments)

    monkeypatch.setattr("deepfake_detector.inference.predict.extract_faces", growing)
    record = predict_video(PredictionTask(str(faceless_clip), "clip", str(tmp_path / "out"), settings(exported)))
    assert record["verdict"] == "error"
    assert record["message"] == f"{faceless_clip} changed while it was read; judge it again when it is complete"


def test_message_about_a_copy_names_the_video(tmp_path, monkeypatch, exported, faceless_clip):
    monkeypatch.setattr("deepfake_detector.faces.extraction.read_frames", lambda *_: iter(()))
    task = PredictionTask(faceless_clip.as_uri(), "clip", str(tmp_path / "out"), settings(exported))
    message = f"{faceless_clip.as_uri()}: none of the sampled frames can be decoded"
    assert predict_video(task)["message"] == message


def test_old_verdict_of_another_file_is_not_kept(interrupted, monkeypatch, faceless_clip):
    other = replace(interrupted, video=str(faceless_clip))
    monkeypatch.setattr(batch_prediction, "parallel_map", lambda *_: iter([(0, TimeoutError())]))
    (row,) = infer.predict_all([other], Path(other.output), WORKERS)
    assert row["verdict"] == "error" and not other.result_path(".png").exists()


def test_pictures_beyond_the_limit_are_not_decoded(tmp_path, exported, real_clip):
    small, large = (write_clip_of(tmp_path / f"{side}.ts", real_clip, side) for side in (288, 640))
    grows = tmp_path / "grows.ts"
    grows.write_bytes(small.read_bytes() * 4 + large.read_bytes() * 4)
    limit = PredictionTask(str(grows), "clip", str(tmp_path / "out"), settings(exported), max_pixels=320 * 320)
    record = predict_video(limit)
    assert record["verdict"] != "error" and "cannot be decoded" in record["message"]
    assert probe(limit.result_path(".mp4")).frames == 40
    record = predict_video(replace(limit, video=str(large)))
    assert record["verdict"] == "error" and "0.1024 megapixels" in record["message"]


def write_clip_of(path, source, side):
    """The first ten frames of a clip at `side` x `side` pixels, in a stream without an index."""
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width = stream.height = side
        for frame in read_frames(source, list(range(10))):
            picture = av.VideoFrame.from_ndarray(cv2.resize(frame.image, (side, side)), "bgr24")
            picture.pts, picture.time_base = frame.number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def test_mistakes_in_the_command_end_it_at_once(in_project, monkeypatch, checkpoint, exported, real_clip, capsys):
    def complaint(*argv):
        assert run(monkeypatch, *argv) == 2
        return capsys.readouterr().err

    (in_project / "none").mkdir()
    assert "no video in none" in complaint("none", "--checkpoint", checkpoint)
    assert "none.safetensors does not exist; make it with: dvc repro" in complaint(
        "a.mp4", "--checkpoint", "none.safetensors"
    )
    assert "none.onnx does not exist; make it with: python -m stages.export" in complaint(
        "a.mp4", "--checkpoint", "none.onnx"
    )
    assert "must be .safetensors or .onnx" in complaint("a.mp4", "--checkpoint", "params.yaml")
    assert "only a .safetensors checkpoint" in complaint("a.mp4", "--checkpoint", exported, "--overlay", "heatmap")
    assert "device cuda:64 is not available" in complaint("a.mp4", "--checkpoint", exported, "--device", "cuda:64")
    assert "infer.device" in complaint("a.mp4", "--checkpoint", checkpoint, "--device", "abacus")
    (in_project / "clip.mp4").write_bytes(real_clip.read_bytes())
    assert "choose another" in complaint("clip.mp4", "--checkpoint", checkpoint, "--output", ".")
    assert (in_project / "clip.mp4").read_bytes() == real_clip.read_bytes()


def test_worker_loads_a_detector_that_replaced_the_one_it_holds(tmp_path, exported, real_clip):
    """A long-lived process must neither score with the old network nor put the new hash beside its scores."""
    checkpoint = tmp_path / "best.onnx"

    def predict(chosen):
        return predict_video(PredictionTask(str(real_clip), "clip", str(tmp_path), chosen))

    checkpoint.write_bytes(exported.read_bytes())
    first = settings(checkpoint, overlay="none", timeline=False)
    before = predict(first)
    model = onnx.load(exported)
    config = json.loads({entry.key: entry.value for entry in model.metadata_props}["detector"])
    config["calibration"]["bias"] = 3.0
    save_with_metadata(model, checkpoint, {"detector": json.dumps(config), "checkpoint": ""})
    after = predict(settings(checkpoint, overlay="none", timeline=False))
    assert after["settings"]["checkpoint_sha256"] == file_sha256(checkpoint) != first.checkpoint_sha256
    assert after["probability"] == pytest.approx(1 / (1 + math.exp(-after["people"][0]["logit"] - 3)), abs=1e-4)
    assert after["probability"] > before["probability"]
    with pytest.raises(CheckpointError, match="was replaced after this prediction was started"):
        predict(first)


def test_onnx_inference_imports_neither_torch_nor_pandas(tmp_path, exported, real_clip):
    """Nor other packages that take seconds to import and serve training and evaluation only."""
    task = PredictionTask(str(real_clip), "clip", str(tmp_path), settings(exported))
    slow = ["torch", "torchvision", "timm", "pandas", "sklearn"]
    code = f"import sys\nfrom deepfake_detector.inference.prediction_task import *\nrun_task({task})\n"
    code += f"assert not set({slow}) & set(sys.modules), set({slow}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    record = json.loads((tmp_path / "clip.json").read_text())
    assert record["verdict"] != "error" and record["message"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.mp4", "clip.png"]


def test_command_that_distributes_tasks_imports_neither_torch_nor_pandas():
    code = "import sys\nfrom stages import infer\n"
    code += (
        "slow = {'torch', 'pandas', 'sklearn', 'matplotlib', 'onnxruntime'} & set(sys.modules)\nassert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_inference_gives_the_scores_that_evaluation_gives(tmp_path, checkpoint, exported, real_clip):
    """The same faces, through the archive and the data loader of training, and straight from the video."""
    model, config = load_detector(checkpoint)
    found = extract_faces(real_clip, config.geometry, CenterFace(config.geometry.threshold), "all")
    write_archive(tmp_path / "clip.zip", [(face.member, face.data) for face in found.faces])
    faces = pd.DataFrame([["clip", *row] for row in index_rows(found.faces)], columns=INDEX_COLUMNS)
    faces = faces.assign(label=0, partition="test", group=0)
    loader = make_loader(FaceDataset(faces, tmp_path), SequentialBatches(batch_lengths(track_ids(faces), 3, "mean")), 0)
    faces["logit"] = predict_logits(model, (crops for crops, *_ in loader), torch.device("cpu"))
    logit = aggregate_videos(faces, config.calibration.aggregation).loc["clip", "logit"]
    probability = float(config.calibration.probability(logit))
    for path in (checkpoint, exported):
        record = run_task(
            PredictionTask(str(real_clip), "clip", str(tmp_path), settings(path, overlay="none", timeline=False))
        )
        assert record["probability"] == pytest.approx(probability, abs=1.1e-6)
        assert record["verdict"] == str(config.calibration.verdict(probability))
        logits = [face["logit"] for face in record["people"][0]["faces"]]
        assert logits == pytest.approx(faces["logit"].tolist(), abs=2e-5)


def test_record_names_the_backend_and_the_hash_of_the_detector(checkpoint, exported):
    for path, backend in ((checkpoint, "torch"), (exported, "onnx")):
        record = settings(path, max_people=2).record()
        assert (record["backend"], record["checkpoint_sha256"]) == (backend, file_sha256(path))
        assert record["max_people"] == 2 and str(path) not in str(record)


@pytest.mark.parametrize(
    "verdict, probability, thresholds, text",
    [
        ("fake", 0.42, (0.4, 0.4, 0.4), "flagged (fake probability 42 %, threshold 40 %)"),
        ("real", 0.55, (0.64, 0.64, 0.64), "not flagged (fake probability 55 %, threshold 64 %)"),
        ("real", 0.547, (0.552, 0.552, 0.552), "not flagged (fake probability 54.7 %, threshold 55.2 %)"),
        ("uncertain", 0.45, (0.37, 0.3, 0.46), "uncertain (fake probability 45 %, between 30 % and 46 %)"),
        ("no_face", None, (0.37, 0.3, 0.46), "no face found"),
        ("error", None, None, "not processed"),
    ],
)
def test_verdict_text_gives_a_probability_only_with_its_threshold(verdict, probability, thresholds, text):
    """The threshold may lie on either side of one half."""
    bounds = thresholds and dict(zip(("threshold", "low", "high"), thresholds, strict=True))
    assert verdict_text(verdict, probability, bounds) == text
    assert verdict_text(verdict, probability) == verdict_text(verdict)


@pytest.mark.parametrize("given", ["out/a.mp4", "a.mp4"])
def test_video_in_the_place_of_its_own_result_is_left_alone(tmp_path, exported, given):
    """The stage refuses such a folder; a program that calls the library may not think of it, nor of a link."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.mp4").write_bytes(b"a video")
    os.link(tmp_path / "out/a.mp4", tmp_path / "a.mp4")
    settings = PredictionSettings.with_checkpoint(str(exported))
    with pytest.raises(OutputError, match=r"out/a\.mp4 is the video itself"):
        predict_video(PredictionTask(str(tmp_path / given), "a", str(tmp_path / "out"), settings))
    assert (tmp_path / "out/a.mp4").read_bytes() == b"a video"


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "[" * 100_000, '{"filepath": [' * 5000])
def test_record_that_is_none_of_this_video_is_predicted_again(tmp_path, content):
    task = PredictionTask(str(tmp_path / "a.mp4"), "a", str(tmp_path), PredictionSettings("x.onnx", "0" * 64))
    task.result_path(".json").write_text(content)
    assert batch_prediction.finished_rows([task]) == {}
