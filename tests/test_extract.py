"""What the extract stage promises of whole corpora: nothing twice, nothing lost, the same bytes whatever happened on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pandas as pd
import pytest

from deepfake_detector.faces import cache
from deepfake_detector.parallel_map import parallel_map
from stages import extract
from stages.params import parse

ROOT = Path(__file__).parent.parent
ARGUMENTS = [
    "--data.videos",
    "videos",
    "--data.labels",
    "labels.csv",
    "--data.faces",
    "out",
    "--data.index",
    "out.parquet",
]
ARGUMENTS += ["--frames", "4", "--size", "64", "--workers", "1"]


@pytest.fixture
def corpus(in_project, clip_folder):
    """Four clips under `videos`, listed in labels.csv."""
    (in_project / "videos").mkdir()
    clips = sorted(clip_folder.glob("*.mp4"))
    for clip in clips:
        (in_project / "videos" / clip.name).write_bytes(clip.read_bytes())
    list_videos(in_project)
    return in_project


def list_videos(folder):
    rows = [f"{path.stem},{path.name},real" for path in sorted((folder / "videos").iterdir())]
    (folder / "labels.csv").write_text("\n".join(["video_id,filepath,label", *rows]) + "\n")


def run(monkeypatch, *more):
    monkeypatch.setattr("sys.argv", ["extract", *ARGUMENTS, *map(str, more)])
    extract.main()


def outputs(folder):
    files = [
        folder / "out.parquet",
        folder / "extract_report.csv",
        folder / "metrics/extract.json",
        *(folder / "out").iterdir(),
    ]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def worked_on(monkeypatch):
    """The videos that were given to workers."""
    names = []

    def noted(function, items, *rest):
        names.extend(name for name, _ in items)
        return parallel_map(function, items, *rest)

    monkeypatch.setattr(extract, "parallel_map", noted)
    return names


def test_nothing_is_worked_on_twice_and_the_bytes_stay_the_same(corpus, monkeypatch, worked_on):
    run(monkeypatch)
    first = outputs(corpus)
    assert len(worked_on) == len(list((corpus / "videos").iterdir()))
    worked_on.clear()
    monkeypatch.setattr(cache.hashlib, "file_digest", lambda *_: pytest.fail("an unchanged video was read"))
    run(monkeypatch)
    assert not worked_on and outputs(corpus) == first


def test_new_and_renamed_videos_cost_only_themselves(corpus, monkeypatch, worked_on, clip_folder, faceless_clip):
    run(monkeypatch)
    worked_on.clear()
    one = next((corpus / "videos").iterdir())
    one.rename(one.with_name("renamed.mp4"))
    (corpus / "videos/new.mp4").write_bytes(faceless_clip.read_bytes())
    list_videos(corpus)
    run(monkeypatch)
    assert worked_on == ["new"]
    assert (corpus / "out/renamed.zip").is_file() and not (corpus / f"out/{one.stem}.zip").exists()
    assert pd.read_csv(corpus / "extract_report.csv").set_index("video_id").loc["new", "status"] == "no_face"


def test_other_params_are_worked_on_and_earlier_ones_cost_nothing(corpus, monkeypatch, worked_on):
    run(monkeypatch)
    first = outputs(corpus)
    worked_on.clear()
    run(monkeypatch, "--size", 48, "--align", "box", "--format", "png")
    assert worked_on and all(len(data) for data in outputs(corpus).values()) and outputs(corpus) != first
    assert set(pd.read_parquet(corpus / "out.parquet")["member"].str[-4:]) == {".png"}
    worked_on.clear()
    run(monkeypatch)
    assert not worked_on and outputs(corpus) == first


def test_bytes_are_the_same_without_a_cache(corpus, monkeypatch):
    run(monkeypatch)
    first = outputs(corpus)
    run(monkeypatch, "--cache", "false", "--workers", 2)
    assert outputs(corpus) == first


def test_the_same_video_under_two_names_is_worked_on_once(corpus, monkeypatch, worked_on):
    one = next((corpus / "videos").iterdir())
    (corpus / "videos/twin.mp4").write_bytes(one.read_bytes())
    list_videos(corpus)
    run(monkeypatch)
    assert len(worked_on) == len(list((corpus / "videos").iterdir())) - 1
    assert (corpus / "out/twin.zip").read_bytes() == (corpus / f"out/{one.stem}.zip").read_bytes()


def test_killed_run_goes_on_to_the_same_bytes(corpus, monkeypatch):
    run(monkeypatch, "--cache", "false")
    expected = outputs(corpus)
    command = [sys.executable, "-m", "stages.extract", *ARGUMENTS, "--cache", "kept"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((corpus / "kept").glob("*/*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(monkeypatch, "--cache", "kept")
    assert outputs(corpus) == expected
    assert not list(corpus.glob("*.part"))


def test_folder_without_labels(corpus, monkeypatch, capsys):
    (corpus / "videos/notes.txt").write_text("no video")
    run(monkeypatch, "--data.labels", "none")
    report = pd.read_csv(corpus / "extract_report.csv")
    assert set(report["video_id"]) == {path.stem for path in (corpus / "videos").glob("*.mp4")}
    assert "1 other files left out" in capsys.readouterr().out


def test_video_that_takes_too_long_is_named_and_costs_itself_only(corpus, monkeypatch):
    """Nobody is searched for in 3000 frames, which takes much longer than the clips."""
    with av.open(str(corpus / "videos/long.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "40"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        picture = av.VideoFrame(640, 480, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes(plane.buffer_size))
        for i in range(3000):
            picture.pts = i
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    list_videos(corpus)
    run(monkeypatch, "--frames", 3000, "--timeout", 8)
    report = pd.read_csv(corpus / "extract_report.csv").set_index("video_id")
    assert report.loc["long", "status"] == "timeout" and "extract.timeout = 8" in report.loc["long", "reason"]
    assert (report.drop("long")["status"] == "ok").all()


def act(order):
    """What a worker does in the tests below."""
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "hang":
        time.sleep(600)
    if order == "eat":
        return len(bytearray(3 * 2**30))
    return order


def test_worker_that_dies_hangs_or_eats_costs_its_own_item(in_project):
    orders = ["fine", "die", "good", "hang", "well", "eat", "done"]
    outcomes = dict(parallel_map(act, orders, 2, "test", "order", timeout=4, memory=2))
    settings = parse("extract", "", ["--timeout", "4", "--memory", "2"]).extract
    assert [outcomes[i] for i in (0, 2, 4, 6)] == ["fine", "good", "well", "done"]
    reports = {orders[i]: extract.record_of(outcomes[i], settings)["report"] for i in (1, 3, 5)}
    assert {order: report["status"] for order, report in reports.items()} == {
        "die": "crashed",
        "hang": "timeout",
        "eat": "crashed",
    }
    assert "SIGKILL" in reports["die"]["reason"]
    assert "extract.memory = 2" in reports["eat"]["reason"]
