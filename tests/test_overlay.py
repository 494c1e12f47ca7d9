"""The pictures of a prediction: annotated video, heat maps, timeline."""

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from av.video.reformatter import Colorspace

from deepfake_detector.corpora.sample_corpus import SampleClip, write_clip
from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.backends import TorchBackend
from deepfake_detector.inference.box_tracks import track_boxes
from deepfake_detector.inference.contact_sheet import FACES_IN_ROW, MAX_ROWS, draw_contact_sheet
from deepfake_detector.inference.drawing import fit_text_size, text_width
from deepfake_detector.inference.face_marks import Heatmaps
from deepfake_detector.inference.gradcam import face_heatmaps
from deepfake_detector.inference.overlay import annotate_video
from deepfake_detector.inference.prediction import predict_people
from deepfake_detector.inference.timeline import draw_timeline

GEOMETRY = Geometry(4, 64, 0.5, "centerface", 0.5)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)


@pytest.fixture(scope="module")
def two_people(pair, recipes, tmp_path_factory):
    """Both people of the pair side by side."""
    folder = tmp_path_factory.mktemp("two")
    _, two = pair
    clips = [recipes["real"], SampleClip("other", two, 0, 5, 5)]
    for clip in clips:
        write_clip(clip, pair, folder)
    streams = [read_frames(folder / f"{clip.video_id}.mp4") for clip in clips]
    path = folder / "both.mp4"
    with VideoWriter(path, Fraction(25), (576, 288)) as writer:
        for a, b in zip(*streams, strict=False):
            writer.write(np.hstack([a.image, b.image]), a.time)
    return path


@pytest.fixture(scope="module")
def prediction(two_people):
    """The second person is flagged, the first is not."""
    video = extract_faces(two_people, GEOMETRY, CenterFace(0.5), "all")
    assert video.tracks == 2
    return predict_people(
        video, np.array([2.0 if face.track == 1 else -2.0 for face in video.faces], np.float32), CALIBRATION
    )


def test_two_people_have_one_verdict_as_in_evaluation(prediction):
    assert prediction.verdict == "fake" and prediction.people[0].track == 1
    assert [person.verdict for person in prediction.people] == ["fake", "real"]
    record = prediction.record(CALIBRATION)
    assert (record["person"], record["frames_with_face"], record["faces"]) == (2, 4, 8)
    faces = [
        (person.track, face.time, logit)
        for person in prediction.people
        for face, logit in zip(person.faces, person.logits, strict=True)
    ]
    table = pd.DataFrame(faces, columns=["track", "time", "logit"]).assign(video_id="both")
    row = aggregate_videos(table).loc["both"]
    assert row["track"] == prediction.people[0].track
    assert CALIBRATION.probability(row["logit"]) == prediction.probability < prediction.people[0].probability + 0.2


