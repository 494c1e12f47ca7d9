"""The tables of an evaluation, on scores made up."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_detector.evaluation import tables
from deepfake_detector.evaluation.calibration import Calibration, sigmoid
from deepfake_detector.evaluation.report import calibration_words

DRAWS = tables.Bootstrap(100, 1)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)


def faces(seed=0, videos=120):
    """Four faces of each of two people in every video; half the videos validate."""
    rng = np.random.default_rng(seed)
    name = np.repeat([f"v{i:03d}" for i in range(videos)], 8)
    row = np.repeat(np.arange(videos), 8)
    label = row // 2 % 2
    table = pd.DataFrame(
        {"video_id": name, "track": np.tile([0, 0, 0, 0, 1, 1, 1, 1], videos), "label": label, "group": row // 10}
    )
    table["partition"] = np.where(row % 2, "val", "test")
    return table.assign(logit=rng.normal(2 * label - 1, 2))


def scored(table):
    videos = tables.at_level(table, "video", "mean_logit")
    return videos.assign(probability=CALIBRATION.probability(videos["logit"]), verdict="fake")


def test_levels_are_kept_apart_and_each_counts_its_own():
    table = faces()
    rows = tables.levels(table, scored(table), CALIBRATION, DRAWS)
    assert {level: row["n"] for level, row in rows["test"].items()} == {"video": 60, "track": 120, "frame": 480}
    frames = table[table["partition"] == "test"]
    assert rows["test"]["frame"]["auc"] == pytest.approx(roc_auc_score(frames["label"], frames["logit"]), abs=1e-6)
    assert rows["test"]["video"]["threshold"] == 0.5 != rows["test"]["frame"]["threshold"]


def test_test_videos_decide_nothing():
    table = faces()
    turned = table.assign(label=np.where(table["partition"] == "test", 1 - table["label"], table["label"]))
    for how in (table, turned):
        how["logit"] = table["logit"]
    one, two = (tables.calibrated(t, "eer", CALIBRATION)[1] for t in (table, turned))
    assert one == two


def test_breakdown_sets_methods_against_all_reals_and_marks_what_is_small():
    videos = scored(faces()).query("partition == 'test'").assign(place="in")
    videos["method"] = np.where(videos["label"] == 1, np.where(np.arange(len(videos)) % 3, "often", "rare"), "")
    videos.loc[videos.index[:4], "place"] = "out"
    rows = {row["value"]: row for row in tables.breakdown(videos, ["method", "place"], 0.5, DRAWS)}
    real = int((videos["label"] == 0).sum())
    assert rows["often"]["all_reals"] and rows["often"]["real"] == rows["rare"]["real"] == real
    assert rows["often"]["fake"] + rows["rare"]["fake"] == len(videos) - real
    assert not rows["in"]["all_reals"] and rows["out"]["n"] == 4 and rows["out"]["small"] and not rows["in"]["small"]


def test_columns_that_divide_nothing_are_named_not_used():
    labels = pd.DataFrame({"video_id": map(str, range(30)), "label": 0, "identity": "x", "camera": ["a", "b"] * 15})
    labels = labels.assign(same="s", free=[f"text {i}" for i in range(30)])
    assert tables.attribute_columns(labels) == (["camera"], ["free"])


def test_coverage_tells_why():
    videos = pd.DataFrame({"video_id": list("abcd"), "verdict": ["real", "no_face", "no_face", "no_face"]})
    report = pd.DataFrame({"video_id": list("abc"), "status": ["ok", "no_face", "unreadable"]})
    expected = {"no_face": 1, "not extracted": 1, "unreadable": 1}
    assert tables.coverage(videos, report) == {"coverage": 0.25, "videos": 4, "unscored": expected}


def test_slope_and_intercept_of_a_corpus_whose_probabilities_are_too_sure():
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 2, 20_000)
    label = rng.random(20_000) < sigmoid(log_odds / 2 + 0.5)
    line = tables.cox_line(pd.DataFrame({"label": label.astype(int), "probability": sigmoid(log_odds)}))
    assert line["slope"] == pytest.approx(0.5, abs=0.03) and line["intercept"] == pytest.approx(0.5, abs=0.05)
    apart = pd.DataFrame({"label": [0, 1], "probability": [0.2, 0.8]})
    assert tables.cox_line(apart) == {"slope": None, "intercept": None}


def test_words_say_when_calibration_did_not_help():
    """Probabilities that are right as they are, and a calibration that spoils them."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 2000)
    test = pd.DataFrame(
        {"label": (rng.random(2000) < sigmoid(logit)).astype(int), "logit": logit, "group": np.arange(2000) // 20}
    )
    spoiling = Calibration(scale=5, bias=1, threshold=0.5, low=0.4, high=0.6)
    change = tables.calibration_change(test, spoiling, DRAWS)
    assert change["ece_change_low"] > 0 and "did not lower it" in calibration_words(change)
    undone = tables.calibration_change(
        test.assign(logit=5 * logit + 1), Calibration(**spoiling.model_dump() | {"scale": 0.2, "bias": -0.2}), DRAWS
    )
    assert undone["ece_change_high"] < 0 and "calibration lowered it" in calibration_words(undone)
