"""Unusual and damaged videos: each is made here, and no more frames may be lost than the file makes necessary."""

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces import video_file, video_reader
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.mp4_boxes import listed_pictures
from deepfake_detector.faces.sampling import choose_frames
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.inference.overlay import annotate_video
from deepfake_detector.inference.prediction import predict_people

GEOMETRY = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)


def write(
    path, images, codec="libx264", form="yuv420p", options=None, times=None, tags=(None, None), convert=(None, None)
):
    """Encode uint8 BGR images at 25 frames a second.

    `tags` are the colour matrix and the range that the stream states, `convert` those that are applied.
    """
    with av.open(str(path), "w") as out:
        quality = {"crf": "10"} if "264" in codec else {}
        stream = out.add_stream(codec, rate=25, options=quality | (options or {}))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = form
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        matrix, color_range = tags
        if matrix is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        for i, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture = picture.reformat(format=form, dst_colorspace=convert[0], dst_color_range=convert[1])
            picture.pts, picture.time_base = i, Fraction(1, 25)
            if times is not None:
                picture.pts, picture.time_base = round(times[i] * 1000), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def counter(frames=60, size=(160, 120)):
    """Images in which the i-th has the uniform brightness 4 * i + 3; conversion to YUV and back loses about 3."""
    return [np.full((size[1], size[0], 3), 4 * i + 3, np.uint8) for i in range(frames)]


def numbers_in(frames):
    """The numbers that frames of `counter` show."""
    return [round(frame.image.mean() / 4) for frame in frames]


@pytest.fixture(scope="module")
def faces(real_clip):
    return [frame.image for frame in read_frames(real_clip)]


@pytest.fixture
def decoded_packets(monkeypatch):
    """Sizes of the packets that are given to the decoder."""
    sizes = []
    decode = video_reader._decode

    def record_size(stream, packet):
        sizes.append(packet and packet.size)
        return decode(stream, packet)

    monkeypatch.setattr(video_reader, "_decode", record_size)
    return sizes


@pytest.mark.parametrize(
    "options", [{"g": "10"}, {"g": "10", "x264-params": "open-gop=1:bframes=3"}, {"g": "250"}, {"bf": "0"}]
)
def test_frames_and_times_are_exact_for_any_group_of_pictures(tmp_path, options):
    path = write(tmp_path / "a.mp4", counter(), options=options)
    for wanted in ([3, 4, 29, 58], [0, 59], [31], list(range(60))):
        frames = list(read_frames(path, wanted, probe(path)))
        assert [frame.number for frame in frames] == numbers_in(frames) == wanted
        assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in wanted])


def test_no_more_is_decoded_than_the_wanted_frames_need(tmp_path, decoded_packets):
    path = write(tmp_path / "a.mp4", counter(), options={"g": "10", "bf": "0"})
    list(read_frames(path, [12, 53], probe(path)))
    assert len([size for size in decoded_packets if size]) == 1 + 3 + 4  # the first one, which all may need


def test_few_frames_before_a_keyframe_are_decoded_for_a_look_at_what_lies_between(tmp_path, decoded_packets):
    path = write(tmp_path / "a.mp4", counter(), options={"g": "10", "bf": "0"})
    frames = list(read_frames(path, [12, 33], probe(path)))
    assert [moment.number for moment in frames[1].passed] == list(range(13, 33))
    assert len([size for size in decoded_packets if size]) == 1 + 3 + 21


@pytest.mark.parametrize("number", [60, -1])
def test_frame_that_a_video_lacks_is_named(tmp_path, number):
    path = write(tmp_path / "a.mp4", counter())
    with pytest.raises(ValueError, match=f"has the frames 0 to 59, and none of number {number}"):
        list(read_frames(path, [3, number]))


def test_frames_are_chosen_by_rate_or_by_keyframes(tmp_path):
    times = [0, 0.04, 0.1, 0.5, 0.52, 1.3]
    varying = probe(write(tmp_path / "a.mp4", counter(6), times=times))
    assert choose_frames(varying, 4, fps=2) == [2, 4]  # shown at 0.25 and 0.75 seconds
    steady = probe(write(tmp_path / "b.mp4", counter(), options={"g": "10", "x264-params": "scenecut=0"}))
    assert choose_frames(steady, "keyframes") == [0, 10, 20, 30, 40, 50]
    unknown = replace(steady, decode_order=(), is_keyframe=())
    assert choose_frames(unknown, "keyframes") == choose_frames(unknown, 1, 1.0)
    assert choose_frames(steady, 4, fps=25) == list(range(60))
    centuries = replace(varying, times=(0.0, 0.04, 1e12))
    assert choose_frames(centuries, 4, fps=2) == [1]


