"""Reading, sampling and writing video."""

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.faces.video_writer import VideoWriter

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="only the program ffmpeg writes DTS")


def write_counter(path, frames=30, size=(160, 120), rate=25, times=None):
    """A video in which frame i has the uniform brightness 8 * i."""
    with VideoWriter(path, Fraction(rate), size, crf=10) as writer:
        for i in range(frames):
            writer.write(np.full((size[1], size[0], 3), min(8 * i, 255), np.uint8), times[i] if times else i / rate)
    return path


def test_chosen_frames_are_read_with_their_numbers_and_times(tmp_path):
    path = write_counter(tmp_path / "a.mp4")
    frames = list(read_frames(path, [0, 7, 29]))
    assert [frame.number for frame in frames] == [0, 7, 29]
    assert [frame.time for frame in frames] == pytest.approx([0, 7 / 25, 29 / 25])
    assert [round(frame.image.mean() / 8) for frame in frames] == [0, 7, 29]


def test_pictures_that_are_decoded_on_the_way_are_passed_in_order(tmp_path):
    path = write_counter(tmp_path / "a.mp4")
    thumbnails = {frame.number: frame.moment.thumbnail for frame in read_frames(path)}
    first, second = read_frames(path, [3, 29])
    assert {moment.number for moment in first.passed} <= {0, 1, 2}
    numbers = [moment.number for moment in second.passed]
    assert 3 < len(numbers) < 25 and numbers == sorted(set(numbers)) and numbers[0] > 3 and numbers[-1] < 29
    for moment in [*first.passed, *second.passed]:
        assert np.array_equal(moment.thumbnail, thumbnails[moment.number])


def test_first_packet_is_read_even_if_a_later_keyframe_starts(tmp_path):
    """Old x264 errs in 4:4:4. FFmpeg errs alike if the first packet names such a version, as in FaceForensics++.

    Here a new x264 is named an old one, so what FFmpeg reads is garbage, which differs from time to time.
    """
    path = tmp_path / "a.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv444p"
        stream.options = {"crf": "30", "g": "40", "keyint_min": "40", "sc_threshold": "0"}
        base = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8)
        for i in range(80):
            image = np.kron(np.roll(base, i // 4, axis=1), np.ones((8, 8, 1), np.uint8))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    assert data.count(b"core 1") == 1
    at = data.index(b"core 1")
    (clean,) = read_frames(path, [60])
    path.write_bytes(data[:at] + b"core 148" + data[at + 8 :])
    (frame,) = read_frames(path, [60])
    assert np.abs(frame.image.astype(int) - clean.image).mean() > 20


def test_header_in_the_middle_of_a_stream_is_read_even_if_a_later_keyframe_starts(tmp_path):
    """A recorded stream whose sender started anew: FLV states the parameters of H.264 there, and nowhere else."""
    rng, tags = np.random.default_rng(0), []
    base = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8)
    for part, matrix in enumerate(("flat", "jvt")):
        path = tmp_path / f"{matrix}.flv"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", 25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            stream.options = {"crf": "30", "g": "40", "sc_threshold": "0", "bf": "0", "x264-params": f"cqm={matrix}"}
            for i in range(120):
                image = np.kron(np.roll(base, i // 4, axis=1), np.ones((8, 8, 1), np.uint8))
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode(None))
        data, at = path.read_bytes(), 13
        while at < len(data):
            size = int.from_bytes(data[at + 1 : at + 4], "big")
            time = int.from_bytes(data[at + 4 : at + 7], "big") + 4800 * part
            is_end = data[at] == 9 and data[at + 12] == 2
            if data[at] == 9 and not is_end:
                tags.append(data[at : at + 4] + time.to_bytes(3, "big") + data[at + 7 : at + size + 15])
            at += size + 15
    path = tmp_path / "both.flv"
    path.write_bytes(b"FLV\x01\x01\0\0\0\x09\0\0\0\0" + b"".join(tags))
    expected = {frame.number: frame.image for frame in read_frames(path)}
    assert len(expected) == 240
    for frame in read_frames(path, [60, 220]):
        assert np.array_equal(frame.image, expected[frame.number])


def test_no_wanted_frame_gives_no_frame(tmp_path):
    assert list(read_frames(write_counter(tmp_path / "a.mp4", 3), [])) == []


def test_even_spread_covers_all_items_and_never_repeats_one():
    assert evenly_spread(100, 4) == [12, 37, 62, 87]
    assert evenly_spread(3, 16) == [0, 1, 2]


def test_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0, 0.04, 0.1, 0.5, 0.52, 1.3]
    path = write_counter(tmp_path / "vfr.mp4", 6, times=times)
    assert probe(path).times == pytest.approx(times, abs=1e-3)
    assert [frame.time for frame in read_frames(path)] == pytest.approx(times, abs=1e-3)


def test_odd_size_is_padded_for_the_encoder(tmp_path):
    path = write_counter(tmp_path / "odd.mp4", 3, (161, 121))
    assert next(read_frames(path)).image.shape == (122, 162, 3)


def test_rotation_of_the_container_is_applied(tmp_path):
    plain, rotated = write_counter(tmp_path / "plain.mp4", 5), tmp_path / "rotated.mp4"
    with av.open(str(plain)) as container, av.open(str(rotated), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(90)
        copy_packets(container, out, stream)
    assert next(read_frames(rotated)).image.shape == (160, 120, 3)


def copy_packets(container, out, stream):
    """Write the video packets of `container` to `stream` of `out`."""
    for packet in container.demux(video=0):
        if packet.dts is not None:
            packet.stream = stream
            out.mux(packet)


def test_truncated_file_gives_the_frames_that_decode(real_clip, tmp_path):
    """A transport stream needs no index at its end, so half a file is half a video."""
    whole, half = tmp_path / "whole.ts", tmp_path / "half.ts"
    with av.open(str(real_clip)) as container, av.open(str(whole), "w", format="mpegts") as out:
        copy_packets(container, out, out.add_stream_from_template(container.streams.video[0]))
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert 0 < len(list(read_frames(half))) < len(list(read_frames(whole)))


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100])
def test_file_that_is_no_video_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"text\.mp4"):
        probe(path)


