"""One order and one clock of frames, whatever the timestamps of the file are."""

from fractions import Fraction

import av
import numpy as np
import pytest
from test_odd_videos import counter, numbers_in, write

from deepfake_detector.faces import video_file
from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.timestamps import HIDDEN, PacketStamps, display_order
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.faces.video_reader import read_frames

GEOMETRY = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)
STEP = 0.04  # seconds


def remux(source, target, change=lambda i, packet: True, tone=None, options=None):
    """Copy the packets of a video, each after `change`, which leaves one out by returning False.

    `tone`: start and end in seconds of a sound that is added.
    """
    with av.open(str(source)) as container, av.open(str(target), "w", options=options or {}) as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        sound = out.add_stream("aac", rate=48000, layout="mono") if tone else None
        packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
        if sound:
            samples = np.zeros((1, round((tone[1] - tone[0]) * 48000)), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, round(tone[0] * 48000), Fraction(1, 48000)
            out.mux([*sound.encode(frame), *sound.encode(None)])
        for i, packet in enumerate(packets):
            if change(i, packet):
                packet.stream = stream
                out.mux(packet)
    return target


def assert_reads_everything(path, numbers):
    """All frames are read, in order, by any choice, and `probe` gives their rising times."""
    info = probe(path)
    assert info.frames == len(numbers) and min(np.diff(info.times)) > 0
    frames = list(read_frames(path, None, info))
    assert numbers_in(frames) == numbers
    assert [frame.number for frame in frames] == list(range(len(numbers)))
    assert [frame.time for frame in frames] == pytest.approx(info.times)
    some = sorted({1, len(numbers) // 2, len(numbers) - 2})
    assert numbers_in(read_frames(path, some, info)) == [numbers[i] for i in some]
    return info


def test_stream_that_starts_between_keyframes_starts_with_the_first_picture_that_decodes(tmp_path):
    whole = write(tmp_path / "a.ts", counter(), options={"g": "20", "bf": "2"})
    cut = remux(whole, tmp_path / "b.ts", lambda i, packet: i >= 7, tone=(0, 2))
    info = assert_reads_everything(cut, list(range(20, 60)))
    with av.open(str(cut)) as container:
        start = container.start_time / av.time_base
        first = next(container.decode(video=0)).time
    assert info.times[0] == pytest.approx(first - start, abs=1e-3)  # the sound starts the clock


def test_open_group_of_pictures_behind_the_cut_is_left_out_as_far_as_it_needs_what_was_before(tmp_path):
    options = {"g": "20", "bf": "2", "x264-params": "open-gop=1:scenecut=0"}
    cut = remux(write(tmp_path / "a.ts", counter(), options=options), tmp_path / "b.ts", lambda i, packet: i >= 7)
    frames = numbers_in(read_frames(cut))
    assert frames == list(range(frames[0], 60)) and 18 <= frames[0] <= 20
    assert probe(cut).frames == len(frames)


def test_second_part_follows_the_first_where_the_clock_restarts(tmp_path):
    parts = [write(tmp_path / f"{i}.ts", counter()[40 * i : 40 * i + 40], options={"bf": "2"}) for i in (0, 1)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    info = assert_reads_everything(path, list(range(60)))
    assert info.times == pytest.approx([i * STEP for i in range(60)], abs=1e-3)
    assert info.offsets[1] - info.offsets[0] == pytest.approx(40 * STEP, abs=1e-3)


def test_frames_with_the_same_timestamp_are_spread_to_the_next_one(tmp_path):
    stamps = [0, 0.04, 0.08, 0.08, 0.08, 0.08, 0.24, 0.28]
    packets = [PacketStamps(round(t * 1000), round(t * 1000), True) for t in stamps]
    order = display_order(packets, Fraction(1, 1000), Fraction(25), None)
    assert order.times == pytest.approx([i * STEP for i in range(8)])


def test_frames_without_timestamps_follow_each_other_at_the_nominal_rate(tmp_path):
    path = write(tmp_path / "a.h264", counter(), options={"bf": "2"})
    info = assert_reads_everything(path, list(range(60)))
    assert info.times == pytest.approx([i * STEP for i in range(60)])


def test_frames_before_the_first_timestamp_come_before_it():
    """As in a file cut without re-encoding, where negative timestamps are lost; pictures are reordered."""
    stamps = [None] * 5 + [320, 200, 240, 280, 480, 360, 400, 440]  # milliseconds
    packets = [PacketStamps(stamp, None, i == 0) for i, stamp in enumerate(stamps)]
    order = display_order(packets, Fraction(1, 1000), Fraction(25), Fraction(0))
    assert order.times == pytest.approx([i * STEP for i in range(13)])


def test_avi_whose_pictures_are_reordered_is_read_in_order(tmp_path):
    info = assert_reads_everything(write(tmp_path / "a.avi", counter(), options={"bf": "3"}), list(range(60)))
    assert info.times == pytest.approx([i * STEP for i in range(60)])


def test_clock_starts_with_the_sound_where_it_comes_first(tmp_path):
    path = write(tmp_path / "a.mp4", counter())

    def delay(i, packet):
        packet.pts, packet.dts = (packet.pts + 12800, packet.dts + 12800)  # one second
        return True

    assert probe(path).times[0] == 0
    assert probe(remux(path, tmp_path / "b.mkv", delay, tone=(0, 3))).times[0] == pytest.approx(1, abs=0.03)
    assert probe(remux(path, tmp_path / "c.mkv", tone=(1, 3))).times[0] == 0


def test_slip_of_the_muxer_is_no_restart():
    stamps = [(0, 0), (3, 1), (1, 2), (2, 1), (4, 4)]  # pts, dts: the fourth dts runs back by one frame
    order = display_order([PacketStamps(*s, s[0] == 0) for s in stamps], Fraction(1, 25), Fraction(25), None)
    assert order.times == pytest.approx([0, 0.04, 0.08, 0.12, 0.16]) and order.numbers == ()
    assert len(order.offsets) == 1


def test_trimmed_file_is_whole(tmp_path):
    """An edit list shows 30 of 60 frames, and the file holds what they need."""
    path = write(tmp_path / "a.mp4", counter(), options={"bf": "2", "g": "20"})
    data = bytearray(path.read_bytes())
    edit = data.find(b"elst") + 12
    timescale = int.from_bytes(data[data.find(b"mvhd") + 16 :][:4], "big")
    data[edit : edit + 4] = round(30 * STEP * timescale).to_bytes(4, "big")
    path.write_bytes(data)
    info = assert_reads_everything(path, list(range(30)))
    assert info.missing == 0 and HIDDEN in info.decode_order


def test_frames_that_only_help_others_are_no_missing_frames(tmp_path, real_clip):
    """VP8's alternate references are packets of their own, whose show_frame bit is not set."""
    faces = [frame.image for frame in read_frames(real_clip, list(range(30)))]
    shown, path = write(tmp_path / "a.webm", faces, "libvpx", options={"b": "1M"}), tmp_path / "b.webm"
    with av.open(str(shown)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for i, packet in enumerate(packet for packet in container.demux(video=0) if packet.size):
            data = bytearray(bytes(packet))
            data[0] &= ~0x10 if i in (5, 17) else 0xFF
            changed = av.Packet(bytes(data))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, stream
            out.mux(changed)
    assert probe(path).frames == 28
    video = extract_faces(path, Geometry(28, 64, 0.5, "centerface", 0.5), CenterFace(0.5), 1)
    assert (video.status, video.reason, video.frames_read) == ("ok", "", 28)


def test_null_frames_of_an_avi_leave_their_time_and_are_no_damage(tmp_path, real_clip):
    faces = [frame.image for frame in read_frames(real_clip, list(range(30)))]
    path = remux(write(tmp_path / "a.avi", faces, "mjpeg", "yuvj420p"), tmp_path / "b.avi", lambda i, _: i % 3 != 1)
    info = probe(path)
    assert info.times == pytest.approx([i * STEP for i in range(30) if i % 3 != 1])
    video = extract_faces(path, GEOMETRY, CenterFace(0.5), 1)
    assert (video.status, video.reason) == ("ok", "")


def test_file_that_was_cut_off_says_how_many_frames_it_lacks(tmp_path, real_clip):
    faces = [frame.image for frame in read_frames(real_clip, list(range(40)))]
    whole = remux(
        write(tmp_path / "a.mp4", faces, options={"g": "10"}), tmp_path / "b.mp4", options={"movflags": "+faststart"}
    )
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    video = extract_faces(whole, GEOMETRY, CenterFace(0.5), 1)
    assert video.status == "partial" and "of the 40 frames that its header states" in video.reason


def test_video_with_too_many_frames_is_refused_before_they_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(video_file, "MAX_FRAMES", 50)
    for name in ("a.mp4", "a.ts"):
        with pytest.raises(VideoError, match="more than 50 frames; cut it into parts"):
            probe(write(tmp_path / name, counter()))
