"""Shots: tracks, verdicts and boxes of edited videos."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from deepfake_detector.corpora.sample_corpus import SampleClip, write_clip
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces import nearby_frames
from deepfake_detector.faces.archive import decode_crop
from deepfake_detector.faces.detections import Detections
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import crop_originals, extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.pixels import to_thumbnail
from deepfake_detector.faces.sampling import frames_between
from deepfake_detector.faces.shots import SIMILAR, SURROUNDINGS, shot_numbers, similarity, surroundings
from deepfake_detector.faces.video_file import VideoInfo, probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.inference.overlay import annotate_video
from deepfake_detector.inference.prediction import predict_people

GEOMETRY = Geometry(4, 64, 0.5, "centerface", 0.5)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)


@pytest.fixture(scope="module")
def heads(pair, recipes, tmp_path_factory):
    """Two people: 50 pictures of each, 288×288."""
    folder = tmp_path_factory.mktemp("heads")
    for clip in (recipes["real"], SampleClip("other", list(pair)[1], 0, 5, 5)):
        write_clip(clip, pair, folder)
    names = (recipes["real"].video_id, "other")
    return [[frame.image for frame in read_frames(folder / f"{name}.mp4", list(range(50)))] for name in names]


def write(path, pictures, rate=25):
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, Fraction(rate), (width, height)) as writer:
        for i, picture in enumerate(pictures):
            writer.write(picture, i / rate)
    return path


def people(path, frames=4, detector=None):
    """The numbers of the frames in which each person was found, and the result of extraction."""
    video = extract_faces(path, replace(GEOMETRY, frames=frames), detector or CenterFace(0.5), "all")
    numbers = {track: [face.frame for face in video.faces if face.track == track] for track in range(video.tracks)}
    return sorted(numbers.values()), video


def test_two_people_before_and_after_a_cut_are_two_tracks(heads, tmp_path):
    """They sit at the same place before the same wall, so that colours and boxes hardly differ."""
    one, other = heads
    found, _ = people(write(tmp_path / "cut.mp4", one[:30] + other[:30]), frames=6)
    assert found == [[5, 15, 25], [35, 45, 55]]


def dissolve(before, after, frames):
    """Pictures that lead from the last of `before` to the first of `after`."""
    weights = np.linspace(0, 1, frames + 2)[1:-1]
    return [cv2.addWeighted(before[-1], 1 - weight, after[0], weight, 0) for weight in weights]


@pytest.mark.parametrize("frames", [8, 24])
def test_two_people_before_and_after_a_dissolve_are_two_tracks(heads, wall, tmp_path, frames):
    """They sit at nearly the same place before different walls."""
    grounds = [wall[:400, :400].copy(), wall[300:700, 900:1300].copy()]
    one, other = [], []
    for head, ground, x, y, shown in ((heads[0], grounds[0], 96, 0, one), (heads[1], grounds[1], 60, 70, other)):
        for picture in head:
            ground[y : y + 288, x : x + 208] = picture[:, 40:-40]
            shown.append(ground.copy())
    path = write(tmp_path / "dissolve.mp4", one[:30] + dissolve(one[:30], other, frames) + other[:30])
    found, _ = people(path, frames=12)
    assert len(found) == 2
    assert found[0][-1] < 30 + frames and found[1][0] >= 30


def test_track_does_not_cross_a_shot_between_two_frames_sampled_far_apart(heads, tmp_path):
    one, other = heads
    away = write(tmp_path / "away.mp4", one[:1] * 45 + other[:1] * 30 + one[:1] * 45, rate=10)
    stays = write(tmp_path / "stays.mp4", one[:1] * 120, rate=10)
    assert people(away, frames=2)[0] == [[30], [90]]
    assert people(stays, frames=2)[0] == [[30, 90]]


def test_person_of_a_short_shot_is_kept_though_one_sampled_frame_shows_it(heads, tmp_path):
    one, other = heads
    found, video = people(write(tmp_path / "short.mp4", one[:20] + other[:10] + one[20:50]), frames=6)
    assert found == [[5, 15], [25], [35, 45, 55]] and video.faces_dropped == 0


def test_person_of_a_short_shot_is_kept_where_the_stated_rate_is_that_of_a_clock(heads, tmp_path):
    """Old programs state 1000 frames a second for times in milliseconds, as FFmpeg guesses of a browser's recording."""
    one, other = heads
    path = tmp_path / "short.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 1000, options={"crf": "12"})
        stream.height, stream.width = one[0].shape[:2]
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(one[:20] + other[:10] + one[20:50]):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = 40 * i + 7 * i % 13, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert probe(path).rate == pytest.approx(25, rel=0.2)
    found, video = people(path, frames=6)
    assert found == [[5, 15], [25], [35, 45, 55]] and video.faces_dropped == 0


