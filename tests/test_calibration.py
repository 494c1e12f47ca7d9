"""Probabilities, thresholds and verdicts."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import (
    Calibration,
    calibrated_loss,
    choose_threshold,
    fit_calibration,
    standard_error,
)
from deepfake_detector.evaluation.metrics import WeightedScores, calibration_error
from deepfake_detector.evaluation.scored_videos import add_verdicts
from deepfake_detector.faces.extraction import VideoFaces
from deepfake_detector.inference.prediction import predict_people
from deepfake_detector.training.validation import calibrate


def test_calibrated_loss_does_not_depend_on_scale_bias_or_proportion_of_fakes():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 500)
    logit = rng.normal(0, 1, 1000) + 2 * label
    people = np.arange(1000) % 100

    def loss_of(logit, rows=slice(None)):
        return calibrated_loss(label[rows], logit[rows], people[rows])[0]

    loss = loss_of(logit)
    assert loss_of(7 * logit - 20) == pytest.approx(loss, abs=1e-4)
    more_fakes = np.concatenate([np.arange(1000), np.tile(np.arange(500, 1000), 4)])
    assert loss_of(logit, more_fakes) == pytest.approx(loss, abs=0.01)
    assert loss_of(logit + label) < loss < loss_of(rng.permutation(logit))
    assert loss_of(-logit) == pytest.approx(np.log(2), abs=0.01)


def test_error_of_the_calibrated_loss_is_its_spread_over_other_people():
    rng = np.random.default_rng(0)
    losses, errors = [], []
    for _ in range(60):
        people, label = np.repeat(np.arange(40), 10), np.tile([0, 1], 200)
        logit = rng.normal(0, 1, 400) + 2 * label + np.where(label == 1, 1, -1) * np.repeat(rng.normal(0, 2, 40), 10)
        loss, deviations = calibrated_loss(label, logit, people)
        losses.append(loss)
        errors.append(standard_error(deviations))
    assert np.std(losses) == pytest.approx(np.mean(errors), rel=0.3)
    alone = standard_error(calibrated_loss(label, logit, np.arange(400))[1])
    assert alone < 0.6 * standard_error(deviations)  # as if no two faces were of one person


def validation_videos(shift=4.0):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    return label, 6 * rng.normal(label - 0.5, 1) + shift


def test_calibration_keeps_the_order_and_lowers_log_loss():
    label, logit = validation_videos()
    calibration = fit_calibration(label, logit)
    probability = calibration.probability(logit)
    assert (np.diff(probability[np.argsort(logit)]) >= 0).all()
    assert reference.log_loss(label, probability) < reference.log_loss(label, 1 / (1 + np.exp(-logit)))
    assert calibration.low <= calibration.threshold <= calibration.high


def test_logits_that_are_off_centre_are_shifted_however_few_the_people():
    """Temperature scaling, which cannot shift, has a log loss of 0.6 here."""
    rng = np.random.default_rng(2)
    label = np.tile([0, 1], 15)
    logit = 4 * label + 2 + rng.normal(0, 1, 30)
    calibration = fit_calibration(label, logit)
    others = np.tile([0, 1], 500)
    probability = calibration.probability(4 * others + 2 + rng.normal(0, 1, 1000))
    assert calibration.probability(4.0) == pytest.approx(0.5, abs=0.15)
    assert reference.log_loss(others, probability) < 0.12


@pytest.mark.parametrize("point", ["eer", "youden", "fpr=0.05"])
def test_threshold_meets_its_operating_point(point):
    label, logit = validation_videos()
    threshold = choose_threshold(label, probability := 1 / (1 + np.exp(-logit / 4)), point)
    fpr = lambda t: np.mean(probability[label == 0] >= t)  # noqa: E731
    fnr = lambda t: np.mean(probability[label == 1] < t)  # noqa: E731
    everywhere = np.unique(np.append(probability, 1.0))
    if point == "eer":
        assert abs(fpr(threshold) - fnr(threshold)) <= 0.01
    elif point == "youden":
        assert fpr(threshold) + fnr(threshold) == pytest.approx(min(fpr(t) + fnr(t) for t in everywhere))
    else:
        assert fpr(threshold) <= 0.05
        assert fnr(threshold) == min(fnr(t) for t in everywhere if fpr(t) <= 0.05)


def test_rounding_the_threshold_moves_no_video_to_the_other_side():
    """The probabilities are neighbours at 6 decimals, and their middle would be rounded to the lower one."""
    assert choose_threshold(np.array([0, 1]), np.array([0.500002, 0.500003]), "eer") == 0.500003


def test_separable_validation_gives_no_certainty_and_leaves_the_gap_uncertain():
    calibration = fit_calibration(np.array([0, 0, 1, 1]), np.array([-3.0, -2, 2, 3]))
    assert 0.01 < calibration.probability(-3.0) < 0.4 and 0.6 < calibration.probability(3.0) < 0.99
    verdicts = calibration.verdict(calibration.probability([-3.0, -1.0, 1.0, 3.0]))
    assert verdicts.tolist() == ["real", "uncertain", "uncertain", "fake"]


def test_fit_is_that_of_firth():
    """With one logit for each half of the videos, Firth's odds are those of the counts, each raised by a half."""
    logit, label = np.repeat([0.0, 1.0], 10), np.concatenate([np.repeat([1, 0], [2, 8]), np.repeat([1, 0], [8, 2])])
    calibration = fit_calibration(label, logit)
    expected = [2.5 / (2.5 + 8.5), 8.5 / (2.5 + 8.5)]
    assert calibration.probability([0.0, 1.0]) == pytest.approx(expected, abs=1e-3)


