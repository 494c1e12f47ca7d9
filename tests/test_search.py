"""How faces are searched for, followed and told apart, and detectors that cannot be had."""

from types import SimpleNamespace
from urllib.error import URLError

import cv2
import numpy as np
import onnx
import pytest

from deepfake_detector.faces import detectors
from deepfake_detector.faces.detectors import CenterFace, DetectorError, RetinaFace, create_detector, merge_detections
from deepfake_detector.faces.extraction import Geometry, detect_frames
from deepfake_detector.faces.tracking import color_histogram, link_detections, same_shot
from deepfake_detector.faces.video_reader import Frame, read_frames

PARTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # of YuNet's answer for a cell, and how many numbers each has
GEOMETRY = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)


@pytest.fixture(scope="module")
def frames(real_clip):
    return list(read_frames(real_clip, list(range(0, 48, 6))))


class Counting(CenterFace):
    """CenterFace that counts its searches."""

    searches = 0

    def detect(self, image):
        self.searches += 1
        return super().detect(image)


def test_following_finds_what_searching_every_frame_finds(frames):
    detector = Counting(0.5)
    followed = list(detect_frames(frames, GEOMETRY, detector, every=False))
    assert detector.searches == len(frames) / 2
    searched = list(detect_frames(frames, GEOMETRY, detector, every=True))
    for a, b in zip(followed, searched, strict=True):
        assert len(a.faces) == len(b.faces) == 1
        eyes = np.linalg.norm(b.faces[0, 5:7] - b.faces[0, 7:9])
        assert np.abs(a.faces[0, 5:] - b.faces[0, 5:]).mean() < 0.1 * eyes


def test_person_who_comes_in_is_found_from_the_first_frame_on(frames):
    """The second person is there from frame 3, which is not searched before frame 4 shows more faces than were followed."""
    empty = np.zeros_like(frames[0].image) + 90
    wide = [
        Frame(f.number, f.time, np.hstack([f.image, f.image[:, ::-1] if i >= 3 else empty]))
        for i, f in enumerate(frames)
    ]
    sightings = list(detect_frames(wide, GEOMETRY, CenterFace(0.5), every=False))
    assert [len(sighting.faces) for sighting in sightings] == [1, 1, 1, 2, 2, 2, 2, 2]


def test_face_that_moves_out_of_its_window_is_searched_for(frames):
    shifted = [Frame(f.number, f.time, np.roll(f.image, 140 * (i % 2), axis=1)) for i, f in enumerate(frames)]
    sightings = list(detect_frames(shifted, GEOMETRY, CenterFace(0.5), every=False))
    found = [sighting.faces[0, 5] for sighting in sightings]
    assert all(abs(a - b) > 60 for a, b in zip(found[::2], found[1::2], strict=True))


def test_no_track_crosses_a_cut(frames):
    here = np.array([[10, 10, 60, 60, 0.9, *[0] * 10]], np.float32)
    tracks, dropped = link_detections([here] * 8, cuts={4})
    assert sorted(track.frames for track in tracks) == [[0, 1, 2, 3], [4, 5, 6, 7]] and dropped == 0
    one, other = color_histogram(frames[0].image), color_histogram(frames[-1].image)
    assert same_shot(one, other)
    assert not same_shot(one, color_histogram(cv2.applyColorMap(frames[0].image, cv2.COLORMAP_JET)))


def test_answers_that_overlap_become_one_face_between_them():
    answers = np.zeros((3, 15), np.float32)
    answers[:, :5] = [[0, 0, 100, 100, 0.9], [10, 0, 110, 100, 0.45], [300, 0, 400, 100, 0.3]]
    faces = merge_detections(answers, 0.5)
    assert len(faces) == 1 and faces[0, 4] == np.float32(0.9)
    assert faces[0, 0] == pytest.approx(10 / 3)


def test_yunet_asks_for_its_model(tmp_path):
    with pytest.raises(DetectorError, match=r"extract\.detector_weights = 'none'"):
        create_detector("yunet", 0.5)
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(DetectorError, match="no YuNet model"):
        create_detector("yunet", 0.5, str(tmp_path / "model.onnx"))


def test_yunet_reads_the_cells_of_its_network(tmp_path):
    """A network of 2023's form that sees one face, whatever it is shown: in row 1, column 2 of the cells of 16 pixels."""
    cells = {8: 64, 16: 16, 32: 4}  # of 64 x 64 pixels
    answers = {f"{part}_{s}": np.zeros((1, n, k), np.float32) for s, n in cells.items() for part, k in PARTS.items()}
    at = 1 * 4 + 2
    answers["cls_16"][0, at], answers["obj_16"][0, at] = 0.81, 1.0
    answers["bbox_16"][0, at] = 0.5, 0.5, np.log(2), np.log(2)
    answers["kps_16"][0, at] = np.arange(10) / 10
    nodes = [
        onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(a))
        for name, a in answers.items()
    ]
    floats = onnx.TensorProto.FLOAT
    outputs = [onnx.helper.make_tensor_value_info(name, floats, a.shape) for name, a in answers.items()]
    inputs = [onnx.helper.make_tensor_value_info("input", floats, (1, 3, 640, 640))]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "yunet", inputs, outputs))
    model.opset_import[0].version, model.ir_version = 17, 10
    onnx.save(model, tmp_path / "yunet.onnx")
    faces = create_detector("yunet", 0.5, str(tmp_path / "yunet.onnx")).detect(np.zeros((64, 64, 3), np.uint8))
    points = np.arange(10) / 10 * 16 + np.tile([32, 16], 5)
    np.testing.assert_allclose(faces, [[24, 8, 56, 40, 0.9, *points]], rtol=1e-5)


def test_retinaface_without_a_network_says_what_to_do(monkeypatch):
    from retinaface import pre_trained_models

    def unreachable(*_, **__):
        raise URLError("no route")

    detectors._retinaface.cache_clear()
    monkeypatch.setattr(pre_trained_models, "get_model", unreachable)
    with pytest.raises(DetectorError, match="download https://"):
        create_detector("retinaface", 0.5)


def test_empty_answer_of_retinaface_is_no_face(monkeypatch):
    answers = [{"bbox": [], "score": -1, "landmarks": []}]
    model = SimpleNamespace(predict_jsons=lambda *_, **__: answers)
    monkeypatch.setattr(detectors, "_retinaface", lambda: model)
    image = np.zeros((40, 40, 3), np.uint8)
    assert RetinaFace(0.5).detect(image).shape == (0, 15)
    answers[:] = [{"bbox": [1, 2, 30, 40], "score": 0.9, "landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]}]
    np.testing.assert_allclose(RetinaFace(0.5).detect(image), [[1, 2, 30, 40, 0.9, *range(1, 11)]])
