"""The sample corpus: its people, clips and labels, and the stage that writes it."""

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from deepfake_detector.corpora.sample_corpus import (
    SWAPS,
    FaceSwap,
    face_mask,
    matching_poses,
    partner,
    sample_clips,
    write_clip,
)
from deepfake_detector.corpora.sample_corpus.clips import poses_of
from deepfake_detector.corpora.sample_corpus.people import landmarks, photographs, widen
from deepfake_detector.corpora.sample_corpus.portable import portable_workers
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.parallel_map import parallel_map
from stages import sample

ROOT = Path(__file__).parent.parent


def test_forty_people_have_two_real_clips_and_a_fake_by_each_method():
    rows = [clip.row for clip in sample_clips(1)]
    assert len({row["video_id"] for row in rows}) == len(rows)
    people = {row["identity"] for row in rows}
    assert len(people) == 40
    for person in people:
        assert Counter(row["method"] for row in rows if row["identity"] == person) == {"": 2, **dict.fromkeys(SWAPS, 1)}


def test_fakes_name_their_donor_and_an_original_of_the_same_person():
    rows = {row["video_id"]: row for row in (clip.row for clip in sample_clips(1))}
    for row in rows.values():
        if row["label"] == "fake":
            original = rows[row["source_video"]]
            assert original["label"] == "real" and original["identity"] == row["identity"] != row["donor"]


def test_people_are_swapped_within_pairs_only():
    assert all(partner(partner(person)) == person != partner(person) for person in range(1, 41))


def test_clip_has_the_same_bytes_every_time(pair, recipes, clip_folder, tmp_path):
    for clip in (recipes["real"], recipes["poisson"]):
        write_clip(clip, pair, tmp_path)
        name = f"{clip.video_id}.mp4"
        assert (tmp_path / name).read_bytes() == (clip_folder / name).read_bytes()


def test_clips_last_two_to_four_seconds_and_move(real_clip):
    assert 2 <= probe(real_clip).times[-1] + 1 / 25 <= 4
    frames = [frame.image.astype(float) for frame in read_frames(real_clip, [0, 12, 24])]
    assert all(np.abs(a - b).mean() > 2 for a, b in pairwise(frames))


@pytest.mark.parametrize("method", SWAPS)
def test_swap_changes_the_face_and_leaves_the_rest(pair, recipes, method):
    clip = recipes[method]
    target, donor = pair[clip.person], pair[clip.donor]
    poses = poses_of(clip.take)
    head, points, _ = target.head_motion(poses).at(0.3)
    face, face_points, _ = donor.head_motion(
        matching_poses(np.array(target.landmarks)[poses], np.array(donor.landmarks))
    ).at(0.3)
    swapped = FaceSwap(method, np.random.default_rng(0))(head, points, face, face_points)
    eyes = float(np.linalg.norm(points[1] - points[0]))
    inner, outer = (face_mask(head.shape, points, eyes, size, size) > 0 for size in (0.7, 1.6))
    assert np.abs(swapped - head)[inner].mean() > 4
    assert np.abs(swapped - head)[~outer].max() < 1


@pytest.fixture
def stage(in_project, monkeypatch):
    """Runs the sample stage without rendering and returns the names of the files in data/sample."""
    monkeypatch.setattr(sample, "write_corpus", lambda settings, folder: written(folder))

    def written(folder):
        (folder / "labels.csv").write_text("")
        return pd.DataFrame({"label": ["real", "fake"], "identity": ["s01", "s02"]})

    def run(*options):
        monkeypatch.setattr("sys.argv", ["sample", *options])
        sample.main()
        return sorted(path.name for path in (in_project / "data/sample").iterdir())

    return run


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--data.labels", "mine.csv"],
        ["--infer.videos", "mine"],
        ["--data.labels", "mine.csv", "--infer.videos", "data/sample/demo/nobody.mp4"],
    ],
)
def test_stage_writes_the_corpus_if_labels_or_videos_lie_in_its_folder(stage, options):
    assert stage(*options) == ["labels.csv"]


@pytest.mark.parametrize("labels", ["mine.csv", "none", "data/sample2/labels.csv", "data/labels.csv"])
def test_stage_leaves_a_note_if_nothing_needs_the_corpus(stage, in_project, labels):
    assert stage() == ["labels.csv"]
    assert stage("--data.labels", labels, "--infer.videos", "mine") == ["README.txt"]
    assert (in_project / "data/sample/README.txt").read_text().count("\n") == 1
    assert stage() == ["labels.csv"]


def test_stage_writes_to_its_output(stage, in_project):
    stage()
    assert stage("--output", "other", "--data.labels", "other/labels.csv") == ["labels.csv"]
    assert [path.name for path in (in_project / "other").iterdir()] == ["labels.csv"]


def test_workers_compute_portably_and_this_process_stays_as_it_is():
    before = dict(os.environ)
    with portable_workers():
        (_, inside), *_ = parallel_map(os.getenv, ["OPENCV_CPU_DISABLE"], 1, "test", "name")
    assert "AVX2" in inside and dict(os.environ) == before


def test_stage_deletes_no_file_of_another_corpus(stage, in_project, capsys):
    (in_project / "data/sample").mkdir(parents=True)
    for name in ("s01_a.mp4", "holiday.mp4"):
        (in_project / "data/sample" / name).write_bytes(b"")
    with pytest.raises(SystemExit):
        stage()
    assert "sample.output = data/sample contains holiday.mp4" in capsys.readouterr().err
    assert (in_project / "data/sample/holiday.mp4").exists() and (in_project / "data/sample/s01_a.mp4").exists()


@pytest.mark.parametrize("person", [1, 17, 40])
def test_stored_landmarks_are_those_that_the_detector_finds(person):
    detector = create_face_detector("centerface", 0.3)
    for photo, points in zip(photographs(person), landmarks(person), strict=True):
        found = detector.detect(cv2.cvtColor(widen(photo), cv2.COLOR_GRAY2BGR))[0].landmarks
        assert np.abs(found - points).max() < 1


def test_corpus_has_the_same_bytes_whatever_the_processor_can_do(in_project):
    """With the features of the processor that OpenCV and NumPy use, and without them."""
    switched_off = {"OPENCV_CPU_DISABLE": "AVX,FP16,AVX2,AVX512-SKX", "OPENCV_IPP": "disabled"}
    contents = []
    for number, environment in enumerate(({}, switched_off)):
        output = in_project / f"sample{number}"
        command = [sys.executable, "-m", "stages.sample", "--pairs", "1", "--output", str(output)]
        subprocess.run(
            [*command, "--data.labels", str(output / "labels.csv")],
            check=True,
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        )
        contents.append({path.name: path.read_bytes() for path in output.rglob("*.*") if path.is_file()})
    assert len(contents[0]) == 15 and contents[0] == contents[1]