def test_few_videos_that_hardly_overlap_give_probabilities_that_are_right_on_other_videos():
    """Thirty at a time. Platt's smoothed targets are too timid here: their calibration error is 0.066."""
    rng = np.random.default_rng(0)
    label, found = np.tile([0, 1], 15), []
    for _ in range(60):
        logit, other = (3 * label + rng.normal(0, 1, 30) for _ in range(2))
        found.append(fit_calibration(label, logit).probability(other))
    scores = WeightedScores(np.tile(label, 60).astype(float), np.concatenate(found), np.ones((1, 30 * 60)))
    assert calibration_error(scores)[0] < 0.03


def test_more_faces_of_the_same_videos_make_single_faces_no_surer():
    rng = np.random.default_rng(1)
    label = np.tile([0, 1], 10)
    faces = pd.DataFrame({"video_id": [f"v{i}" for i in range(20)], "label": label, "track": 0, "time": 0.0})
    faces["logit"] = rng.normal(4 * label, 1)
    once, often = (
        calibrate(pd.concat([faces.assign(time=float(i)) for i in range(copies)]), "eer", "mean_logit")
        for copies in (1, 30)
    )
    assert often.face_probability([0, 2, 4]) == pytest.approx(once.face_probability([0, 2, 4]), abs=1e-4)
    assert once.face_probability(4.0) == pytest.approx(once.probability(4.0), abs=1e-4)


def test_calibration_is_fitted_to_logits_that_are_aggregated_with_it():
    """Odds of several people are averaged on the calibrated scale."""
    rng = np.random.default_rng(2)
    videos = pd.DataFrame({"video_id": [f"v{i}" for i in range(60)], "label": np.tile([0, 1], 30), "time": 0.0})
    faces = pd.concat([videos.assign(track=track, logit=rng.normal(0, 4, 60)) for track in range(3)])
    faces["logit"] += 6 * faces["label"] * (faces["track"] == 0)
    fitted = calibrate(faces, "eer", "mean_logit")
    logits = aggregate_videos(faces, "mean_logit", fitted.scale)["logit"]
    again = fit_calibration(videos["label"], logits)
    assert again.scale == pytest.approx(fitted.scale, rel=1e-4) and again.bias == pytest.approx(fitted.bias, abs=1e-4)
    assert again.threshold == pytest.approx(fitted.threshold, abs=1e-4)


