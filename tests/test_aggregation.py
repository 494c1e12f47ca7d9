"""From logits of faces to logits of people and videos."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from deepfake_detector.evaluation.aggregation import (
    AGGREGATORS,
    aggregate_videos,
    mean_odds,
    person_logit,
    stretches,
)


def table(**columns):
    return pd.DataFrame({"time": np.arange(len(columns["logit"])) / 10} | columns)


def test_odds_of_a_video_are_the_mean_of_those_of_its_people():
    faces = table(video_id=["b", "b", "b", "a"], track=[0, 0, 1, 0], logit=[-1.0, 3.0, 0.5, -2.0])
    faces.index = [5, 6, 7, 8]
    videos = aggregate_videos(faces)
    assert videos.index.tolist() == ["b", "a"]
    assert videos.loc["b", ["track", "frames", "faces"]].tolist() == [0, 2, 3]
    assert videos.loc["b", "logit"] == pytest.approx(np.log((np.exp(1.0) + np.exp(0.5)) / 2))
    assert videos.loc["a", "logit"] == pytest.approx(-2)
    calibrated = aggregate_videos(faces, scale=2.0).loc["b", "logit"]
    assert 2 * calibrated + 0.5 == pytest.approx(np.log((np.exp(2.5) + np.exp(1.5)) / 2))


def test_false_alarms_grow_less_with_the_number_of_people_than_by_the_maximum():
    """Calibrated log-odds, normal and equally wide for both classes, as in a detector of AUC 0.9."""
    rng = np.random.default_rng(1)
    people = rng.normal(-1.65, 1.81, (20000, 4))
    alone, by_mean, by_maximum = (
        (np.asarray(odds) > 0).mean() for odds in (people[:, 0], [mean_odds(row) for row in people], people.max(axis=1))
    )
    assert alone == pytest.approx(0.18, abs=0.01) and by_mean < alone + 0.08 and by_maximum > alone + 0.3


def test_short_fake_scene_in_a_long_video_is_found_and_a_genuine_one_stays_as_it_is():
    times = np.arange(0, 600.0)
    logits = np.full(600, -1.0)
    assert person_logit(logits, times).logit == pytest.approx(-1)
    logits[200:207] = 9
    found = person_logit(logits, times)
    assert logits.mean() < -0.8 and found.logit > 0
    assert 192 <= times[found.stretch.start] <= 200 and 206 <= times[found.stretch.end - 1] <= 215


@pytest.mark.parametrize("times", [np.linspace(0, 16, 200), np.linspace(0, 100, 16)])
def test_short_videos_and_few_faces_have_no_stretches(times):
    logits = np.linspace(-5, 5, len(times))
    assert stretches(times) == [] and person_logit(logits, times).logit == pytest.approx(logits.mean())


def test_no_stretch_lies_within_another():
    times = np.sort(np.random.default_rng(0).uniform(0, 60, 100))
    spans = stretches(times)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(spans)) and len(spans) > 20
    assert all(times[end - 1] - times[start] <= 8 and end - start >= 6 for start, end in spans)


def test_aggregators_give_worked_values():
    logits = np.array([4, -2, 1, -1, 0.5, 2, -3, -6], np.float32)
    expected = {"mean_logit": -0.5625, "median": -0.25, "top_k": 3.0, "vote": 0.0}  # four of eight vote fake
    assert {name: aggregate(logits) for name, aggregate in AGGREGATORS.items()} == pytest.approx(expected)
    faces = table(video_id=["a"] * 8 + ["b"], track=0, logit=[*logits, 7.0])
    for name in AGGREGATORS:
        assert aggregate_videos(faces, name).loc["a", "logit"] == pytest.approx(expected[name])
