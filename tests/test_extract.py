"""Extraction from whole corpora: no video is processed twice or lost, and the bytes are always the same."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pandas as pd
import pytest

from deepfake_detector import files
from deepfake_detector.faces import batch_extraction
from deepfake_detector.faces.extraction import read_geometry
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.remote import UrlLimits
from deepfake_detector.parallel_map import parallel_map
from stages import extract

ROOT = Path(__file__).parent.parent
ARGUMENTS = ["--data.videos", "videos", "--data.labels", "labels.csv", "--data.faces", "out"]
ARGUMENTS += ["--data.index", "out.parquet", "--frames", "4", "--size", "64", "--workers", "1"]


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
    tables = [folder / "out.parquet", folder / "extract_report.csv", folder / "metrics/extract.json"]
    return {path.name: path.read_bytes() for path in [*tables, *(folder / "out").iterdir()]}


@pytest.fixture
def processed(monkeypatch):
    """The names of the videos that were given to workers."""
    names = []

    def recording_map(function, items, *rest):
        names.extend(name for name, *_ in items)
        return parallel_map(function, items, *rest)

    monkeypatch.setattr(batch_extraction, "parallel_map", recording_map)
    return names


def test_unchanged_videos_are_neither_read_nor_processed_again(corpus, monkeypatch, processed):
    run(monkeypatch)
    first = outputs(corpus)
    assert len(processed) == len(list((corpus / "videos").iterdir()))
    processed.clear()
    monkeypatch.setattr(files.hashlib, "file_digest", lambda *_: pytest.fail("an unchanged video was read"))
    run(monkeypatch)
    assert not processed and outputs(corpus) == first


def test_new_videos_are_processed_and_renamed_ones_are_not(corpus, monkeypatch, processed, clip_folder, faceless_clip):
    run(monkeypatch)
    processed.clear()
    one = next((corpus / "videos").iterdir())
    one.rename(one.with_name("renamed.mp4"))
    (corpus / "videos/new.mp4").write_bytes(faceless_clip.read_bytes())
    list_videos(corpus)
    run(monkeypatch)
    assert processed == ["new"]
    assert (corpus / "out/renamed.zip").is_file() and not (corpus / f"out/{one.stem}.zip").exists()
    assert pd.read_csv(corpus / "extract_report.csv").set_index("video_id").loc["new", "status"] == "no_face"


def test_other_params_are_processed_and_the_earlier_ones_stay_in_the_cache(corpus, monkeypatch, processed):
    run(monkeypatch)
    first = outputs(corpus)
    processed.clear()
    run(monkeypatch, "--size", 48, "--align", "box", "--format", "png")
    assert processed and all(len(data) for data in outputs(corpus).values()) and outputs(corpus) != first
    assert set(pd.read_parquet(corpus / "out.parquet")["member"].str[-4:]) == {".png"}
    processed.clear()
    run(monkeypatch)
    assert not processed and outputs(corpus) == first


def test_bytes_are_the_same_without_a_cache(corpus, monkeypatch):
    run(monkeypatch)
    first = outputs(corpus)
    run(monkeypatch, "--cache", "false", "--workers", 2)
    assert outputs(corpus) == first


def test_two_files_of_the_same_content_are_processed_once(corpus, monkeypatch, processed):
    one = next((corpus / "videos").iterdir())
    (corpus / "videos/twin.mp4").write_bytes(one.read_bytes())
    list_videos(corpus)
    run(monkeypatch)
    assert len(processed) == len(list((corpus / "videos").iterdir())) - 1
    assert (corpus / "out/twin.zip").read_bytes() == (corpus / f"out/{one.stem}.zip").read_bytes()


def test_run_after_a_kill_completes_with_the_same_bytes(corpus, monkeypatch):
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


def test_folder_is_extracted_without_labels(corpus, monkeypatch, capsys):
    (corpus / "videos/notes.txt").write_text("no video")
    run(monkeypatch, "--data.labels", "none")
    report = pd.read_csv(corpus / "extract_report.csv")
    assert set(report["video_id"]) == {path.stem for path in (corpus / "videos").glob("*.mp4")}
    assert "no videos by their suffix: 1 (1 .txt)" in capsys.readouterr().out


def test_timeout_of_one_video_is_reported_and_leaves_the_others_alone(corpus, monkeypatch):
    """Searching 3000 frames without a face takes much longer than the clips."""
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
    """What a worker does in the test below."""
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "hang":
        time.sleep(600)
    if order == "allocate":
        return len(bytearray(3 * 2**30))
    return order


def test_worker_that_dies_hangs_or_needs_too_much_memory_fails_for_its_own_item_only(in_project):
    orders = ["first", "die", "second", "hang", "third", "allocate", "fourth"]
    outcomes = dict(parallel_map(act, orders, 2, "test", "order", timeout=4, memory=2))
    assert [outcomes[i] for i in (0, 2, 4, 6)] == ["first", "second", "third", "fourth"]
    reports = {orders[i]: batch_extraction.record_of(outcomes[i], 4, 2)["report"] for i in (1, 3, 5)}
    statuses = {order: report["status"] for order, report in reports.items()}
    assert statuses == {"die": "crashed", "hang": "timeout", "allocate": "crashed"}
    assert "SIGKILL" in reports["die"]["reason"]
    assert "extract.timeout = 4" in reports["hang"]["reason"]
    assert "extract.memory = 2" in reports["allocate"]["reason"]


def test_full_disk_ends_the_run_instead_of_failing_a_video():
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        batch_extraction.record_of(full, 4, 2)


def test_folder_with_other_files_is_not_replaced(corpus, monkeypatch, capsys):
    (corpus / "out").mkdir()
    (corpus / "out/notes.txt").write_text("mine")
    with pytest.raises(SystemExit):
        run(monkeypatch)
    assert "data.faces = out holds notes.txt" in capsys.readouterr().err
    assert [path.name for path in (corpus / "out").iterdir()] == ["notes.txt"]


def test_missing_detector_ends_the_stage_before_any_video_is_read(corpus, monkeypatch, capsys, processed):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--detector", "yunet")
    assert "extract.detector_weights = 'none'" in capsys.readouterr().err
    assert not processed and not (corpus / "out").exists() and not list(corpus.glob("*.part"))


def test_index_holds_the_geometry_of_the_crops(corpus, monkeypatch):
    run(monkeypatch)
    assert read_geometry("out.parquet") == Geometry(4, 64, 0.3, "centerface", 0.5, min_eye_distance=16)


def test_fake_is_no_original_since_its_faces_would_be_learnt_as_real(in_project):
    rows = ["a,a.mp4,real,", "b,b.mp4,fake,a", "c,c.mp4,fake,b", "d,d.mp4,fake,d"]
    (in_project / "labels.csv").write_text("\n".join(["video_id,filepath,label,source_video", *rows]) + "\n")
    data = extract.parse("extract", argv=["--data.videos", "v", "--data.labels", "labels.csv"]).data
    originals = [original for *_, original in extract.list_videos(data, "", False, UrlLimits())]
    assert originals == ["", "v/a.mp4", "", ""]
