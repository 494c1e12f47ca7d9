"""Detections, alignment, tracks, archives, and extraction from one video."""

import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from deepfake_detector.corpora.sample_corpus import transform
from deepfake_detector.faces import extraction
from deepfake_detector.faces.alignment import align_face, fit_similarity, landmark_template
from deepfake_detector.faces.archive import encode_crop, read_crops, read_table_crops, write_archive
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import (
    INDEX_COLUMNS,
    FaceIndexError,
    Geometry,
    extract_faces,
    extract_video,
    read_geometry,
    write_index,
)
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
    assert len(found) == 1 and found[0].score > 0.5
    assert found.boxes.shape == (1, 4) and found.landmarks.shape == (1, 5, 2)
    right_eye, left_eye, nose, mouth_right, mouth_left = found[0].landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_eye[1] < nose[1] < mouth_right[1]
    assert mouth_right[0] < mouth_left[0]


def test_detections_scale_with_the_image_and_small_faces_are_found(detector, photo):
    big = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    small, large = detector.detect(photo)[0].landmarks, detector.detect(big)[0].landmarks
    eye_distance = np.linalg.norm(small[0] - small[1])
    assert np.abs(large / 3 - small).max() < 0.1 * eye_distance
    scene = np.full((1080, 1920, 3), 90, np.uint8)
    scene[300:460, 800:960] = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA)
    assert len(detector.detect(scene)) == 1


def test_two_people_are_both_detected(detector, photo):
    assert len(detector.detect(np.hstack([photo, photo]))) == 2


def test_small_faces_are_those_beside_the_others(detector, photo):
    scene = np.full((720, 1280, 3), 90, np.uint8)
    scene[:, :720] = cv2.resize(photo, (720, 720))
    scene[100:200, 1000:1100] = cv2.resize(photo, (100, 100), interpolation=cv2.INTER_AREA)
    found = detector.detect(scene)
    (small,) = detector.detect_small(scene, found)
    assert len(found) == 1 and small.box[0] > 1000
    assert len(detector.detect_small(scene, Detections.stack([*found, small]))) == 0
    assert len(detector.detect_small(cv2.resize(scene, None, fx=0.3, fy=0.3), found)) == 0  # was searched at full size


def test_detections_are_indexed_like_arrays():
    faces = [Detection(np.arange(4) + i, 0.25 * i, np.arange(10).reshape(5, 2) + i) for i in range(3)]
    stacked = Detections.stack(faces)
    assert [face.score for face in stacked] == [0, 0.25, 0.5]
    np.testing.assert_array_equal(stacked[-1].landmarks, faces[2].landmarks)
    for index in (slice(1, None), np.array([False, True, True]), np.array([1, 2])):
        np.testing.assert_array_equal(stacked[index].boxes, [faces[1].box, faces[2].box])
    empty = Detections.stack([])
    assert (len(empty), empty.boxes.shape, empty.scores.shape, empty.landmarks.shape) == (0, (0, 4), (0,), (0, 5, 2))


def test_undo_scaling_gives_the_coordinates_before():
    face = Detection(np.array([10, 20, 30, 50]), 0.5, np.array([[12, 25], [28, 25], [20, 33], [14, 42], [26, 42]]))
    scale, offset = np.array([2.0, 4.0]), np.array([3.0, -5.0])
    scaled = Detection(face.box * np.tile(scale, 2) + np.tile(offset, 2), 0.5, face.landmarks * scale + offset)
    undone = Detections.stack([scaled]).undo_scaling(scale, offset)
    np.testing.assert_array_equal(undone.boxes, [face.box])
    np.testing.assert_array_equal(undone.landmarks, [face.landmarks])