@pytest.fixture
def rotated(tmp_path, faces):
    """A clip as phones write it: pictures that lie on their side, and a header with a matrix that turns them."""
    path = write(tmp_path / "a.mp4", [cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE) for image in faces[:20]])
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 44  # offset of the display matrix
    data[matrix : matrix + 36] = (
        np.array([0, 1, 0, -1, 0, 0, 0, 0, 2**14], ">i4")
        .tobytes()
        .replace(b"\0\0\0\1", b"\0\1\0\0")
        .replace(b"\xff\xff\xff\xff", b"\xff\xff\0\0")
    )
    path.write_bytes(data)
    return path


def test_rotation_in_the_header_is_applied(rotated, faces):
    image = next(read_frames(rotated)).image
    assert np.abs(image.astype(int) - faces[0]).mean() < 4


def test_annotated_video_of_a_rotated_video_is_upright(rotated, faces, tmp_path):
    calibration = Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6)
    found = extract_faces(rotated, Geometry(4, 64, 0.5, "centerface", 0.5), CenterFace(0.5), 1)
    prediction = predict_people(found, np.full(4, 2, np.float32), calibration)
    annotate_video(rotated, tmp_path / "out.mp4", prediction, calibration)
    image = next(read_frames(tmp_path / "out.mp4")).image
    height, width = faces[0].shape[:2]
    assert image.shape[1] == width and image.shape[0] > height
    x1, y1, x2, y2 = found.faces[0].detection.box.astype(int)
    inside = np.s_[y1 + 10 : y2 - 10, x1 + 10 : x2 - 10]
    assert np.abs(image[inside].astype(int) - faces[0][inside]).mean() < 6
    edge = np.s_[y1 - 2 : y1 + 2, x1:x2]
    assert np.abs(image[edge].astype(int) - faces[0][edge]).mean(axis=(1, 2)).max() > 20


@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("color_range", [ColorRange.MPEG, ColorRange.JPEG])
def test_stated_colour_matrix_and_range_are_applied(tmp_path, matrix, color_range):
    image = np.full((120, 160, 3), (40, 90, 200), np.uint8)
    path = write(tmp_path / "a.mp4", [image] * 3, tags=(matrix, color_range), convert=(matrix, color_range))
    assert np.abs(next(read_frames(path)).image.astype(int) - (40, 90, 200)).max() <= 4


@pytest.mark.parametrize(("size", "matrix"), [((320, 240), Colorspace.ITU601), ((1280, 720), Colorspace.ITU709)])
def test_colour_matrix_that_is_not_stated_follows_from_the_height(tmp_path, size, matrix):
    image = np.full((size[1], size[0], 3), (40, 90, 200), np.uint8)
    path = write(tmp_path / "a.mp4", [image] * 2, convert=(matrix, ColorRange.MPEG))
    assert np.abs(next(read_frames(path)).image.astype(int) - (40, 90, 200)).max() <= 4


def test_pixel_formats_and_odd_sizes_are_read(tmp_path, faces):
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
    """Each frame holds the lines of two moments, as interlacing cameras write them."""
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


