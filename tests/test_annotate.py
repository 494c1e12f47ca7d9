"""The pictures of a judgement, looked at by a program."""

from fractions import Fraction

import cv2
import numpy as np
import pandas as pd
import pytest

from stages.corpora.sample import Clip, write_clip
from stages.faces.detectors import CenterFace
from stages.faces.extraction import Geometry, extract_faces
from stages.faces.video import VideoWriter, probe, read_frames
from stages.learning.runtime import TorchScorer
from stages.scoring.aggregate import aggregate
from stages.scoring.annotate import Heatmaps, annotate_video
from stages.scoring.calibrate import Calibration
from stages.scoring.follow import follow, scored_path
from stages.scoring.heatmap import face_heatmaps
from stages.scoring.judgement import judge
from stages.scoring.timeline import draw_timeline

GEOMETRY = Geometry(4, 64, 0.5, "centerface", 0.5)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)


@pytest.fixture(scope="module")
def two_people(pair, recipes, tmp_path_factory):
    """Both people of the pair side by side."""
    folder = tmp_path_factory.mktemp("two")
    _, two = pair
    clips = [recipes["real"], Clip("other", two, 0, 5, 5)]
    for clip in clips:
        write_clip(clip, pair, folder)
    streams = [read_frames(folder / f"{clip.video_id}.mp4") for clip in clips]
    path = folder / "both.mp4"
    with VideoWriter(path, Fraction(25), (576, 288)) as writer:
        for a, b in zip(*streams, strict=False):
            writer.write(np.hstack([a.image, b.image]), a.time)
    return path


@pytest.fixture(scope="module")
def judgement(two_people):
    """The second person looks manipulated, the first does not."""
    video = extract_faces(two_people, GEOMETRY, CenterFace(0.5), "all")
    assert video.tracks == 2
    return judge(video, np.array([2.0 if face.track == 1 else -2.0 for face in video.faces], np.float32), CALIBRATION)


def test_the_most_suspicious_of_two_people_decides_as_in_evaluation(judgement):
    assert judgement.verdict == "fake" and judgement.people[0].track == 1
    assert [person.verdict for person in judgement.people] == ["fake", "real"]
    record = judgement.record(CALIBRATION)
    assert (record["person"], record["frames_with_face"], record["faces"]) == (2, 4, 8)
    faces = [(person.track, logit) for person in judgement.people for logit in person.logits]
    table = pd.DataFrame(faces, columns=["track", "logit"]).assign(video_id="both")
    row = aggregate(table).loc["both"]
    assert (row["track"], row["logit"]) == (judgement.people[0].track, pytest.approx(judgement.people[0].logit))


def test_annotated_video_keeps_times_and_shows_a_box_on_each_face(two_people, judgement, tmp_path):
    target = tmp_path / "out.mp4"
    shares = []
    annotate_video(two_people, target, judgement, CALIBRATION, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] > 0.9
    before, after = probe(two_people), probe(target)
    assert after.times == pytest.approx(before.times, abs=2e-3) and after.rate == before.rate
    plain, drawn = next(read_frames(two_people)).image, next(read_frames(target)).image
    assert drawn.shape[0] > plain.shape[0] and drawn.shape[1] == plain.shape[1]
    for person in judgement.people:
        x1, y1, x2, _ = person.faces[0].detection[:4].round().astype(int)
        assert np.abs(drawn[y1, x1:x2].astype(int) - plain[y1, x1:x2]).mean() > 20
    x = int(judgement.people[0].faces[0].detection[[0, 2]].mean())
    middle = slice(int(judgement.people[0].faces[0].detection[1]) + 20, int(judgement.people[0].faces[0].detection[3]) - 20)
    assert np.abs(drawn[middle, x].astype(int) - plain[middle, x]).mean() < 8


def test_boxes_follow_a_face_between_the_scored_frames(two_people, tmp_path):
    """The picture leaps to and fro twice between scored frames, which a straight line from one to the next would not see."""
    source = tmp_path / "leaps.mp4"
    with VideoWriter(source, Fraction(25), (576, 288)) as writer:
        for frame in read_frames(two_people):
            writer.write(np.roll(frame.image, round(30 * np.sin(frame.time * 5)), axis=1), frame.time)
    detector = CenterFace(0.5)
    video = extract_faces(source, GEOMETRY, detector, "all")
    people = judge(video, np.zeros(len(video.faces), np.float32), CALIBRATION).people
    followed = follow(source, probe(source), people, detector)
    errors = {"straight": [], "followed": []}
    for frame in read_frames(source, list(range(8, 42, 3))):
        boxes = detector.detect(frame.image)[:, :4]
        for person in people:
            for name, path in (("straight", scored_path(person)), ("followed", followed[person.track])):
                errors[name].append(np.abs(boxes - path.at(frame.time)[:4]).mean(axis=1).min())
    assert np.mean(errors["followed"]) < 4 < np.mean(errors["straight"])


def test_heat_is_drawn_where_its_map_says_and_nowhere_else(two_people, judgement, tmp_path):
    maps = {person.track: np.zeros((len(person.faces), 64, 64), np.float32) for person in judgement.people}
    maps[1][:, 24:30, 28:36] = 1  # around the eyes' midpoint, which lies at 42 % of the crop's height
    annotate_video(two_people, tmp_path / "plain.mp4", judgement, CALIBRATION)
    annotate_video(two_people, tmp_path / "heat.mp4", judgement, CALIBRATION, heatmaps=Heatmaps(GEOMETRY.margin, maps))
    face = judgement.people[0].faces[1]
    plain, heat = (next(read_frames(tmp_path / f"{name}.mp4", [face.frame])).image for name in ("plain", "heat"))
    changed = cv2.blur(np.abs(plain.astype(int) - heat).sum(axis=2).astype(np.float32), (9, 9))
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    eyes = face.detection[5:9].reshape(2, 2).mean(axis=0)
    width = face.detection[2] - face.detection[0]
    assert np.hypot(x - eyes[0], y - eyes[1]) < 0.15 * width
    assert changed[: plain.shape[0] - 120, :200].max() < 30  # the other person


def test_heat_maps_grow_with_the_probability_of_each_face(judgement, checkpoint):
    scorer = TorchScorer(checkpoint, "cpu")
    heatmaps = face_heatmaps(scorer, judgement, CALIBRATION)
    assert heatmaps.margin == 0.5
    for person in judgement.people:
        maps = heatmaps.maps[person.track]
        assert maps.shape == (4, 64, 64) and maps.min() >= 0
        assert maps.max() <= CALIBRATION.probability(person.logits[0]) + 1e-5
    assert heatmaps.maps[1].max() > 0.5


def test_timeline_is_a_picture_with_and_without_faces(judgement, faceless_clip, tmp_path):
    nobody = judge(extract_faces(faceless_clip, GEOMETRY, CenterFace(0.5), "all"), np.empty(0), CALIBRATION)
    sizes = []
    for name, what in (("two", judgement), ("none", nobody)):
        draw_timeline(tmp_path / f"{name}.png", name, what, CALIBRATION)
        sizes.append(cv2.imread(str(tmp_path / f"{name}.png")).shape)
    assert sizes[0] == sizes[1] and min(sizes[0][:2]) > 500
