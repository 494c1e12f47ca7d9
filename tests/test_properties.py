"""What holds for any input: frames, crops, tracks, logits, verdicts, caches and resumed runs of every shape."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from deepfake_detector.evaluation.aggregation import (
    AGGREGATORS,
    STRETCH,
    aggregate_videos,
    mean_odds,
    person_logit,
    stretches,
    video_logit,
)
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.alignment import align_face, fit_similarity, landmark_template
from deepfake_detector.faces.cache import FaceCache
from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sampling import choose_frames, evenly_spread, frames_between
from deepfake_detector.faces.tracking import MAX_GAP, link_detections
from deepfake_detector.faces.video_reader import VideoInfo
from deepfake_detector.files import file_sha256
from deepfake_detector.inference.batch_prediction import finished_rows
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask
from deepfake_detector.inference.records import PICTURES, start_record

settings.register_profile("quick", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("quick")

logits = st.lists(st.floats(-50, 50), min_size=1, max_size=40).map(lambda values: np.array(values, np.float32))
AVERAGES = ("mean_logit", "median", "top_k")  # aggregators whose result lies among the logits


# Sampling


@given(st.integers(1, 5000), st.integers(1, 200))
def test_evenly_spread_frames_are_those_at_the_middle_of_each_part_of_the_video(total, wanted):
    chosen = evenly_spread(total, wanted)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(total, wanted)
    for i, number in enumerate(chosen):
        assert number <= Fraction(2 * i + 1, 2 * len(chosen)) * total < number + 1


@st.composite
def videos(draw):
    """A video with frames at rising times, of which the first and some others are keyframes."""
    steps = draw(st.lists(st.floats(0.001, 3), min_size=0, max_size=60))
    times = tuple(np.cumsum([draw(st.floats(0, 2)), *steps]).tolist())
    keys = (True, *(draw(st.booleans()) for _ in steps))
    return VideoInfo(times, 64, 48, Fraction(25), False, tuple(range(len(times))), keys)


@given(videos(), st.floats(0.01, 60))
def test_frames_chosen_by_rate_are_in_the_video_and_none_is_twice(info, fps):
    chosen = choose_frames(info, 4, fps)
    assert chosen and chosen == sorted(set(chosen)) and 0 <= chosen[0] <= chosen[-1] < info.frames


@given(videos())
def test_keyframes_are_chosen_as_they_are(info):
    assert choose_frames(info, "keyframes") == [i for i, key in enumerate(info.is_keyframe) if key]


@given(videos(), st.floats(0.1, 3), st.data())
def test_frames_between_two_others_are_between_them(info, seconds, data):
    end = data.draw(st.integers(0, info.frames - 1))
    start = data.draw(st.integers(0, end))
    numbers = [start, *frames_between(start, end, info, seconds), end]
    assert numbers[1:-1] == sorted(set(numbers[1:-1])) and all(start < number < end for number in numbers[1:-1])


# Alignment

points = st.lists(st.tuples(*[st.floats(-500, 500)] * 2), min_size=5, max_size=5).map(np.array)
similarities = st.tuples(st.floats(-3.1, 3.1), st.floats(0.1, 10), st.floats(-500, 500), st.floats(-500, 500))


def matrix_of(angle, scale, x, y):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def apply(matrix, places):
    return places @ matrix[:, :2].T + matrix[:, 2]


@given(points, similarities)
def test_similarity_is_found_again_and_can_be_undone(places, given_similarity):
    assume(np.ptp(places, axis=0).max() > 1)
    matrix = matrix_of(*given_similarity)
    moved = apply(matrix, places)
    assert np.allclose(fit_similarity(places, moved), matrix, rtol=1e-6, atol=1e-5)
    assert np.allclose(apply(fit_similarity(moved, places), moved), places, atol=1e-4)


@given(st.integers(32, 256), st.floats(0, 2))
def test_aligned_landmarks_of_an_aligned_face_stay_where_they_are(size, margin):
    template = landmark_template(size, margin)
    assert np.allclose(fit_similarity(template, template), [[1, 0, 0], [0, 1, 0]], atol=1e-5)
    rng = np.random.default_rng(size)
    image = rng.integers(0, 256, (size, size, 3), np.uint8)
    assert np.abs(align_face(image, template, size, margin).astype(int) - image).max() <= 2


@given(points, st.floats(0.05, 20), st.tuples(st.floats(-100, 100), st.floats(-100, 100)))
def test_detections_of_a_scaled_image_come_back_to_the_image(places, scale, offset):
    box = np.array([*places.min(axis=0), *places.max(axis=0)], np.float32)
    faces = Detections.stack([Detection(box, 0.9, places.astype(np.float32))])
    scaled = Detections(faces.boxes * scale + np.tile(offset, 2), faces.scores, faces.landmarks * scale + offset)
    undone = scaled.undo_scaling(scale, np.array(offset))
    limit = 1e-3 * (1 + 100 / scale)
    assert np.allclose(undone.boxes, faces.boxes, atol=limit) and np.allclose(
        undone.landmarks, faces.landmarks, atol=limit
    )


# Tracks


@st.composite
def scenes(draw):
    """Detections of successive frames, and the shot of each frame; shots may return."""
    frames = []
    for _ in range(draw(st.integers(1, 10))):
        corners = draw(st.lists(st.tuples(*[st.integers(0, 600)] * 2, st.integers(1, 200)), max_size=4))
        faces = [
            Detection(np.array([x, y, x + side, y + side], np.float32), 0.9, np.full((5, 2), x, np.float32))
            for x, y, side in corners
        ]
        frames.append(Detections.stack(faces))
    return frames, draw(st.lists(st.integers(0, 2), min_size=len(frames), max_size=len(frames)))


@given(scenes())
def test_tracks_share_out_all_detections_and_none_crosses_a_shot(scene):
    frames, shots = scene
    tracks = link_detections(frames, shots, [(640, 480)] * len(frames))
    placed = [place for track in tracks for place in zip(track.frames, track.indices, strict=True)]
    assert sorted(placed) == [(i, index) for i, faces in enumerate(frames) for index in range(len(faces))]
    for track in tracks:
        assert len({shots[frame] for frame in track.frames}) == 1
        steps = np.diff(track.frames)
        assert (steps >= 1).all() and (steps <= MAX_GAP + 1).all()
    assert [track.prominence for track in tracks] == sorted((track.prominence for track in tracks), reverse=True)


# Aggregation


@pytest.mark.parametrize("how", AGGREGATORS)
@given(values=logits, data=st.data())
def test_order_of_the_frames_does_not_matter(how, values, data):
    shuffled = values[data.draw(st.permutations(range(len(values))))]
    assert AGGREGATORS[how](shuffled) == pytest.approx(AGGREGATORS[how](values), abs=1e-9)


@pytest.mark.parametrize("how", AVERAGES)
@given(values=logits, gaps=st.lists(st.floats(0.04, 3), min_size=39, max_size=39))
def test_logit_of_a_person_lies_among_those_of_the_frames(how, values, gaps):
    times = np.cumsum([0, *gaps])[: len(values)]
    person = person_logit(values, times, how, scale=1.3)
    assert values.min() - 1e-6 <= person.logit <= values.max() + 1e-6


@given(logits)
def test_vote_is_no_more_certain_than_all_votes_on_one_side(values):
    assert abs(AGGREGATORS["vote"](values)) <= np.log(2 * len(values) + 1) + 1e-12


@given(logits, st.floats(0.1, 5), st.data())
def test_logit_of_a_video_lies_among_those_of_its_people_in_any_order(values, scale, data):
    people = values.astype(float)
    logit = video_logit(people, scale)
    assert people.min() - 1e-9 <= logit <= people.max() + 1e-9
    shuffled = people[data.draw(st.permutations(range(len(people))))]
    assert video_logit(shuffled, scale) == pytest.approx(logit, abs=1e-9)


@given(logits, st.data())
def test_more_suspicious_person_never_lowers_the_logit_of_a_video(values, data):
    people = values.astype(float)
    raised = people.copy()
    raised[data.draw(st.integers(0, len(people) - 1))] += data.draw(st.floats(0, 20))
    assert mean_odds(raised) >= mean_odds(people) - 1e-9


@given(st.lists(st.floats(0.01, 4), min_size=1, max_size=60))
def test_stretches_are_in_order_and_not_longer_than_they_may_be(gaps):
    times = np.cumsum([0, *gaps])
    spans = stretches(times)
    assert spans == sorted(set(spans))
    assert all(times[end - 1] - times[start] <= STRETCH + 1e-9 for start, end in spans)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(-9, 9)), min_size=1, max_size=30))
def test_videos_are_aggregated_alike_in_any_order_and_in_any_company(rows):
    faces = pd.DataFrame(rows, columns=["video_id", "track", "logit"]).assign(time=np.arange(len(rows)) / 25)
    together = aggregate_videos(faces)
    backwards = aggregate_videos(pd.concat([faces[faces["video_id"] == name] for name in "cba"]))
    for name, part in faces.groupby("video_id"):
        alone = aggregate_videos(part).loc[name]
        for table in (together, backwards):
            assert table.loc[name, "logit"] == pytest.approx(alone["logit"], abs=1e-9)
            assert table.loc[name, "faces"] == len(part)


# Calibration


@st.composite
def calibrations(draw):
    low, threshold, high = sorted(draw(st.lists(st.floats(1e-5, 1 - 1e-5), min_size=3, max_size=3)))
    edges = {"low": round(low, 6), "threshold": round(threshold, 6), "high": round(high, 6)}
    return Calibration(scale=draw(st.floats(0.01, 10)), bias=draw(st.floats(-5, 5)), **edges)


@given(calibrations(), logits)
def test_probability_and_verdict_rise_with_the_logit(calibration, values):
    ordered = np.sort(values)
    probability = calibration.probability(ordered)
    assert (np.diff(probability) >= 0).all() and ((probability >= 0) & (probability <= 1)).all()
    ranks = [["real", "uncertain", "fake"].index(verdict) for verdict in calibration.verdict(probability)]
    assert ranks == sorted(ranks)


@given(calibrations(), logits, st.floats(0.001, 0.999))
def test_prior_moves_probabilities_and_changes_no_verdict(calibration, values, prior):
    probability = calibration.probability(values)
    edges = [calibration.low, calibration.threshold, calibration.high]
    clear = np.abs(probability[:, None] - edges).min(axis=1) > 2e-6  # rounding decides within the last decimals
    moved = calibration.with_prior(prior)
    assert (moved.verdict(moved.probability(values)) == calibration.verdict(probability))[clear].all()
    change = moved.probability(values) - probability
    assert (change >= -1e-6).all() if prior >= 0.5 else (change <= 1e-6).all()


# Cache and resume

GEOMETRY = Geometry(4, 64, 0.3, "centerface", 0.5)
CONTENTS = [b"first", b"second", b"third"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(CONTENTS), st.sampled_from(["put", "get"])), max_size=12))
@settings(max_examples=25, phases=[Phase.generate])  # looking for a smaller example would take minutes
def test_cache_gives_the_faces_of_the_same_content_whatever_its_name(tmp_path_factory, steps):
    """Files are written over each other, stored and looked up in any order."""
    folder = tmp_path_factory.mktemp("cache")
    cache, stored = FaceCache(folder / "cache", GEOMETRY, "all"), set()
    for number, content, step in steps:
        path, archive = folder / f"{number}.mp4", folder / "archive.zip"
        path.write_bytes(content)
        (key,) = cache.keys([(str(path), "")])
        archive.unlink(missing_ok=True)
        if step == "put":
            archive.write_bytes(b"faces of " + content)
            cache.put(key, archive, {"of": content.decode()})
            stored.add(content)
            continue
        record = cache.get(key, archive)
        assert (record is not None) == (content in stored)
        assert record is None or (record["of"].encode(), archive.read_bytes()) == (content, b"faces of " + content)
    assert cache.damaged == 0


@given(
    st.sampled_from(["real", "fake", "uncertain", "no_face", "error"]),
    st.sets(st.sampled_from(list(PICTURES))),
    st.sampled_from([0.5, 0.1]),
    st.booleans(),
)
def test_only_a_whole_result_of_the_same_video_and_settings_is_kept(tmp_path_factory, verdict, to_draw, prior, changed):
    folder = tmp_path_factory.mktemp("resume")
    video = folder / "a.mp4"
    video.write_bytes(b"a video")
    task, earlier = (
        PredictionTask(str(video), "a", str(folder), PredictionSettings("x.onnx", "0" * 64, prior=value))
        for value in (0.5, prior)
    )
    columns = ["probability", "prior", "message", "frames", "faces", "frames_wanted", "frames_with_face", "person"]
    columns += ["faces_too_small", "suspicious_from", "suspicious_to", "suspicious_probability"]
    sha256 = "a" * 64 if changed else file_sha256(video)
    start_record(earlier, {**dict.fromkeys(columns), "message": "", "verdict": verdict}, sha256, sorted(to_draw))
    is_whole = verdict != "error" and not to_draw and prior == 0.5 and not changed
    assert list(finished_rows([task])) == ([0] if is_whole else [])