def test_video_stream_is_found_among_several_streams(tmp_path, faces):
    """A cover picture comes first, then audio, then the video."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        cover = out.add_stream("mjpeg")
        audio = out.add_stream("aac", rate=44100)
        main = out.add_stream("libx264", rate=25)
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
        out.mux(audio.encode(samples))
        for i, image in enumerate(faces[:20]):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            out.mux(main.encode(picture))
        out.mux([*cover.encode(None), *audio.encode(None), *main.encode(None)])
    assert probe(path).frames == 20
    assert next(read_frames(path)).image.shape == faces[0].shape


def test_frames_are_spread_over_a_video_whose_header_states_no_length(tmp_path, faces):
    path = write(tmp_path / "a.mpg", faces[:30], "mpeg1video", options={"b": "2M", "g": "12", "bf": "2"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    video = extract_faces(path, GEOMETRY, CenterFace(0.5), 1)
    assert (video.status, video.frames_read) == ("ok", 6)
    assert [face.frame for face in video.faces] == [2, 7, 12, 17, 22, 27]


def test_truncated_file_gives_its_frames_and_reports_the_missing_ones(tmp_path, faces):
    path = write(tmp_path / "a.avi", faces[:40], "mpeg4", options={"b": "2M", "g": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    video = extract_faces(path, GEOMETRY, CenterFace(0.5), 1)
    assert video.status == "partial" and len(video.faces) >= 3
    assert "of the 40 frames that its header states" in video.reason


@pytest.mark.parametrize("name, codec", [("a.mkv", "libx264"), ("a.webm", "libvpx")])
def test_matroska_that_is_shorter_than_its_header_states_is_told_from_a_whole_one(tmp_path, name, codec):
    path = write(tmp_path / name, counter(), codec)
    whole = path.read_bytes()
    assert not probe(path).ends_early
    path.write_bytes(whole[: len(whole) * 6 // 10])
    assert probe(path).ends_early and probe(path).frames < 60
    assert (
        "the file ends before the end that its header states"
        in extract_faces(path, GEOMETRY, CenterFace(0.5), 1).reason
    )
    segment = whole.index(b"\x18\x53\x80\x67") + 4  # its length follows, here in eight bytes
    path.write_bytes(whole[:segment] + b"\1" + 7 * b"\xff" + whole[segment + 8 : len(whole) * 6 // 10])
    assert not probe(path).ends_early, "what is recorded live states no length"


def test_pictures_that_need_a_keyframe_which_was_cut_off_are_not_called_damaged(tmp_path, faces):
    """Trimming without encoding again leaves pictures that are shown before the first keyframe."""
    path, cut = tmp_path / "a.mkv", tmp_path / "cut.mkv"
    write(path, faces[:40], "mpeg2video", options={"b": "4M", "g": "20", "bf": "2"})
    with av.open(str(path)) as source, av.open(str(cut), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        second = [i for i, packet in enumerate(packets) if packet.is_keyframe][1]
        for packet in packets[second:]:
            packet.stream = stream
            out.mux(packet)
    video = extract_faces(cut, replace(GEOMETRY, frames=20), CenterFace(0.5), 1)
    assert video.frames_read < video.frames_wanted and (video.status, video.reason) == ("ok", "")


def test_damage_in_the_middle_costs_only_the_frames_around_it(tmp_path, faces):
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


class LateStreamContainer:
    """A container in which a stream appears after it was opened: PyAV then raises IndexError at the end of demuxing."""

    def __init__(self, path):
        self._container = av.open(str(path))

    def __getattr__(self, name):
        return getattr(self._container, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._container.close()

    def demux(self, stream):
        yield from self._container.demux(stream)
        raise IndexError("list index out of range")


def test_stream_that_appears_late_costs_no_frame(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", counter())
    for module in (video_file, video_reader):
        monkeypatch.setattr(module, "open_video", LateStreamContainer)
    info = probe(path)
    assert info.frames == 60
    assert numbers_in(read_frames(path)) == list(range(60))
    assert numbers_in(read_frames(path, [3, 59], info)) == [3, 59]


@pytest.mark.parametrize("movflags, kind, place", [("faststart", b"stsz", 8), ("empty_moov+frag_keyframe", b"trun", 4)])
def test_index_of_too_many_pictures_is_refused_before_ffmpeg_holds_it(movflags, kind, place, tmp_path, monkeypatch):
    """The number of entries that an index states is changed. FFmpeg would need 24 bytes for each."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": movflags}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height = stream.width = 64
        for value in range(8):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), value, np.uint8))))
        output.mux(stream.encode(None))
    assert listed_pictures(path) == 8 == probe(path).frames
    data = bytearray(path.read_bytes())
    at = data.index(kind) + 4 + place
    data[at : at + 4] = (20_000_000).to_bytes(4, "big")
    path.write_bytes(data)
    monkeypatch.setattr(video_file.av, "open", None)
    with pytest.raises(video_file.VideoError, match="more than 2,000,000 frames"):
        probe(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0\x08moov", b"\0\0\0\x10moov\0\0\0\0trak", b"\0\0\0\x09moof" * 999, b"ftyp"]
)
def test_boxes_that_make_no_sense_list_no_picture(content, tmp_path):
    (tmp_path / "a.mp4").write_bytes(content)
    assert listed_pictures(tmp_path / "a.mp4") == 0
