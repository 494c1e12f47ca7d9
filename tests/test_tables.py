"""The tables of an evaluation, on synthetic scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_detector.evaluation import tables
from deepfake_detector.evaluation.calibration import Calibration, sigmoid

BOOTSTRAP = tables.Resampling(100, 1)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)


def make_faces(seed=0, videos=120):
    """Four faces of each of two people in every video; half of the videos are in val."""
    rng = np.random.default_rng(seed)
    name = np.repeat([f"v{i:03d}" for i in range(videos)], 8)
    row = np.repeat(np.arange(videos), 8)
    label = row // 2 % 2
    table = pd.DataFrame(
        {"video_id": name, "track": np.tile([0, 0, 0, 0, 1, 1, 1, 1], videos), "label": label, "group": row // 10}
    )
    table["partition"] = np.where(row % 2, "val", "test")
    table["time"] = np.tile(np.arange(4.0), 2 * videos)
    return table.assign(logit=rng.normal(2 * label - 1, 2))


def to_scored_videos(faces, calibration=CALIBRATION):
    videos = tables.to_level(faces, "video", "mean_logit", calibration)
    return videos.assign(probability=calibration.probability(videos["logit"]), verdict="fake")


def test_detectors_own_aggregator_ranks_videos_of_several_people_as_its_scores_do():
    faces = make_faces().assign(logit=lambda table: table["logit"] - 1.5 * table["label"])  # hard to tell apart
    calibration = CALIBRATION.model_copy(update={"scale": 0.1, "bias": 0.2})
    own = tables.compare_levels(faces, to_scored_videos(faces, calibration), calibration, BOOTSTRAP)["test"]["video"]
    rows = tables.compare_aggregators(faces, calibration, BOOTSTRAP)
    row = next(row for row in rows if row["aggregator"] == "mean_logit")
    assert row["auc"] == pytest.approx(own["auc"], abs=1e-6)
    assert (
        own["auc"]
        != tables.compare_levels(faces, to_scored_videos(faces), CALIBRATION, BOOTSTRAP)["test"]["video"]["auc"]
    )


def test_levels_are_separate_and_count_their_own_samples():
    faces = make_faces()
    rows = tables.compare_levels(faces, to_scored_videos(faces), CALIBRATION, BOOTSTRAP)
    assert {level: row["n"] for level, row in rows["test"].items()} == {"video": 60, "track": 120, "frame": 480}
    frames = faces[faces["partition"] == "test"]
    expected = roc_auc_score(frames["label"], frames["logit"])
    assert rows["test"]["frame"]["auc"] == pytest.approx(expected, abs=1e-4)  # two faces may share 6 decimals
    assert rows["test"]["video"]["threshold"] == 0.5 != rows["test"]["frame"]["threshold"]


def test_calibration_does_not_depend_on_test_videos():
    faces = make_faces()
    opposite = np.where(faces["partition"] == "test", 1 - faces["label"], faces["label"])
    one, two = (tables.calibrate(t, "eer", CALIBRATION)[1] for t in (faces, faces.assign(label=opposite)))
    assert one == two != CALIBRATION


def test_breakdown_compares_methods_with_all_reals_and_marks_small_samples():
    videos = to_scored_videos(make_faces()).query("partition == 'test'").assign(place="in")
    videos["method"] = np.where(videos["label"] == 1, np.where(np.arange(len(videos)) % 3, "often", "rare"), "")
    videos.loc[videos.index[:4], "place"] = "out"
    rows = {row["value"]: row for row in tables.breakdown(videos, ["method", "place"], 0.5, BOOTSTRAP)}
    real = int((videos["label"] == 0).sum())
    assert rows["often"]["all_reals"] and rows["often"]["real"] == rows["rare"]["real"] == real
    assert rows["often"]["fake"] + rows["rare"]["fake"] == len(videos) - real
    assert not rows["in"]["all_reals"] and rows["out"]["n"] == 4 and rows["out"]["small"] and not rows["in"]["small"]


def test_only_columns_with_a_few_values_are_broken_down():
    labels = pd.DataFrame({"video_id": map(str, range(30)), "label": 0, "identity": "x", "camera": ["a", "b"] * 15})
    labels = labels.assign(same="s", free=[f"text {i}" for i in range(30)])
    assert tables.attribute_columns(labels) == (["camera"], ["free"])


def test_coverage_counts_the_reasons():
    videos = pd.DataFrame({"video_id": list("abcd"), "verdict": ["real", "no_face", "no_face", "no_face"]})
    report = pd.DataFrame({"video_id": list("abc"), "status": ["ok", "no_face", "unreadable"]})
    expected = {"no_face": 1, "not extracted": 1, "unreadable": 1}
    assert tables.coverage(videos, report) == {"coverage": 0.25, "videos": 4, "unscored": expected}


def test_verdicts_are_counted_by_label():
    videos = pd.DataFrame({"label": [0, 0, 0, 1, 1], "verdict": ["real", "real", "no_face", "fake", "uncertain"]})
    assert tables.count_verdicts(videos) == [
        {"label": "real", "real": 2, "uncertain": 0, "fake": 0, "no_face": 1},
        {"label": "fake", "real": 0, "uncertain": 1, "fake": 1, "no_face": 0},
    ]
    assert tables.count_verdicts(videos.iloc[:0])[0]["real"] == 0


def test_classification_counts_predictions_at_the_threshold():
    videos = pd.DataFrame({"label": [0, 0, 0, 1, 1], "probability": [0.1, 0.4, 0.5, 0.4, 0.9]})
    real, fake, macro, _ = tables.classification(videos, 0.5)
    assert (real["predicted_real"], real["predicted_fake"]) == (2, 1)
    assert (fake["predicted_real"], fake["predicted_fake"]) == (1, 1)
    assert real["precision"] == pytest.approx(2 / 3, abs=1e-6) and fake["recall"] == 0.5
    assert macro["predicted_real"] is None and macro["videos"] == 5
    assert tables.classification(videos.iloc[:0], 0.5) == []


def test_slope_and_intercept_of_a_corpus_whose_probabilities_are_overconfident():
    """Log-odds of equal, normal classes are right if their variance is twice their mean. Here they are doubled."""
    label = np.repeat([0, 1], [20_000, 5_000])
    right = np.random.default_rng(0).normal(2 * label - 1, np.sqrt(2))
    line = tables.cox_regression(pd.DataFrame({"label": label, "probability": sigmoid(2 * right + 0.5)}))
    assert line["slope"] == pytest.approx(0.5, abs=0.03) and line["intercept"] == pytest.approx(-0.25, abs=0.05)
    apart = pd.DataFrame({"label": [0, 1], "probability": [0.2, 0.8]})
    assert tables.cox_regression(apart) == {"slope": None, "intercept": None}
