"""Videos as they come: each oddity is made here, and must cost no more than it has to."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces import video
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import Geometry, extract_faces
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.video_reader import probe, read_frames
from deepfake_detector.inference.overlay import annotate_video
from deepfake_detector.inference.prediction import predict_people

GEOMETRY = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)


def write(
    path, images, codec="libx264", form="yuv420p", options=None, times=None, tags=(None, None), convert=(None, None)
):
    """Encode uint8 BGR images at 25 frames a second; `tags` are colour matrix and range as stated, `convert` as applied."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(
            codec, rate=25, options={"crf": "10", **(options or {})} if "264" in codec else options or {}
        )
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = form
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        space, spread = tags
        if space is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = space, spread
        for i, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture = picture.reformat(format=form, dst_colorspace=convert[0], dst_color_range=convert[1])
            picture.pts, picture.time_base = (
                (i, Fraction(1, 25)) if times is None else (round(times[i] * 1000), Fraction(1, 1000))
            )
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def counter(frames=60, size=(160, 120)):
    """Images of which the i-th is uniformly 4 * i + 3 bright (what it loses to rounding is about 3)."""
    return [np.full((size[1], size[0], 3), 4 * i + 3, np.uint8) for i in range(frames)]


def shown(frames):
    return [round(frame.image.mean() / 4) for frame in frames]


@pytest.fixture(scope="module")
def faces(real_clip):
    return [frame.image for frame in read_frames(real_clip)]


@pytest.fixture
def decoded_packets(monkeypatch):
    """Sizes of the packets that are given to the decoder."""
    sizes = []
    decode = video._decoded
    monkeypatch.setattr(
        video, "_decoded", lambda stream, packet: (sizes.append(packet and packet.size), decode(stream, packet))[1]
    )
    return sizes


@pytest.mark.parametrize(
    "options", [{"g": "10"}, {"g": "10", "x264-params": "open-gop=1:bframes=3"}, {"g": "250"}, {"bf": "0"}]
)
def test_frames_are_exact_however_they_are_reached(tmp_path, options):
    path = write(tmp_path / "a.mp4", counter(), options=options)
    for wanted in ([3, 4, 29, 58], [0, 59], [31], list(range(60))):
        frames = list(read_frames(path, wanted, probe(path)))
        assert [frame.number for frame in frames] == shown(frames) == wanted
        assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in wanted])


def test_no_more_is_decoded_than_the_wanted_frames_need(tmp_path, decoded_packets):
    path = write(tmp_path / "a.mp4", counter(), options={"g": "10", "bf": "0"})
    list(read_frames(path, [12, 53], probe(path)))
    assert len([size for size in decoded_packets if size]) == 3 + 4


def test_rates_and_keyframes_choose_by_the_video_alone(tmp_path):
    times = [0, 0.04, 0.1, 0.5, 0.52, 1.3]
    varying = probe(write(tmp_path / "a.mp4", counter(6), times=times))
    assert choose_frames(varying, 4, fps=2) == [2, 4]  # shown at 0.25 and 0.75 seconds
    steady = probe(write(tmp_path / "b.mp4", counter(), options={"g": "10", "x264-params": "scenecut=0"}))
    assert choose_frames(steady, "keyframes") == [0, 10, 20, 30, 40, 50]
    assert choose_frames(steady, 4, fps=25) == list(range(60))


@pytest.fixture
def turned(tmp_path, faces):
    """A clip as phones write it: lying on its side, with a note in the header to turn it upright."""
    path = write(tmp_path / "a.mp4", [cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE) for image in faces[:20]])
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    data[place : place + 36] = (
        np.array([0, 1, 0, -1, 0, 0, 0, 0, 2**14], ">i4")
        .tobytes()
        .replace(b"\0\0\0\1", b"\0\1\0\0")
        .replace(b"\xff\xff\xff\xff", b"\xff\xff\0\0")
    )
    path.write_bytes(data)
    return path


def test_rotation_in_the_header_turns_the_picture(turned, faces):
    image = next(read_frames(turned)).image
    assert np.abs(image.astype(int) - faces[0]).mean() < 4


def test_annotated_video_of_a_turned_one_stands_upright(turned, faces, tmp_path):
    calibration = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)
    found = extract_faces(turned, Geometry(4, 64, 0.5, "centerface", 0.5), CenterFace(0.5), 1)
    judgement = predict_people(found, np.full(4, 2, np.float32), calibration)
    annotate_video(turned, tmp_path / "out.mp4", judgement, calibration)
    image = next(read_frames(tmp_path / "out.mp4")).image
    height, width = faces[0].shape[:2]
    assert image.shape[1] == width and image.shape[0] > height
    x1, y1, x2, y2 = found.faces[0].detection.box.astype(int)
    inside = np.s_[y1 + 10 : y2 - 10, x1 + 10 : x2 - 10]
    assert np.abs(image[inside].astype(int) - faces[0][inside]).mean() < 6
    assert np.abs(image[y1, x1:x2].astype(int) - faces[0][y1, x1:x2]).mean() > 20


