"""What is done to crops and files, and to which of them."""

import cv2
import numpy as np
import pandas as pd
import pytest

from deepfake_detector.evaluation.robustness import PLANS, UNITS, distort, draw_videos, reencode, thin
from deepfake_detector.faces.video_reader import VideoError, probe, read_frames


@pytest.fixture
def crop(real_clip):
    return cv2.resize(next(iter(read_frames(real_clip))).image[60:220, 60:220], (96, 96))


@pytest.mark.parametrize("family", list(PLANS["full"].crops))
def test_distortion_grows_with_its_strength(crop, family):
    strengths = sorted(PLANS["full"].crops[family], key=lambda s: abs(np.log(s)) if family == "brightness" else s)
    if family == "brightness":
        strengths = [s for s in strengths if s < 1]
    changed = [distort(crop, family, s, np.random.default_rng(0)) for s in strengths]
    assert all(image.shape == crop.shape and image.dtype == np.uint8 for image in changed)
    distance = [np.abs(image.astype(float) - crop).mean() for image in changed]
    assert (np.diff(distance) > 0).all() if family != "jpeg" else (np.diff(distance) < 0).all()


def test_noise_has_the_strength_it_says(crop):
    noisy = distort(np.full_like(crop, 128), "noise", 10, np.random.default_rng(0))
    assert noisy.std() == pytest.approx(10, rel=0.05)


def test_every_family_has_a_unit_and_quick_is_part_of_full():
    for plan in PLANS.values():
        assert {*plan.crops, *plan.files} == set(UNITS)
    for kind in ("crops", "files"):
        quick, full = getattr(PLANS["quick"], kind), getattr(PLANS["full"], kind)
        assert all(set(strengths) <= set(full[family]) for family, strengths in quick.items())


def test_file_is_written_anew_at_the_same_moments(real_clip, tmp_path):
    sizes = {}
    for crf in (23, 40):
        reencode(real_clip, tmp_path / "again.mp4", "h264", crf)
        sizes[crf] = (tmp_path / "again.mp4").stat().st_size
        assert probe(tmp_path / "again.mp4").times == pytest.approx(probe(real_clip).times, abs=1e-3)
    assert sizes[40] < sizes[23] / 3
    reencode(real_clip, tmp_path / "small.mp4", "resolution", 0.25)
    assert (probe(tmp_path / "small.mp4").width, probe(real_clip).width) == (72, 288)


def test_same_strength_gives_the_same_bytes(real_clip, tmp_path):
    for name in ("one.mp4", "two.mp4"):
        reencode(real_clip, tmp_path / name, "h264", 32)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("words")
    with pytest.raises(VideoError, match="cannot be opened"):
        reencode(tmp_path / "text.mp4", tmp_path / "again.mp4", "h264", 32)


def test_sample_of_videos_is_balanced_and_of_many_people():
    videos = pd.DataFrame(
        {"video_id": np.arange(600).astype(str), "label": np.arange(600) % 3 > 0, "group": np.arange(600) // 30}
    )
    drawn = draw_videos(videos, 20, 1)
    assert drawn["label"].value_counts().tolist() == [10, 10]
    assert (drawn.groupby("label")["group"].nunique() == 10).all()  # twenty groups: no one twice
    assert drawn.equals(draw_videos(videos, 20, 1)) and drawn.index.is_monotonic_increasing
    assert draw_videos(videos, 1000, 1).equals(videos)


def test_thinning_keeps_some_faces_of_every_person():
    faces = pd.DataFrame(
        {"video_id": ["a"] * 9 + ["b"] * 2, "track": [0] * 6 + [1] * 3 + [0] * 2, "frame": [*range(6), *range(3), 0, 1]}
    )
    assert thin(faces, 2)["frame"].tolist() == [1, 4, 0, 2, 0, 1]
    assert thin(faces, 100).equals(faces)
    assert thin(faces.iloc[:0], 2).empty