def test_movement_between_sampled_frames_is_followed_without_a_second_look(heads, tmp_path, monkeypatch):
    """Sampled frames lie at the turns of a movement to and fro, which are not alike."""
    moves = [np.roll(picture, 6 * abs((i - 6) % 24 - 12) - 36, axis=1) for i, picture in enumerate(heads[0])]
    path = write(tmp_path / "moves.mp4", moves)
    before, after = (frame.moment.details for frame in read_frames(path, [6, 18]))
    assert similarity(before, after) < SIMILAR
    monkeypatch.setattr(nearby_frames, "read_pictures", lambda *_: pytest.fail("a second look"))
    assert people(path)[0] == [[6, 18, 31, 43]]


def test_small_person_beside_a_large_one_is_followed_through_the_whole_clip(heads, tmp_path):
    """The first search misses the small one in most frames."""
    pictures = []
    for large, small in zip(*heads, strict=True):
        picture = np.full((720, 1280, 3), 90, np.uint8)
        picture[:, :720] = cv2.resize(large, (720, 720))
        picture[100:220, 1000:1120] = cv2.resize(small, (120, 120), interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    path = write(tmp_path / "both.mp4", pictures)
    assert len(CenterFace(0.5).detect(pictures[0])) == 1
    found, video = people(path, frames=6)
    assert found == [[4, 12, 20, 29, 37, 45]] * 2 and video.faces_dropped == 0


class SeeingThings(CenterFace):
    """CenterFace that finds a second face, in a corner, in the first picture that it searches."""

    searches = 0

    def detect(self, image):
        found = super().detect(image)
        self.searches += 1
        if self.searches > 1:
            return found
        corner = replace(found[0], box=np.array([0, 0, 40, 40]), landmarks=found[0].landmarks * 0.1)
        return Detections.stack([*found, corner])


def test_face_that_no_second_frame_shows_is_dropped_and_the_message_says_so(heads, tmp_path):
    found, video = people(write(tmp_path / "one.mp4", heads[0]), detector=SeeingThings(0.5))
    assert found == [[6, 18, 31, 43]] and video.faces_dropped == 1
    prediction = predict_people(video, np.zeros(4, np.float32), CALIBRATION)
    assert prediction.message.startswith("1 face not scored: seen in a single frame")


def test_verdict_that_rests_on_few_faces_says_so(heads, tmp_path):
    _, video = people(write(tmp_path / "few.mp4", heads[0]), frames=3)
    prediction = predict_people(video, np.zeros(3, np.float32), CALIBRATION)
    assert prediction.message == "the verdict rests on 3 faces of person 1"
    assert prediction.record(CALIBRATION)["people"][0]["faces_scored"] == 3
    _, video = people(tmp_path / "few.mp4", frames=4)
    assert predict_people(video, np.zeros(4, np.float32), CALIBRATION).message == ""


def test_flash_in_a_sampled_frame_does_not_divide_a_person(heads, tmp_path):
    pictures = [np.full_like(p, 255) if i in (24, 25, 26) else p for i, p in enumerate(heads[0])]
    found, _ = people(write(tmp_path / "flash.mp4", pictures), frames=5)
    assert found == [[5, 15, 35, 45]]


def test_person_in_a_video_that_changes_its_size_is_one_person(heads, tmp_path):
    """An H.264 stream whose second half has three times the size of the first."""
    path = tmp_path / "grows.h264"
    data = b""
    for pictures, side in ((heads[0][:25], 192), (heads[0][25:], 576)):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = side, side, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        for picture in pictures:
            image = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            data += b"".join(map(bytes, encoder.encode(av.VideoFrame.from_ndarray(image, format="bgr24"))))
        data += b"".join(map(bytes, encoder.encode(None)))
    path.write_bytes(data)
    found, video = people(path)
    assert found == [[6, 18, 31, 43]]
    widths = [face.detection.box[2] - face.detection.box[0] for face in video.faces]
    assert widths[3] == pytest.approx(3 * widths[0], rel=0.2), "boxes are in pixels of their own frame"


def is_boxed(path):
    """For each frame of an annotated grey video, whether there is something coloured, which only a box is."""
    return [bool((np.ptp(frame.image[:288], axis=2) > 60).sum() > 500) for frame in read_frames(path)]


def test_box_ends_at_the_cut_however_near_the_scored_frame_is(heads, tmp_path):
    """The person of the first five and the last four frames is not scored: these frames are not sampled."""
    one, other = heads
    source = write(tmp_path / "cuts.mp4", other[:5] + one[:41] + other[5:9])
    found, video = people(source)
    assert found == [[6, 18, 31, 43]]
    prediction = predict_people(video, np.full(4, 2, np.float32), CALIBRATION)
    for detector in (CenterFace(0.5), None):
        annotate_video(source, tmp_path / "out.mp4", prediction, CALIBRATION, detector)
        assert is_boxed(tmp_path / "out.mp4") == [False] * 5 + [True] * 41 + [False] * 4


def test_box_does_not_pass_over_a_shot_between_two_scored_frames(heads, tmp_path):
    """Neither where the other person is detected at the same place, nor where a short insert is hardly a shot."""
    one, other = heads
    source = write(tmp_path / "insert.mp4", one[:20] + other[:9] + one[20:35] + other[9:12] + one[35:38])
    _, video = people(source)
    assert sorted(face.frame for face in video.faces) == [6, 18, 31, 43]
    prediction = predict_people(video, np.full(4, 2, np.float32), CALIBRATION)
    annotate_video(source, tmp_path / "out.mp4", prediction, CALIBRATION, CenterFace(0.5))
    boxed = is_boxed(tmp_path / "out.mp4")
    assert boxed[:20] == [True] * 20 and not any(boxed[20:29]) and boxed[29:44] == [True] * 15
    assert not any(boxed[44:47])


@pytest.fixture(scope="module")
def wall():
    """A large picture with details."""
    spots = np.random.default_rng(0).integers(40, 180, (30, 60, 3), dtype=np.uint8)
    return cv2.resize(spots, (1920, 720), interpolation=cv2.INTER_CUBIC)


def numbers_of(pictures):
    reformatter = VideoReformatter()
    frames = (av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24") for picture in pictures)
    return shot_numbers(to_thumbnail(frame, reformatter) for frame in frames).tolist()


def test_pan_zoom_light_flash_and_strobe_are_no_cuts(wall):
    still = wall[:360, :640]
    lit = np.clip(still * np.linspace(1.2, 1.8, 640)[:, None], 0, 255).astype(np.uint8)
    assert set(numbers_of([wall[:360, 20 * i : 20 * i + 640] for i in range(50)])) == {0}
    zoom = [cv2.resize(still[4 * i : 360 - 4 * i, 7 * i : 640 - 7 * i], (640, 360)) for i in range(30)]
    assert set(numbers_of(zoom)) == {0}
    assert set(numbers_of([still] * 20 + [lit] * 20)) == {0}
    assert numbers_of([still] * 20 + [np.full_like(still, 255)] * 3 + [still] * 20) == [0] * 20 + [1] * 3 + [0] * 20
    strobe = [np.full_like(still, 255) if i % 4 < 2 else still for i in range(40)]
    assert numbers_of(strobe)[0] == numbers_of(strobe)[-1]


def test_cuts_are_found_at_their_frame_in_light_and_through_a_flash(wall):
    a, b = wall[:360, :640], wall[360:, 900:1540]
    assert numbers_of([a] * 20 + [b] * 20) == [0] * 20 + [1] * 20
    assert numbers_of([a] * 20 + [b] * 20 + [a] * 20) == [0] * 20 + [1] * 20 + [2] * 20
    through_white = numbers_of([a] * 20 + [np.full_like(a, 255)] * 2 + [b] * 20)
    assert Counter(through_white) == {0: 20, 1: 2, 2: 20}
    faded = [(a * (1 - i / 10)).astype(np.uint8) for i in range(11)] + [
        (b * (i / 10)).astype(np.uint8) for i in range(11)
    ]
    numbers = numbers_of([a] * 20 + faded + [b] * 20)
    assert numbers[0] != numbers[-1]


def test_frames_between_two_others_are_those_that_cost_little_to_decode():
    order = tuple(range(1000))
    times, is_keyframe = tuple(i / 10 for i in order), tuple(i % 250 == 0 for i in order)
    info = VideoInfo(times, 8, 8, Fraction(10), False, decode_order=order, is_keyframe=is_keyframe)
    assert frames_between(100, 115, info, 2) == []
    assert frames_between(240, 600, info, 2) == [250, 500, 520, 540, 560, 580]
    dense = replace(info, is_keyframe=tuple(i % 15 == 0 for i in order))
    assert frames_between(0, 60, dense, 2) == [15, 30, 45]


def test_surroundings_are_those_of_a_gaussian_blur():
    picture = np.random.default_rng(0).uniform(0, 255, (36, 64)).astype(np.float32)
    assert np.abs(surroundings(picture) - cv2.GaussianBlur(picture, (0, 0), SURROUNDINGS)).max() < 1e-3


def test_original_is_cut_at_the_times_of_a_fake_of_another_rate(heads, tmp_path):
    pictures = [np.roll(picture, i, axis=1) for i, picture in enumerate(heads[0])]
    original = write(tmp_path / "original.mp4", pictures)
    fake = write(tmp_path / "fake.mp4", pictures[:40:2], rate=Fraction(25, 2))
    video = extract_faces(fake, GEOMETRY, CenterFace(0.5), 1)
    crops = crop_originals(video.faces, fake, original, GEOMETRY)
    assert len(crops) == len(video.faces) == 4
    for face in video.faces:
        assert np.abs(face.crop.astype(int) - decode_crop(crops[face.member])).mean() < 3