def test_fitted_similarity_is_the_transform_of_the_points():
    points = np.random.default_rng(0).uniform(0, 100, (5, 2))
    matrix = cv2.getRotationMatrix2D((10, 20), 33, 1.7)
    np.testing.assert_allclose(fit_similarity(points, transform(points, matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("scale", [0.4, 1, 4])
def test_aligned_landmarks_are_at_the_template_at_any_image_size(detector, photo, scale):
    image = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    crop = align_face(image, detector.detect(photo)[0].landmarks * scale, 192, 0.5)
    template = landmark_template(192, 0.5)
    eye_distance = np.linalg.norm(template[1] - template[0])
    assert np.abs(detector.detect(crop)[0].landmarks - template).mean() < 0.12 * eye_distance


def test_wider_margin_shows_a_smaller_face():
    eye_distances = [np.linalg.norm(np.diff(landmark_template(100, margin)[:2], axis=0)) for margin in (0, 0.5, 1)]
    assert eye_distances == sorted(eye_distances, reverse=True)


def test_shrinking_does_not_alias():
    """Fine stripes become grey, not coarse stripes."""
    image = np.zeros((800, 800, 3), np.uint8)
    image[:, ::2] = 255
    landmarks = landmark_template(100, 0.0) * 7.77
    assert align_face(image, landmarks, 100, 0.0)[10:-10, 10:-10].std() < 12


def boxes(*corners_and_sizes):
    """Detections with square boxes, given as (x, y, size)."""
    return Detections.stack(
        [Detection(np.array([x, y, x + size, y + size]), 0.9, np.zeros((5, 2))) for x, y, size in corners_and_sizes]
    )


def link(frames):
    """`link_detections` for frames of one shot and size."""
    return link_detections(frames, [0] * len(frames), [(640, 480)] * len(frames))


def test_two_moving_people_keep_their_tracks_over_a_missing_detection():
    frames = [boxes((10 + 5 * i, 10, 50), (300 - 5 * i, 10, 80)) for i in range(8)]
    frames[3] = frames[3][:1]
    tracks = link(frames)
    assert [track.frames for track in tracks] == [[0, 1, 2, 4, 5, 6, 7], list(range(8))]  # the larger face comes first


def test_single_detection_is_a_track_of_its_own():
    frames = [boxes((10, 10, 50))] * 6
    frames[2] = boxes((10, 10, 50), (400, 300, 50))
    assert [track.frames for track in link(frames)] == [list(range(6)), [2]]


def test_no_detections_give_no_tracks():
    assert link([Detections.stack([])] * 5) == []


def test_archive_is_uncompressed_and_has_the_same_bytes_every_time(tmp_path, photo):
    members = [("000_000000.jpg", encode_crop(photo))]
    write_archive(tmp_path / "a.zip", members)
    write_archive(tmp_path / "b.zip", members)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
    crop = read_crops(tmp_path / "a.zip", ["000_000000.jpg"])[0]
    assert np.abs(crop.astype(int) - photo).mean() < 2
    assert not list(tmp_path.glob("*.part"))


def test_crops_of_a_table_come_in_its_order(tmp_path):
    grey = {level: encode_crop(np.full((8, 8, 3), level, np.uint8), "png") for level in (10, 20, 30)}
    write_archive(tmp_path / "a.zip", [("0.png", grey[10]), ("1.png", grey[20])])
    write_archive(tmp_path / "b.zip", [("0.png", grey[30])])
    faces = pd.DataFrame({"video_id": ["b", "a", "a"], "member": ["0.png", "1.png", "0.png"]})
    assert [int(crop.mean()) for crop in read_table_crops(faces, tmp_path)] == [30, 20, 10]


def test_extraction_gives_an_aligned_face_for_each_frame(detector, real_clip):
    video = extract_faces(real_clip, GEOMETRY, detector, "all")
    assert (video.status, video.frames_wanted, video.frames_read, video.tracks) == ("ok", 6, 6, 1)
    assert [face.crop.shape for face in video.faces] == [(96, 96, 3)] * 6
    assert [face.time for face in video.faces] == sorted(face.time for face in video.faces)


def test_video_without_a_face_has_status_no_face(detector, faceless_clip):
    video = extract_faces(faceless_clip, GEOMETRY, detector, "all")
    assert video.status == "no_face" and video.frames_read == 6 and not video.faces


def test_file_that_is_no_video_has_status_unreadable_with_a_reason(detector, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("hello")
    video = extract_faces(path, GEOMETRY, detector, 1)
    assert video.status == "unreadable" and "text.mp4" in video.reason


def test_extract_video_writes_an_archive_of_the_indexed_crops(real_clip, tmp_path):
    record = extract_video(("clip", str(real_clip), ""), GEOMETRY, 1, tmp_path)
    with zipfile.ZipFile(tmp_path / "clip.zip") as archive:
        assert archive.namelist() == [row[-2] for row in record["index"]]
    assert (record["report"]["status"], record["report"]["faces"], record["report"]["people"]) == ("ok", 6, 1)


@pytest.mark.parametrize(
    "geometry", [GEOMETRY, Geometry("keyframes", 64, 0.3, "yunet", 0.6, "y.onnx", 2.5, "box", "png")]
)
def test_face_index_stores_the_geometry_of_its_crops(tmp_path, geometry):
    write_index(tmp_path / "faces.parquet", [], geometry)
    assert read_geometry(tmp_path / "faces.parquet") == geometry


def test_index_of_many_faces_is_written_in_groups_and_reads_as_one_table(tmp_path, monkeypatch):
    rows = [["clip", 0, i, *[i / 7] * (len(INDEX_COLUMNS) - 5), f"{i}.jpg", ""] for i in range(10)]
    write_index(tmp_path / "whole.parquet", rows, GEOMETRY)
    monkeypatch.setattr(extraction, "ROW_GROUP", 4)
    write_index(tmp_path / "groups.parquet", iter(rows), GEOMETRY)
    assert parquet.ParquetFile(tmp_path / "groups.parquet").num_row_groups == 3
    tables = [pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("whole", "groups")]
    pd.testing.assert_frame_equal(*tables)
    assert read_geometry(tmp_path / "groups.parquet") == GEOMETRY


def test_index_without_geometry_is_an_error_that_names_it(tmp_path):
    pd.DataFrame({"video_id": ["a"]}).to_parquet(tmp_path / "old.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("old.parquet", "text.parquet"):
        with pytest.raises(FaceIndexError, match=rf"{name} does not say how its crops were made"):
            read_geometry(tmp_path / name)


def test_original_of_a_fake_is_cut_at_the_same_frames_and_places(clip_folder, recipes, tmp_path):
    """Outside the swapped face both crops show the same but for compression; cut by its own landmarks it would not."""
    method = next(name for name, clip in recipes.items() if clip.method and clip.take == recipes["real"].take)
    fake, real = (str(clip_folder / f"{recipes[name].video_id}.mp4") for name in (method, "real"))
    record = extract_video(("fake", fake, real), GEOMETRY, 1, tmp_path)
    own = extract_video(("real", real, ""), GEOMETRY, 1, tmp_path)
    column = INDEX_COLUMNS.index("original") - 1
    members = [(row[column - 1], row[column]) for row in record["index"]]
    assert len(members) == 6 and all(original for _, original in members)
    assert [row[column] for row in own["index"]] == [""] * 6
    (fakes, originals), reals = (
        [np.stack(read_crops(tmp_path / "fake.zip", list(names))).astype(int) for names in zip(*members, strict=True)],
        np.stack(read_crops(tmp_path / "real.zip", [row[column - 1] for row in own["index"]])).astype(int),
    )
    border = np.s_[:, :8]
    alike, apart = np.abs(fakes - originals)[border].mean(), np.abs(fakes - reals)[border].mean()
    assert alike < 3 and alike < apart / 2
    centre = np.s_[:, 40:64, 32:64]
    assert np.abs(fakes - originals)[centre].mean() > 3 * alike
    other = extract_video(("fake", fake, str(tmp_path / "missing.mp4")), GEOMETRY, 1, tmp_path)
    assert other["report"]["status"] == "ok" and [row[column] for row in other["index"]] == [""] * 6
