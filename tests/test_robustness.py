"""Distortions of crops and files, and which videos and faces are distorted."""

import cv2
import numpy as np
import pandas as pd
import pytest

from deepfake_detector import distortions
from deepfake_detector.evaluation.reencoding import reencode
from deepfake_detector.evaluation.robustness import sample_videos, thin_faces
from deepfake_detector.evaluation.robustness_plan import DISTORTIONS, PLANS, TITLES
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.faces.video_reader import read_frames


@pytest.fixture
def crop(real_clip):
    return cv2.resize(next(iter(read_frames(real_clip))).image[60:220, 60:220], (96, 96))


@pytest.mark.parametrize("family", list(DISTORTIONS))
def test_distortion_grows_with_its_strength(crop, family):
    strengths = sorted(PLANS["full"].crops[family], key=lambda s: abs(np.log(s)) if family == "brightness" else s)
    if family == "brightness":
        strengths = [s for s in strengths if s < 1]
    before = crop.copy()
    changed = [DISTORTIONS[family](crop, s, np.random.default_rng(0)) for s in strengths]
    assert (crop == before).all()
    assert all(image.shape == crop.shape and image.dtype == np.uint8 for image in changed)
    distance = [np.abs(image.astype(float) - crop).mean() for image in changed]
    assert (np.diff(distance) > 0).all() if family != "jpeg" else (np.diff(distance) < 0).all()


def test_noise_has_the_given_standard_deviation(crop):
    gray = np.full_like(crop, 128)
    noisy = distortions.gaussian_noise(gray, 10, np.random.default_rng(0))
    assert noisy.std() == pytest.approx(10, rel=0.05) and (noisy[..., 0] != noisy[..., 1]).any()


def test_noise_of_two_dimensions_changes_all_channels_alike(crop):
    noise = np.random.default_rng(0).normal(0, 10, crop.shape[:2]).astype(np.float32)
    noisy = distortions.add_noise(np.full_like(crop, 128), noise)
    assert noisy.std() == pytest.approx(10, rel=0.05) and (noisy == noisy[..., :1]).all()
    assert distortions.add_noise(np.full_like(crop, 250), noise).max() == 255


def test_lower_resolution_keeps_size_and_loses_detail(crop):
    lowered = [distortions.lower_resolution(crop[:, :90], size) for size in (72, 24)]
    assert all(image.shape == (96, 90, 3) and image.dtype == np.uint8 for image in lowered)
    detail = [cv2.Laplacian(image, cv2.CV_64F).var() for image in (crop, *lowered)]
    assert detail[0] > detail[1] > detail[2]


def test_every_family_has_a_title_and_quick_is_part_of_full():
    for plan in PLANS.values():
        assert set(plan.crops) == set(DISTORTIONS) and {*plan.crops, *plan.files} == set(TITLES)
    for kind in ("crops", "files"):
        quick, full = getattr(PLANS["quick"], kind), getattr(PLANS["full"], kind)
        assert all(set(strengths) <= set(full[family]) for family, strengths in quick.items())


def test_reencoded_file_keeps_its_frame_times(real_clip, tmp_path):
    sizes = {}
    for crf in (23, 40):
        reencode(real_clip, tmp_path / "again.mp4", "h264", crf)
        sizes[crf] = (tmp_path / "again.mp4").stat().st_size
        assert probe(tmp_path / "again.mp4").times == pytest.approx(probe(real_clip).times, abs=1e-3)
    assert sizes[40] < sizes[23] / 3
    reencode(real_clip, tmp_path / "small.mp4", "resolution", 0.25)
    assert (probe(tmp_path / "small.mp4").width, probe(real_clip).width) == (72, 288)


def test_reencoding_gives_the_same_bytes_again(real_clip, tmp_path):
    for name in ("one.mp4", "two.mp4"):
        reencode(real_clip, tmp_path / name, "h264", 32)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_file_that_is_no_video_cannot_be_reencoded(tmp_path):
    (tmp_path / "text.mp4").write_text("words")
    with pytest.raises(VideoError, match="is no video"):
        reencode(tmp_path / "text.mp4", tmp_path / "again.mp4", "h264", 32)


def test_sample_of_videos_is_balanced_and_of_many_people():
    videos = pd.DataFrame(
        {"video_id": np.arange(600).astype(str), "label": np.arange(600) % 3 > 0, "group": np.arange(600) // 30}
    )
    drawn = sample_videos(videos, 20, 1)
    assert drawn["label"].value_counts().tolist() == [10, 10]
    assert (drawn.groupby("label")["group"].nunique() == 10).all()  # twenty groups: no one twice
    assert drawn.equals(sample_videos(videos, 20, 1)) and drawn.index.is_monotonic_increasing
    assert sample_videos(videos, 2000, 1).equals(videos) and sample_videos(videos, None, 1).equals(videos)


def test_thinning_keeps_faces_of_every_person():
    faces = pd.DataFrame(
        {"video_id": ["a"] * 9 + ["b"] * 2, "track": [0] * 6 + [1] * 3 + [0] * 2, "frame": [*range(6), *range(3), 0, 1]}
    )
    assert thin_faces(faces, 2)["frame"].tolist() == [1, 4, 0, 2, 0, 1]
    assert thin_faces(faces, 100).equals(faces) and thin_faces(faces, None).equals(faces)
    assert thin_faces(faces.iloc[:0], 2).empty