def test_annotated_video_keeps_times_and_shows_a_box_on_each_face(two_people, prediction, tmp_path):
    target = tmp_path / "out.mp4"
    fractions = []
    annotate_video(two_people, target, prediction, CALIBRATION, progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[-1] > 0.9
    before, after = probe(two_people), probe(target)
    assert after.times == pytest.approx(before.times, abs=2e-3) and after.rate == before.rate
    plain, drawn = next(read_frames(two_people)).image, next(read_frames(target)).image
    assert drawn.shape[0] > plain.shape[0] and drawn.shape[1] == plain.shape[1]
    for person in prediction.people:
        x1, y1, x2, _ = person.faces[0].detection.box.round().astype(int)
        edge = np.s_[y1 - 2 : y1 + 2, x1:x2]
        assert np.abs(drawn[edge].astype(int) - plain[edge]).mean(axis=(1, 2)).max() > 20
    box = prediction.people[0].faces[0].detection.box
    x = int(box[[0, 2]].mean())
    middle = slice(int(box[1]) + 20, int(box[3]) - 20)
    assert np.abs(drawn[middle, x].astype(int) - plain[middle, x]).mean() < 8


def test_boxes_follow_a_face_between_the_scored_frames(two_people, tmp_path):
    """The picture leaps to and fro twice between scored frames, which a straight line from one to the next misses."""
    source = tmp_path / "leaps.mp4"
    with VideoWriter(source, Fraction(25), (576, 288)) as writer:
        for frame in read_frames(two_people):
            writer.write(np.roll(frame.image, round(30 * np.sin(frame.time * 6)), axis=1), frame.time)
    detector = CenterFace(0.5)
    video = extract_faces(source, GEOMETRY, detector, "all")
    prediction = predict_people(video, np.zeros(len(video.faces), np.float32), CALIBRATION)
    tracks = {
        name: track_boxes(source, probe(source), prediction, used)
        for name, used in (("straight", None), ("followed", detector))
    }
    errors = {"straight": [], "followed": []}
    for frame in read_frames(source, list(range(8, 42, 3))):
        boxes = detector.detect(frame.image).boxes
        for person in prediction.people:
            for name, of in tracks.items():
                box = of[person.track][0].at(frame.time, (576, 288)).box
                errors[name].append(np.abs(boxes - box).mean(axis=1).min())
    assert np.mean(errors["followed"]) < 4 < np.mean(errors["straight"])
    assert np.mean(errors["followed"]) < np.mean(errors["straight"]) / 2


def test_small_person_beside_a_large_one_is_seen_between_the_scored_frames(two_people, tmp_path):
    """Twelve seconds with a frame scored every two; the first search misses the small person in most frames."""
    there = [frame.image for frame in read_frames(two_people)]
    pictures = 2 * (there + there[::-1])
    path = tmp_path / "beside.mp4"
    with VideoWriter(path, Fraction(10), (1280, 720)) as writer:
        for i in range(120):
            picture = np.full((720, 1280, 3), 90, np.uint8)
            picture[:, :720] = cv2.resize(pictures[i][:, :288], (720, 720))
            small = cv2.resize(pictures[i][:, 288:], (116, 116), interpolation=cv2.INTER_AREA)
            picture[100:216, 900 + i : 1016 + i] = small
            writer.write(picture, i / 10)
    detector = CenterFace(0.5)
    video = extract_faces(path, replace(GEOMETRY, frames=6), detector, "all")
    assert [face.track for face in video.faces] == [0] * 6 + [1] * 6
    prediction = predict_people(video, np.zeros(len(video.faces), np.float32), CALIBRATION)
    tracks = track_boxes(path, probe(path), prediction, detector)
    for (track,) in tracks.values():
        assert all(track.visible_at(time) for time in np.arange(1.2, 11, 0.1))


@pytest.fixture(scope="module")
def gone_for_a_while(real_clip, tmp_path_factory):
    """Twelve seconds of a moving head before a wall, faded away from second 4 to 8. A frame every 1.5 s is scored."""
    path = tmp_path_factory.mktemp("gone") / "gone.mp4"
    head = cv2.resize(next(read_frames(real_clip)).image, (160, 160), interpolation=cv2.INTER_AREA)
    spots = np.random.default_rng(0).integers(60, 200, (9, 16), dtype=np.uint8)
    wall = cv2.cvtColor(cv2.resize(spots, (640, 288), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    with VideoWriter(path, Fraction(10), (640, 288)) as writer:
        for i in range(120):
            image, left = wall.copy(), 240 + round(40 * np.sin(i / 10))
            place = image[60:220, left : left + 160]
            share = np.interp(i, [36, 42, 78, 84], [1, 0, 0, 1])
            place[:] = cv2.addWeighted(head, share, place, 1 - share, 0)
            writer.write(image, i / 10)
    video = extract_faces(path, replace(GEOMETRY, frames=8), CenterFace(0.5), "all")
    return path, predict_people(video, np.full(len(video.faces), 2, np.float32), CALIBRATION)


def test_there_is_a_box_wherever_there_is_a_face_and_nowhere_else(gone_for_a_while, tmp_path):
    source, prediction = gone_for_a_while
    assert prediction.faces == 6 and len(prediction.people) == 1
    annotate_video(source, tmp_path / "out.mp4", prediction, CALIBRATION, CenterFace(0.5))
    boxed = [bool((np.ptp(frame.image[:288], axis=2) > 60).sum() > 500) for frame in read_frames(tmp_path / "out.mp4")]
    assert all(boxed[:36]) and all(boxed[84:]), "the clip is grey: only a box has colour"
    assert not any(boxed[44:76])


def test_score_curve_is_broken_where_a_sampled_frame_lacks_the_person(gone_for_a_while):
    source, prediction = gone_for_a_while
    assert prediction.people[0].unbroken_runs(probe(source), 8) == [slice(0, 3), slice(3, 6)]


@pytest.mark.parametrize(
    "times, fps",
    [
        (np.arange(20) / 25, None),  # four of the samples are two frames apart
        (np.r_[np.arange(0, 10, 0.04), np.arange(10, 30)], 1),  # a camera that writes less where nothing moves
    ],
)
def test_score_curve_is_whole_where_every_sampled_frame_shows_the_person(times, fps, gone_for_a_while):
    source, prediction = gone_for_a_while
    info = replace(probe(source), times=tuple(times), rate=Fraction(25))
    face = prediction.people[0].faces[0]
    numbers = choose_frames(info, 16, fps)
    faces = [replace(face, frame=number, time=float(times[number])) for number in numbers]
    assert replace(prediction.people[0], faces=faces).unbroken_runs(info, len(numbers)) == [slice(0, len(numbers))]


def test_sheet_of_very_many_faces_is_no_higher_than_browsers_show(prediction, tmp_path):
    """Fifty people in a call of three minutes: Streamlit refuses a larger picture, and the page would end there."""
    one, other = prediction.people
    many = replace(one, faces=one.faces[:1] * 180, logits=one.logits[:1].repeat(180))
    few = replace(prediction, people=[many] * 2 + [other])
    crowd = replace(prediction, people=[many] * 2 + [other] * 200)
    for people in (few, crowd):
        draw_contact_sheet(tmp_path / "sheet.png", people, CALIBRATION)
        height, width = cv2.imread(str(tmp_path / "sheet.png")).shape[:2]
        assert height < 30_000 and height * width < 89e6
    assert few.faces < MAX_ROWS * FACES_IN_ROW < crowd.faces


def test_text_fits_a_narrow_video():
    title = "Not flagged (fake probability 4 %, threshold 50 %)"
    assert text_width(title, 12) > 240 >= text_width(title, fit_text_size(title, 12, 240))


def test_heat_is_drawn_where_its_map_is_high_and_nowhere_else(two_people, prediction, tmp_path):
    maps = {person.track: np.zeros((len(person.faces), 64, 64), np.float32) for person in prediction.people}
    maps[1][:, 24:30, 28:36] = 1  # around the eyes' midpoint, which lies at 42 % of the crop's height
    annotate_video(two_people, tmp_path / "plain.mp4", prediction, CALIBRATION)
    annotate_video(two_people, tmp_path / "heat.mp4", prediction, CALIBRATION, heatmaps=Heatmaps(GEOMETRY.margin, maps))
    face = prediction.people[0].faces[1]
    plain, heat = (next(read_frames(tmp_path / f"{name}.mp4", [face.frame])).image for name in ("plain", "heat"))
    changed = cv2.blur(np.abs(plain.astype(int) - heat).sum(axis=2).astype(np.float32), (9, 9))
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    eyes = face.detection.landmarks[:2].mean(axis=0)
    width = face.detection.box[2] - face.detection.box[0]
    assert np.hypot(x - eyes[0], y - eyes[1]) < 0.15 * width
    assert changed[: plain.shape[0] - 120, :200].max() < 30  # the other person


def test_heat_maps_grow_with_the_probability_of_each_face(prediction, checkpoint):
    backend = TorchBackend(checkpoint, "cpu")
    heatmaps = face_heatmaps(backend, prediction, CALIBRATION)
    assert heatmaps.margin == 0.5
    for person in prediction.people:
        maps = heatmaps.maps[person.track]
        assert maps.shape == (4, 64, 64) and maps.min() >= 0
        assert maps.max() <= CALIBRATION.probability(person.logits[0]) + 1e-5
    assert heatmaps.maps[1].max() > 0.5


def test_heat_maps_are_refused_where_the_detector_has_faces_cut_by_their_boxes(prediction, checkpoint):
    backend = TorchBackend(checkpoint, "cpu")
    box = replace(backend.config.geometry, align="box")
    backend.config = backend.config.model_copy(update={"geometry": box})
    with pytest.raises(ValueError, match="aligned by landmarks"):
        face_heatmaps(backend, prediction, CALIBRATION)


def test_timeline_has_one_size_with_and_without_faces(prediction, two_people, faceless_clip, tmp_path):
    nobody = predict_people(extract_faces(faceless_clip, GEOMETRY, CenterFace(0.5), "all"), np.empty(0), CALIBRATION)
    sizes = []
    for name, clip, what in (("two", two_people, prediction), ("none", faceless_clip, nobody)):
        draw_timeline(tmp_path / f"{name}.png", probe(clip), what, CALIBRATION)
        sizes.append(cv2.imread(str(tmp_path / f"{name}.png")).shape)
    assert sizes[0] == sizes[1] and min(sizes[0][:2]) > 500


def write_stream(path, images, size):
    """A transport stream of `size` (width, height) in BT.709, with its tags."""
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0", "crf": "10"})
        stream.width, stream.height = size
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        for i, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(cv2.resize(image, size), "bgr24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            picture.pts, picture.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def test_annotated_video_has_the_colours_of_the_source(prediction, tmp_path):
    source = write_stream(tmp_path / "a.ts", [np.full((96, 96, 3), (40, 60, 200), np.uint8)] * 25, (320, 240))
    annotate_video(source, tmp_path / "out.mp4", replace(prediction, people=[]), CALIBRATION)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == Colorspace.ITU709
    colors = [
        next(read_frames(path)).image[20:200, 20:300].mean(axis=(0, 1)) for path in (source, tmp_path / "out.mp4")
    ]
    assert colors[1] == pytest.approx(colors[0], abs=1.5)


def test_pictures_that_change_their_size_are_fitted_to_the_first(real_clip, prediction, tmp_path):
    images = [frame.image for frame in read_frames(real_clip, list(range(25)))]
    source = tmp_path / "a.ts"
    parts = [write_stream(tmp_path / f"{size[0]}.ts", images, size) for size in ((288, 288), (320, 160))]
    source.write_bytes(b"".join(path.read_bytes() for path in parts))
    annotate_video(source, tmp_path / "out.mp4", replace(prediction, people=[]), CALIBRATION)
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert len(frames) == 50 and {frame.image.shape for frame in frames} == {frames[0].image.shape}
    assert frames[-1].image[:60].max() < 25  # a bar
    shown = cv2.resize(images[24], (288, 144)).astype(int)
    assert np.abs(frames[-1].image[72:216] - shown).mean() < 6


def test_many_pixels_a_second_are_drawn_smaller(two_people, prediction, tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_detector.inference.overlay.PIXELS_PER_SECOND", 288 * 144 * 25)
    annotate_video(two_people, tmp_path / "out.mp4", prediction, CALIBRATION)
    before, after = probe(two_people), probe(tmp_path / "out.mp4")
    assert after.width == 288 and after.times == pytest.approx(before.times, abs=2e-3)
