"""Judging videos, and the pictures of a judgement."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest

from stages import infer
from stages.corpora.sample import Clip, write_clip
from stages.faces.detectors import CenterFace
from stages.faces.extraction import Geometry, extract_faces
from stages.faces.video import VideoWriter, probe, read_frames
from stages.learning.checkpoint import DetectorConfig, save_detector
from stages.learning.model import create_model
from stages.scoring.annotate import annotate_video
from stages.scoring.calibrate import Calibration
from stages.scoring.judgement import judge

GEOMETRY = Geometry(4, 64, 0.5, "centerface", 0.5)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    config = DetectorConfig(
        backbone="resnet10t", geometry=GEOMETRY, calibration=CALIBRATION, params={}, corpus="", epoch=1, val_auc=0.5
    )
    save_detector(path, create_model("resnet10t"), config)
    return path


def run(monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["infer", *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        infer.main()
    return stop.value.code


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_mixed_folder_gets_one_row_each(in_project, monkeypatch, checkpoint, real_clip, faceless_clip):
    folder = in_project / "mixed folder"
    (folder / "below").mkdir(parents=True)
    (folder / "Gesicht ü 1.mp4").write_bytes(real_clip.read_bytes())
    (folder / "below" / "Gesicht ü 1.mp4").write_bytes(real_clip.read_bytes())
    (folder / "nobody.mp4").write_bytes(faceless_clip.read_bytes())
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "notes.mp4").write_text("words")
    (folder / "notes.txt.bak").write_text("no video by its name")
    assert run(monkeypatch, folder, "--checkpoint", checkpoint, "--output", "out") == 3
    table = {row["video_id"]: row for row in rows(in_project / "out/predictions.csv")}
    assert len(table) == 5
    assert table["nobody"]["verdict"] == "no_face" and table["nobody"]["probability"] == ""
    assert table["empty"]["verdict"] == table["notes"]["verdict"] == "error"
    assert "notes.mp4" in table["notes"]["message"]
    for name in ("Gesicht ü 1", "Gesicht ü 1-2"):
        assert table[name]["verdict"] in ("real", "fake", "uncertain")
        assert (table[name]["frames"], table[name]["faces"]) == ("4", "4")
        record = json.loads((in_project / f"out/{name}.json").read_text())
        assert len(record["people"][0]["faces"]) == 4 and record["verdict"] == table[name]["verdict"]
        assert (in_project / f"out/{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((in_project / "out").glob("*.part"))


def test_list_file_and_missing_file(in_project, monkeypatch, checkpoint, real_clip):
    (in_project / "list.txt").write_text(f"{real_clip}\n\nmissing.mp4\n")
    assert run(monkeypatch, "list.txt", "--checkpoint", checkpoint, "--output", "out") == 3
    assert [row["verdict"] == "error" for row in rows(in_project / "out/predictions.csv")] == [False, True]


def test_all_judged_is_exit_status_zero_and_repeats(in_project, monkeypatch, checkpoint, real_clip):
    contents = []
    for output in ("one", "two"):
        assert run(monkeypatch, real_clip, "--checkpoint", checkpoint, "--output", output) == 0
        contents.append({path.name: path.read_bytes() for path in (in_project / output).iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 4


def test_empty_folder_and_missing_checkpoint_say_so(in_project, monkeypatch, checkpoint, capsys):
    (in_project / "none").mkdir()
    assert run(monkeypatch, "none", "--checkpoint", checkpoint) == 2
    assert "no video in none" in capsys.readouterr().err
    assert run(monkeypatch, "a.mp4", "--checkpoint", "none.safetensors") == 2
    assert "none.safetensors does not exist" in capsys.readouterr().err


@pytest.fixture(scope="module")
def two_people(pair, recipes, tmp_path_factory):
    """Both people of the pair side by side, in a video with a long name."""
    folder = tmp_path_factory.mktemp("two")
    _, two = pair
    clips = [recipes["real"], Clip("other", two, 0, 5, 5)]
    for clip in clips:
        write_clip(clip, pair, folder)
    streams = [read_frames(folder / f"{clip.video_id}.mp4") for clip in clips]
    path = folder / "both.mp4"
    with VideoWriter(path, Fraction(25), (576, 288)) as writer:
        for a, b in zip(*streams, strict=False):
            writer.write(np.hstack([a.image, b.image]), a.time)
    return path


def test_the_most_suspicious_of_two_people_decides(two_people):
    video = extract_faces(two_people, GEOMETRY, CenterFace(0.5), "all")
    assert video.tracks == 2
    logits = np.array([2.0 if face.track == 1 else -2.0 for face in video.faces])
    judgement = judge(video, logits, CALIBRATION)
    assert judgement.verdict == "fake" and judgement.people[0].track == 1
    assert [person.verdict for person in judgement.people] == ["fake", "real"]


def test_annotated_video_keeps_times_and_shows_a_box_on_each_face(two_people, tmp_path):
    video = extract_faces(two_people, GEOMETRY, CenterFace(0.5), "all")
    logits = np.array([2.0 if face.track == 1 else -2.0 for face in video.faces])
    judgement = judge(video, logits, CALIBRATION)
    target = tmp_path / "out.mp4"
    annotate_video(two_people, target, judgement, CALIBRATION)
    before, after = probe(two_people), probe(target)
    assert after.times == pytest.approx(before.times, abs=2e-3) and after.rate == before.rate
    plain, drawn = next(read_frames(two_people)).image, next(read_frames(target)).image
    assert drawn.shape[0] > plain.shape[0] and drawn.shape[1] == plain.shape[1]
    for person in judgement.people:
        x1, y1, x2, _ = person.faces[0].detection[:4].round().astype(int)
        assert np.abs(drawn[y1, x1:x2].astype(int) - plain[y1, x1:x2]).mean() > 20
    x = int(judgement.people[0].faces[0].detection[[0, 2]].mean())
    middle = slice(int(judgement.people[0].faces[0].detection[1]) + 20, int(judgement.people[0].faces[0].detection[3]) - 20)
    assert np.abs(drawn[middle, x].astype(int) - plain[middle, x]).mean() < 8
