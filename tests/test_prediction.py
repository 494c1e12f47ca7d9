"""What a prediction says of people, stretches and single faces, and under which prior."""

from dataclasses import replace

import numpy as np
import pytest

from deepfake_detector.evaluation.calibration import Calibration, logit_of
from deepfake_detector.faces.detections import Detection
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import Face, VideoFaces, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.inference.prediction import predict_people

GEOMETRY = Geometry(4, 64, 0.5, "centerface", 0.5)
CALIBRATION = Calibration(scale=0.8, bias=-0.3, threshold=0.55, low=0.4, high=0.6)
DETECTION = Detection(np.array([0, 0, 50, 50], np.float32), 0.9, np.zeros((5, 2), np.float32))


def video_of(*people):
    """A video of people whose faces are seen at these times."""
    faces = [Face(track, round(25 * t), t, DETECTION, b"") for track, times in enumerate(people) for t in times]
    return VideoFaces("ok", "", 16, 16, 0, faces)


@pytest.mark.parametrize("prior", [0.01, 0.3, 0.9])
def test_prior_moves_probability_and_thresholds_and_no_verdict(prior):
    moved = CALIBRATION.with_prior(prior)
    logits = np.linspace(-6, 6, 2001)
    before, after = CALIBRATION.probability(logits), moved.probability(logits)
    odds = before / (1 - before) * prior / (1 - prior)
    assert after == pytest.approx(odds / (1 + odds), abs=3e-5) and moved.prior == prior
    edge = np.abs(before[:, None] - [0.55, 0.4, 0.6]).min(axis=1) < 2e-6  # rounding may decide there
    assert (moved.verdict(after) == CALIBRATION.verdict(before))[~edge].all() and edge.sum() < 5
    assert moved.with_prior(0.5).threshold == pytest.approx(CALIBRATION.threshold, abs=1e-4)


@pytest.mark.parametrize(("threshold", "prior"), [(0.0004, 0.001), (0.9996, 0.999)])
def test_prior_changes_no_verdict_where_thresholds_are_extreme(threshold, prior):
    calibration = Calibration(scale=1, bias=0, threshold=threshold, low=threshold, high=threshold)
    logits = logit_of(threshold + np.array([-3e-4, -1e-5, 1e-5, 3e-4]))
    moved = calibration.with_prior(prior)
    assert moved.verdict(moved.probability(logits)).tolist() == ["real", "real", "fake", "fake"]


def test_single_face_has_a_calibration_of_its_own():
    calibration = CALIBRATION.model_copy(update={"face_scale": 0.2, "face_bias": 0.0})
    record = predict_people(video_of([0.0, 0.5]), np.array([5.0, 5.0]), calibration).record(calibration)
    assert record["probability"] > 0.97 and record["prior"] == 0.5
    assert [face["probability"] for face in record["people"][0]["faces"]] == pytest.approx([0.731059] * 2)
    assert CALIBRATION.face_probability(1.5) == CALIBRATION.probability(1.5)


def test_suspicious_stretch_of_a_long_video_is_named_with_its_share():
    times = np.arange(0.0, 60)
    logits = np.where((times > 30) & (times < 38), 8.0, -1.0).astype(np.float32)
    prediction = predict_people(video_of(times), logits, CALIBRATION)
    record = prediction.record(CALIBRATION)
    assert 29 <= record["suspicious_from"] <= 32 and 36 <= record["suspicious_to"] <= 39
    assert 0.8 < record["suspicious_probability"] <= record["probability"] and record["verdict"] == "fake"
    quiet = predict_people(video_of(times), np.full(60, -1, np.float32), CALIBRATION)
    assert quiet.probability == pytest.approx(CALIBRATION.probability(-1.0), abs=1e-5)
    short = predict_people(video_of(times[:10]), logits[:10], CALIBRATION).record(CALIBRATION)
    assert short["suspicious_from"] is short["people"][0]["suspicious"] is None


def test_one_suspicious_person_among_several_counts_less():
    alone = predict_people(video_of([0.0]), np.array([2.0]), CALIBRATION)
    among = predict_people(video_of([0.0], [0.0], [0.0]), np.array([2.0, -2, -2]), CALIBRATION)
    assert alone.verdict == "fake" and among.probability < alone.probability - 0.2
    assert among.people[0].track == 0 and among.people[0].probability <= among.probability
    both = predict_people(video_of([0.0], [0.0]), np.array([6.0, 6.0]), CALIBRATION)
    assert [person.verdict for person in both.people] == ["fake", "fake"]


def test_small_faces_are_listed_and_not_scored(real_clip):
    faces = extract_faces(real_clip, GEOMETRY, CenterFace(0.5), "all")
    assert len(faces.faces) == 4 and not faces.too_small
    small = extract_faces(real_clip, replace(GEOMETRY, min_eye_distance=1000), CenterFace(0.5), "all")
    assert (small.status, len(small.faces), len(small.too_small)) == ("no_face", 0, 4)
    assert "too small" in small.reason
    record = predict_people(small, np.empty(0), CALIBRATION).record(CALIBRATION)
    assert record["verdict"] == "no_face" and record["faces_too_small"] == len(record["small_faces"]) == 4


def test_more_frames_are_scored_where_they_would_lie_far_apart(real_clip):
    counts = [extract_faces(real_clip, GEOMETRY, CenterFace(0.5), 1, fps).frames_wanted for fps in (None, 0.1, 10)]
    assert counts[0] == counts[1] == 4 < counts[2]
