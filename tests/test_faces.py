"""Detection, tracks, alignment, archives, extraction."""

import zipfile

import cv2
import numpy as np
import pytest

from deepfake_detector.corpora.sample_corpus import transform
from deepfake_detector.faces.alignment import align_face, fit_similarity, landmark_template
from deepfake_detector.faces.archive import encode_crop, read_crops, write_archive
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import Geometry, extract_faces
from deepfake_detector.faces.tracking import link_detections
from deepfake_detector.faces.video_reader import read_frames

GEOMETRY = Geometry(frames=6, size=96, margin=0.5, detector="centerface", threshold=0.5)


@pytest.fixture(scope="module")
def detector():
    return CenterFace(0.5)


@pytest.fixture(scope="module")
def photo(real_clip):
    return next(read_frames(real_clip)).image


def test_detector_finds_the_face_with_its_landmarks_in_order(detector, photo):
    found = detector.detect(photo)
    assert found.shape == (1, 15) and found[0, 4] > 0.5
    right_eye, left_eye, nose, mouth_right, mouth_left = found[0, 5:].reshape(5, 2)
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_eye[1] < nose[1] < mouth_right[1]
    assert mouth_right[0] < mouth_left[0]


def test_detection_follows_scale_and_finds_small_faces(detector, photo):
    big = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    small, large = detector.detect(photo)[0], detector.detect(big)[0]
    eyes = np.linalg.norm(small[5:7] - small[7:9])
    assert np.abs(large[5:] / 3 - small[5:]).max() < 0.1 * eyes
    scene = np.full((1080, 1920, 3), 90, np.uint8)
    scene[300:460, 800:960] = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA)
    assert len(detector.detect(scene)) == 1


def test_two_people_are_both_found(detector, photo):
    assert len(detector.detect(np.hstack([photo, photo]))) == 2


def test_similarity_recovers_a_known_transform():
    points = np.random.default_rng(0).uniform(0, 100, (5, 2))
    matrix = cv2.getRotationMatrix2D((10, 20), 33, 1.7)
    np.testing.assert_allclose(fit_similarity(points, transform(points, matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("scale", [0.4, 1, 4])
def test_crop_brings_landmarks_to_the_template_at_any_size(detector, photo, scale):
    image = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    landmarks = detector.detect(photo)[0, 5:].reshape(5, 2) * scale
    crop = align_face(image, landmarks, 192, 0.5)
    again = detector.detect(crop)[0, 5:].reshape(5, 2)
    eyes = np.linalg.norm(landmark_template(192, 0.5)[1] - landmark_template(192, 0.5)[0])
    assert np.abs(again - landmark_template(192, 0.5)).mean() < 0.12 * eyes


def test_wider_margin_shows_a_smaller_face():
    eyes = [np.linalg.norm(np.diff(landmark_template(100, margin)[:2], axis=0)) for margin in (0, 0.5, 1)]
    assert eyes == sorted(eyes, reverse=True)


def test_shrinking_does_not_alias():
    """Fine stripes must become grey, not coarse stripes."""
    image = np.zeros((800, 800, 3), np.uint8)
    image[:, ::2] = 255
    landmarks = landmark_template(100, 0.0) * 7.77
    assert align_face(image, landmarks, 100, 0.0)[10:-10, 10:-10].std() < 12


def box(x, y, size=50, score=0.9):
    return np.array([x, y, x + size, y + size, score] + [0] * 10, np.float32)


def test_tracks_follow_two_people_who_move_past_a_gap():
    frames = [np.stack([box(10 + 5 * i, 10), box(300 - 5 * i, 10, 80)]) for i in range(8)]
    frames[3] = frames[3][:1]
    tracks, dropped = link_detections(frames)
    assert dropped == 0
    assert [track.frames for track in tracks] == [[0, 1, 2, 4, 5, 6, 7], list(range(8))]  # the larger face comes first


def test_detection_without_support_is_dropped_and_counted():
    frames = [np.stack([box(10, 10)])] * 6
    frames[2] = np.stack([box(10, 10), box(400, 300)])
    tracks, dropped = link_detections(frames)
    assert len(tracks) == 1 and dropped == 1


def test_no_faces_give_no_tracks():
    assert link_detections([np.empty((0, 15), np.float32)] * 5) == ([], 0)


def test_archive_is_stored_whole_and_the_same_every_time(tmp_path, photo):
    members = [("000_000000.jpg", encode_crop(photo))]
    write_archive(tmp_path / "a.zip", members)
    write_archive(tmp_path / "b.zip", members)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
    back = read_crops(tmp_path / "a.zip", ["000_000000.jpg"])[0]
    assert np.abs(back.astype(int) - photo).mean() < 2
    assert not list(tmp_path.glob("*.part"))


def test_extraction_gives_an_aligned_face_for_each_frame(detector, real_clip):
    video = extract_faces(real_clip, GEOMETRY, detector, "all")
    assert (video.status, video.frames_wanted, video.frames_read, video.tracks) == ("ok", 6, 6, 1)
    assert [face.crop.shape for face in video.faces] == [(96, 96, 3)] * 6
    assert [face.time for face in video.faces] == sorted(face.time for face in video.faces)


def test_video_without_face_is_no_face(detector, faceless_clip):
    video = extract_faces(faceless_clip, GEOMETRY, detector, "all")
    assert video.status == "no_face" and video.frames_read == 6 and not video.faces


def test_what_is_no_video_is_unreadable_with_a_reason(detector, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("hello")
    video = extract_faces(path, GEOMETRY, detector, 1)
    assert video.status == "unreadable" and "text.mp4" in video.reason
