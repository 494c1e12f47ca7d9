"""From logits of faces to logits of people and videos."""

import numpy as np
import pandas as pd
import pytest

from deepfake_detector.evaluation.aggregation import AGGREGATORS, aggregate_videos


def test_person_with_the_highest_mean_logit_decides():
    faces = pd.DataFrame(
        {"video_id": ["b", "b", "b", "a"], "track": [0, 0, 1, 0], "logit": [-1.0, 3.0, 0.5, -2.0]}, index=[5, 6, 7, 8]
    )
    videos = aggregate_videos(faces)
    assert videos.index.tolist() == ["b", "a"]
    assert videos.loc["b"].to_dict() == {"logit": 1.0, "track": 0, "frames": 2, "faces": 3}


def test_aggregators_give_worked_values():
    logits = np.array([4, -2, 1, -1, 0.5, 2, -3, -6], np.float32)
    expected = {"mean_logit": -0.5625, "median": -0.25, "top_k": 3.0, "vote": 0.0}  # four of eight vote fake
    assert {name: aggregate(logits) for name, aggregate in AGGREGATORS.items()} == pytest.approx(expected)
    faces = pd.DataFrame({"video_id": ["a"] * 8 + ["b"], "track": 0, "logit": [*logits, 7.0]})
    for name in AGGREGATORS:
        assert aggregate_videos(faces, name).loc["a", "logit"] == pytest.approx(expected[name])