def test_truncated_index_is_an_error(real_clip, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(real_clip.read_bytes()[:200])
    with pytest.raises(VideoError):
        list(read_frames(path))


def test_sound_is_carried_over(tmp_path):
    silent, loud, copy = write_counter(tmp_path / "silent.mp4"), tmp_path / "loud.mp4", tmp_path / "copy.mp4"
    add_tone(silent, loud)
    with VideoWriter(copy, Fraction(25), (160, 120), sound_from=loud) as writer:
        for frame in read_frames(loud):
            writer.write(frame.image, frame.time)
    with av.open(str(loud)) as a, av.open(str(copy)) as b:
        original = np.concatenate([frame.to_ndarray() for frame in a.decode(audio=0)], axis=1)
        copied = np.concatenate([frame.to_ndarray() for frame in b.decode(audio=0)], axis=1)
    assert copied.shape == original.shape
    assert np.abs(original - copied)[0, 5_000:40_000].max() < 0.1


def test_audio_that_mp4_cannot_hold_is_encoded_as_aac(tmp_path):
    silent, loud, copy = write_counter(tmp_path / "silent.mp4"), tmp_path / "loud.mkv", tmp_path / "copy.mp4"
    add_tone(silent, loud, "pcm_s16le", "s16")
    with VideoWriter(copy, Fraction(25), (160, 120), sound_from=loud) as writer:
        for frame in read_frames(loud):
            writer.write(frame.image, frame.time)
    with av.open(str(copy)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        tone = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert np.abs(tone[0, 10_000:30_000]).max() == pytest.approx(1, abs=0.1)


def add_tone(silent, loud, codec="aac", form="fltp"):
    """Copy a video and add one second of 440 Hz."""
    with av.open(str(silent)) as container, av.open(str(loud), "w") as out:
        video = out.add_stream_from_template(container.streams.video[0])
        audio = out.add_stream(codec, rate=44100, layout="mono")
        copy_packets(container, out, video)
        wave = np.sin(np.arange(44100) * 440 * 2 * np.pi / 44100)[None]
        samples = wave.astype(np.float32) if form == "fltp" else (wave * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))


@pytest.mark.parametrize(("preset", "threads"), [("veryfast", 1), ("superfast", 2)])
def test_same_frames_give_same_bytes(tmp_path, preset, threads):
    """Noise over drifting blobs: on such frames the encoder's lookahead varied in one run of four."""
    rng = np.random.default_rng(0)
    field = cv2.GaussianBlur(rng.integers(0, 255, (288, 400, 3), dtype=np.uint8), (0, 0), 3).astype(int)
    frames = [
        np.clip(field[:, i : i + 288] + rng.normal(0, 3, (288, 288, 1)), 0, 255).astype(np.uint8) for i in range(50)
    ]
    contents = set()
    for run in range(12):
        with VideoWriter(tmp_path / f"{run}.mp4", Fraction(25), (288, 288), 22, preset, threads) as writer:
            for i, frame in enumerate(frames):
                writer.write(frame, i / 25)
        contents.add((tmp_path / f"{run}.mp4").read_bytes())
    assert len(contents) == 1


def test_times_rise_even_where_those_given_do_not(tmp_path):
    path = write_counter(tmp_path / "a.mp4", 4, times=[0, 0.04, 0.04, 0.02])
    assert (np.diff(probe(path).times) > 0).all() and probe(path).frames == 4


@pytest.mark.parametrize(("size", "matrix"), [((320, 240), 6), ((1280, 720), 1)])
def test_written_video_states_its_colours_and_has_them(tmp_path, size, matrix):
    """The numbers of ITU-T H.273: 1 is BT.709, 6 is SMPTE 170M."""
    image = np.full((size[1], size[0], 3), (40, 90, 200), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", Fraction(25), size) as writer:
        writer.write(image, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (matrix,) * 3
        assert context.color_range == ColorRange.MPEG
        y, u, v = (bytes(plane)[0] for plane in next(container.decode(video=0)).planes)
    red, blue = (0.299, 0.114) if matrix == 6 else (0.2126, 0.0722)
    luma = red * 200 + (1 - red - blue) * 90 + blue * 40
    expected = [
        16 + luma * 219 / 255,
        128 + (40 - luma) / (1 - blue) * 112 / 255,
        128 + (200 - luma) / (1 - red) * 112 / 255,
    ]
    assert [int(y), int(u), int(v)] == pytest.approx(expected, abs=1.1)


def write_flashes(path, sound, layout="mono", rate=48000, size=(64, 48), seconds=3, first_picture=0.0):
    """White frames at 1 and 2 seconds, each with a beep of 0.04 seconds; `sound` is the codec."""
    with av.open(str(path), "w") as out:
        codec = "mpeg4" if path.suffix == ".avi" else "libx264"
        video = out.add_stream(codec, rate=25, options={"g": "25", "bf": "0"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = out.add_stream(sound, rate=rate, layout=layout)
        for i in range(seconds * 25):
            is_flash = i % 25 == 0 and i > 0
            if i / 25 >= first_picture:
                picture = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 255 * is_flash, np.uint8), "bgr24")
                picture.pts, picture.time_base = i, Fraction(1, 25)
                out.mux(video.encode(picture))
            start, end = i * rate // 25, (i + 1) * rate // 25
            wave = is_flash * 0.5 * np.sin(np.arange(start, end) * 2 * np.pi * 1000 / rate)
            samples = np.repeat((wave * 32767).astype(np.int16), av.AudioLayout(layout).nb_channels)[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            out.mux(audio.encode(frame))
        out.mux([*video.encode(None), *audio.encode(None)])
    return path


def rewrite(source, target):
    """Write the pictures and the sound of `source` again; return what is missing of the sound."""
    info = probe(source)
    with VideoWriter(target, info.rate, (info.width, info.height), sound_from=source, info=info) as writer:
        for frame in read_frames(source, None, info):
            writer.write(frame.image, frame.time)
    return writer.missing_sound


def flashes_and_beeps(path):
    """Seconds at which a white frame and a beep begin."""
    with av.open(str(path)) as container:
        white = [(frame.time, frame.to_ndarray(format="gray").mean() > 128) for frame in container.decode(video=0)]
    flashes = [time for (time, is_white), (_, before) in zip(white[1:], white, strict=False) if is_white and not before]
    with av.open(str(path)) as container:
        parts = [(frame.time, frame.sample_rate, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    loud = [part[0] + i / part[1] for part in parts for i in np.flatnonzero(np.abs(part[2]) > 0.15)]
    return flashes, [time for i, time in enumerate(loud) if not i or time - loud[i - 1] > 0.2]


@pytest.mark.parametrize(
    ("name", "sound", "layout", "rate"),
    [
        ("a.avi", "pcm_s16le", "stereo", 44100),
        ("a.avi", "pcm_u8", "mono", 11024),
        ("a.mkv", "pcm_s16le", "mono", 22222),
        ("a.mkv", "pcm_s16le", "6.1", 48000),
        ("a.mov", "pcm_s16le", "7.1", 48000),
        ("a.mov", "pcm_s16le", "hexadecagonal", 48000),
        ("a.mp4", "aac", "mono", 44100),
    ],
)
def test_sound_of_any_layout_and_rate_is_written_in_time(tmp_path, name, sound, layout, rate):
    path = write_flashes(tmp_path / name, sound, layout, rate)
    assert rewrite(path, tmp_path / "out.mp4") == ""
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert flashes == pytest.approx([1, 2], abs=0.002) and beeps == pytest.approx(flashes, abs=0.01)


def test_first_sound_track_without_a_decoder_is_passed_over(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(write_flashes(tmp_path / "b.mkv", "aac"))) as source, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        tracks = [out.add_stream_from_template(source.streams.audio[0]) for _ in range(2)]
        copy_packets(source, out, video)
        for track in tracks:
            source.seek(0)
            for packet in source.demux(audio=0):
                if packet.dts is not None:
                    packet.stream = track
                    out.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_APA", 1))
    assert rewrite(path, tmp_path / "out.mp4") == ""
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert beeps == pytest.approx(flashes, abs=0.03) and len(beeps) == 2  # the copy lacks the encoder's delay
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_APA"))
    assert rewrite(path, tmp_path / "out.mp4") == "no sound: its sound cannot be decoded"
    assert probe(tmp_path / "out.mp4").frames == 75


def test_sound_track_without_content_is_not_missed(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(write_flashes(tmp_path / "b.mkv", "aac"))) as source, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        out.add_stream_from_template(source.streams.audio[0])
        copy_packets(source, out, video)
    assert probe(path).has_audio and rewrite(path, tmp_path / "out.mp4") == ""


def test_damaged_sound_costs_only_itself(tmp_path):
    path = write_flashes(tmp_path / "a.ts", "aac")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for start in range(len(data) * 55 // 100 // 188 * 188, len(data) * 62 // 100, 188):
        if data[start + 1] & 31 == 1 and data[start + 2] == 1:  # the second stream
            data[start + 24 : start + 188] = rng.integers(0, 255, 164, np.uint8).tobytes()
    path.write_bytes(data)
    rewrite(path, tmp_path / "out.mp4")
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert len(flashes) == 2 and min(abs(np.array(beeps) - flashes[1])) < 0.02


@pytest.mark.parametrize(("name", "late", "seconds"), [("a.ts", 0.48, 3), ("a.mkv", 20.48, 23)])
def test_pictures_that_start_late_keep_their_distance_from_the_sound(tmp_path, name, late, seconds):
    """As in a call whose camera was turned on later."""
    path = write_flashes(tmp_path / name, "aac", first_picture=late, seconds=seconds)
    assert rewrite(path, tmp_path / "out.mp4") == ""
    assert probe(tmp_path / "out.mp4").times[0] == pytest.approx(probe(path).times[0], abs=0.001)
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert len(flashes) == 2 and len(beeps) == seconds - 1 and beeps[-2:] == pytest.approx(flashes, abs=0.01)


def test_sound_follows_a_clock_that_restarts(tmp_path):
    path = write_flashes(tmp_path / "a.ts", "aac")
    path.write_bytes(path.read_bytes() * 2)
    rewrite(path, tmp_path / "out.mp4")
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert len(flashes) == 4 and beeps == pytest.approx(flashes, abs=0.04)


def with_dts(path):
    """The same video with DTS sound, which PyAV does not write."""
    target = path.with_suffix(".dts.ts")
    command = ["ffmpeg", "-v", "error", "-i", path, "-c:v", "copy", "-c:a", "dca", "-strict", "experimental", target]
    subprocess.run(command, check=True)
    return target


@pytest.mark.parametrize(
    ("codec", "first", "second"),
    [
        ("ac3", ("stereo", 48000), ("5.1", 44100)),
        ("aac", ("5.1", 48000), ("mono", 24000)),
        ("mp2", ("stereo", 48000), ("mono", 44100)),
        pytest.param("dts", ("stereo", 48000), ("5.1", 44100), marks=needs_ffmpeg),
    ],
)
def test_sound_that_changes_its_layout_and_rate_is_written_to_its_end(tmp_path, codec, first, second):
    """As between a film and advertisements in a recording of a broadcast."""
    written = "ac3" if codec == "dts" else codec
    parts = [write_flashes(tmp_path / f"{rate}.ts", written, layout, rate) for layout, rate in (first, second)]
    parts = [with_dts(part) for part in parts] if codec == "dts" else parts
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert rewrite(path, tmp_path / "out.mp4") == ""
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert len(flashes) == 4 and beeps == pytest.approx(flashes, abs=0.06)


def test_sound_that_can_be_decoded_only_up_to_a_change_is_named(tmp_path):
    """LATM may define unusual layouts, so it is decoded by libavfilter, which ends where the layout changes."""
    parts = []
    for layout in ("stereo", "mono"):
        source = av.open(str(write_flashes(tmp_path / f"{layout}.mp4", "aac", layout)))
        target = tmp_path / f"{layout}.ts"
        with source, av.open(str(target), "w", options={"mpegts_flags": "latm"}) as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
        parts.append(target.read_bytes())
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(parts))
    assert rewrite(path, tmp_path / "out.mp4") == "only a part of its sound: the rest cannot be decoded"
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert len(flashes) == 4 and beeps == pytest.approx(flashes[:2], abs=0.06)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_sound_of_a_file_whose_name_is_not_utf8_is_kept(tmp_path):
    path = (tmp_path / os.fsdecode(b"caf\xe9.mkv")).absolute()
    path.write_bytes(write_flashes(tmp_path / "a.mkv", "aac").read_bytes())
    assert rewrite(path, tmp_path / "out.mp4") == ""
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert beeps == pytest.approx(flashes, abs=0.03) and len(beeps) == 2


def test_edit_lists_that_show_nothing_are_passed_over(tmp_path):
    """Old versions of MP4Box state that no second of a track is shown, and players show all of it."""
    path = write_flashes(tmp_path / "a.mp4", "aac")
    data = bytearray(path.read_bytes())
    for place in (match.start() for match in re.finditer(b"elst", data)):
        data[place + 12 : place + 16] = bytes(4)  # the duration of the edit
    path.write_bytes(data)
    assert probe(path).frames == 75 and probe(path).times[0] == 0
    assert rewrite(path, tmp_path / "out.mp4") == ""
    flashes, beeps = flashes_and_beeps(tmp_path / "out.mp4")
    assert len(flashes) == 2 and beeps == pytest.approx(flashes, abs=0.03)


def test_endless_silence_in_the_timestamps_is_not_written(tmp_path):
    """The second half of the sound claims to come ten hours later."""
    path = tmp_path / "a.mkv"
    with av.open(str(write_flashes(tmp_path / "b.mkv", "aac"))) as source, av.open(str(path), "w") as out:
        video, audio = (
            out.add_stream_from_template(stream) for stream in (source.streams.video[0], source.streams.audio[0])
        )
        for packet in source.demux():
            if packet.dts is not None:
                if packet.stream.type == "audio" and packet.pts * packet.time_base > 1.5:
                    packet.pts = packet.dts = packet.pts + int(36_000 / packet.time_base)
                packet.stream = video if packet.stream.type == "video" else audio
                out.mux(packet)
    rewrite(path, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base < 70