@pytest.mark.parametrize("space", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("spread", [ColorRange.MPEG, ColorRange.JPEG])
def test_colours_are_those_the_video_names(tmp_path, space, spread):
    image = np.full((120, 160, 3), (40, 90, 200), np.uint8)
    path = write(tmp_path / "a.mp4", [image] * 3, tags=(space, spread), convert=(space, spread))
    assert np.abs(next(read_frames(path)).image.astype(int) - (40, 90, 200)).max() <= 4


@pytest.mark.parametrize(("size", "space"), [((320, 240), Colorspace.ITU601), ((1280, 720), Colorspace.ITU709)])
def test_colours_that_no_one_names_are_those_of_the_size(tmp_path, size, space):
    image = np.full((size[1], size[0], 3), (40, 90, 200), np.uint8)
    path = write(tmp_path / "a.mp4", [image] * 2, convert=(space, ColorRange.MPEG))
    assert np.abs(next(read_frames(path)).image.astype(int) - (40, 90, 200)).max() <= 4


def test_ten_bits_and_odd_sizes(tmp_path, faces):
    odd = [np.ascontiguousarray(image[:-1, :-1]) for image in faces[:20]]
    for name, codec, form in (
        ("a.mkv", "ffv1", "yuv420p10le"),
        ("b.mkv", "ffv1", "yuv420p"),
        ("c.mp4", "libx264", "yuv444p"),
    ):
        path = write(tmp_path / name, odd, codec, form)
        frame = next(read_frames(path))
        assert frame.image.shape == odd[0].shape and np.abs(frame.image.astype(int) - odd[0]).mean() < 3
        assert len(extract_faces(path, GEOMETRY, CenterFace(0.5), 1).faces) == 6


def test_interlaced_video_shows_no_combs(tmp_path, faces):
    """Two moments woven into one frame, as a camera of old writes them."""
    woven = []
    for a, b in zip(faces[:40:2], faces[1:40:2], strict=False):
        image = a.copy()
        image[1::2] = np.roll(b, 12, axis=1)[1::2]
        woven.append(image)
    path = write(tmp_path / "a.mp4", woven, options={"x264-params": "interlaced=1"})
    frame = next(read_frames(path)).image.astype(int)
    combs = np.abs(2 * frame[1:-1:2] - frame[:-2:2] - frame[2::2]).mean()
    plain = np.abs(2 * woven[0][1:-1:2].astype(int) - woven[0][:-2:2] - woven[0][2::2]).mean()
    assert combs < 0.2 * plain
    assert len(extract_faces(path, GEOMETRY, CenterFace(0.5), 1).faces) == 6


def test_picture_is_found_among_several_streams(tmp_path, faces):
    """A cover picture first, then sound, then the video."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        cover, sound, main = (
            out.add_stream("mjpeg"),
            out.add_stream("aac", rate=44100),
            out.add_stream("libx264", rate=25),
        )
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        main.height, main.width = faces[0].shape[:2]
        main.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        out.mux(cover.encode(picture))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 44100, 0
        out.mux(sound.encode(samples))
        for i, image in enumerate(faces[:20]):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            out.mux(main.encode(picture))
        out.mux([*cover.encode(None), *sound.encode(None), *main.encode(None)])
    assert probe(path).frames == 20
    assert next(read_frames(path)).image.shape == faces[0].shape


def test_header_without_duration_or_count(tmp_path, faces):
    path = write(tmp_path / "a.mpg", faces[:30], "mpeg1video", options={"b": "2M", "g": "12", "bf": "2"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    video = extract_faces(path, GEOMETRY, CenterFace(0.5), 1)
    assert (video.status, video.frames_read) == ("ok", 6)
    assert [face.frame for face in video.faces] == [2, 7, 12, 17, 22, 27]


def test_file_cut_short_gives_what_is_there_and_says_what_is_not(tmp_path, faces):
    path = write(tmp_path / "a.avi", faces[:40], "mpeg4", options={"b": "2M", "g": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    video = extract_faces(path, GEOMETRY, CenterFace(0.5), 1)
    assert video.status == "partial" and len(video.faces) >= 3
    assert "of the 40 frames that its header promises" in video.reason


def test_damage_in_the_middle_costs_the_frames_it_hits(tmp_path, faces):
    path = write(tmp_path / "a.ts", faces[:50], options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    middle = slice(len(data) * 4 // 10, len(data) * 6 // 10)
    data[middle] = rng.integers(0, 255, middle.stop - middle.start, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    info = probe(path)
    frames = list(read_frames(path, list(range(info.frames)), info))
    assert 20 <= len(frames) < 50
    assert [frame.number for frame in frames] == sorted({frame.number for frame in frames})
    assert np.abs(frames[-1].image.astype(int) - faces[49]).mean() < 4
