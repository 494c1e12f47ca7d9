"""Reading, sampling and writing video."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.video_reader import VideoError, probe, read_frames
from deepfake_detector.faces.video_writer import VideoWriter


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


def test_same_frames_give_same_bytes(tmp_path):
    """Noise over drifting blobs: on such frames the encoder's lookahead varied in one run of four."""
    rng = np.random.default_rng(0)
    field = cv2.GaussianBlur(rng.integers(0, 255, (288, 400, 3), dtype=np.uint8), (0, 0), 3).astype(int)
    frames = [
        np.clip(field[:, i : i + 288] + rng.normal(0, 3, (288, 288, 1)), 0, 255).astype(np.uint8) for i in range(50)
    ]
    contents = set()
    for run in range(12):
        with VideoWriter(tmp_path / f"{run}.mp4", Fraction(25), (288, 288), 22, "veryfast") as writer:
            for i, frame in enumerate(frames):
                writer.write(frame, i / 25)
        contents.add((tmp_path / f"{run}.mp4").read_bytes())
    assert len(contents) == 1