def test_bystanders_count_for_videos_but_not_for_single_faces():
    """Evaluation scores all people of a video; whose face is fake is not known."""
    rng = np.random.default_rng(3)
    label = np.tile([0, 1], 20)
    videos = pd.DataFrame({"video_id": [f"v{i}" for i in range(40)], "label": label, "time": 0.0})
    alone = videos.assign(track=0, logit=rng.normal(6 * label - 3, 1))
    both = pd.concat([alone, videos.assign(track=1, logit=rng.normal(-3, 1, 40))])
    fitted = calibrate(both, "eer", "mean_logit", 1)
    of_videos = calibrate(both, "eer", "mean_logit")
    of_faces = calibrate(alone, "eer", "mean_logit")
    assert (fitted.scale, fitted.bias) == (of_videos.scale, of_videos.bias) != (of_faces.scale, of_faces.bias)
    assert (fitted.face_scale, fitted.face_bias) == (of_faces.face_scale, of_faces.face_bias)


def test_detector_that_ranks_the_wrong_way_round_gives_one_half():
    calibration = fit_calibration(np.array([0, 0, 1, 1]), np.array([3.0, 2, -2, -3]))
    assert calibration.probability(np.array([-3.0, 3.0])) == pytest.approx(0.5, abs=1e-4)


def test_one_class_cannot_be_calibrated():
    with pytest.raises(ValueError, match="0 fake"):
        fit_calibration(np.zeros(3), np.arange(3.0))


def test_verdicts_have_an_uncertain_band():
    calibration = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.7)
    assert calibration.verdict([0.1, 0.4, 0.6, 0.7, 0.9]).tolist() == ["real", "uncertain", "uncertain", "fake", "fake"]


def test_probability_and_thresholds_have_6_decimals():
    calibration = fit_calibration(*validation_videos())
    values = [
        *calibration.probability(validation_videos()[1]),
        calibration.threshold,
        calibration.low,
        calibration.high,
    ]
    assert all(value == round(value, 6) for value in values)


def test_equal_error_threshold_does_not_hang_on_the_last_digit():
    """At both 0.5 and 0.4 the two error rates differ by 1/6, in different directions: the higher one is taken."""
    label = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    probability = np.array([0.1, 0.1, 0.2, 0.2, 0.3, 0.6, 0.4, 0.5, 0.9])
    thresholds = [choose_threshold(np.tile(label, n), np.tile(probability, n), "eer") for n in (1, 3, 5, 7)]
    assert thresholds == pytest.approx([0.45] * 4)


@pytest.mark.parametrize(
    ("edges", "verdict"),
    [((0.5, 0.5, 0.5), "fake"), ((0.6, 0.5, 0.7), "uncertain"), ((0.4, 0.3, 0.5), "fake")],
    ids=["threshold", "low", "high"],
)
def test_verdict_at_an_edge_is_the_same_in_evaluation_and_inference(edges, verdict):
    """The unrounded probability of the logit is just below the edge, the rounded one at it."""
    threshold, low, high = edges
    calibration = Calibration(scale=1, bias=0, threshold=threshold, low=low, high=high)
    logit = -1e-7
    assert 1 / (1 + np.exp(-logit)) < 0.5
    faces = pd.DataFrame({"video_id": ["a"], "track": [0], "time": [0.0], "logit": [logit]})
    evaluated = add_verdicts(faces, pd.DataFrame({"video_id": ["a"]}), calibration).iloc[0]
    video = VideoFaces("ok", faces=[SimpleNamespace(track=0, frame=0, time=0.0)])
    predicted = predict_people(video, np.array([logit]), calibration)
    assert evaluated["verdict"] == predicted.verdict == predicted.people[0].verdict == verdict
    assert evaluated["probability"] == predicted.probability == predicted.people[0].probability == 0.5
    assert str(calibration.verdict(calibration.probability(logit))) == verdict  # as the overlay does for each frame


@pytest.mark.parametrize(
    "logit", [3 + 1e-16 * np.arange(8), np.float32([0.5, 0.50000006] * 4), np.zeros(8), np.full(8, -1e3)]
)
def test_logits_that_are_all_alike_give_one_half(logit):
    calibration = fit_calibration([0, 1] * 4, logit)
    assert calibration.probability(logit) == pytest.approx(0.5, abs=1e-3)
