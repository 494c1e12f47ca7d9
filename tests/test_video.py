"""Reading and writing video."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.video_reader import VideoError, probe, read_frames
from deepfake_detector.faces.video_writer import VideoWriter


def write_counter(path, frames=30, size=(160, 120), rate=25, times=None):
    """A video whose frame i is uniformly 8 * i bright."""
    with VideoWriter(path, Fraction(rate), size, crf=10) as writer:
        for i in range(frames):
            writer.write(np.full((size[1], size[0], 3), min(8 * i, 255), np.uint8), times[i] if times else i / rate)
    return path


def test_chosen_frames_are_the_frames_asked_for(tmp_path):
    path = write_counter(tmp_path / "a.mp4")
    frames = list(read_frames(path, [0, 7, 29]))
    assert [frame.number for frame in frames] == [0, 7, 29]
    assert [frame.time for frame in frames] == pytest.approx([0, 7 / 25, 29 / 25])
    assert [round(frame.image.mean() / 8) for frame in frames] == [0, 7, 29]


def test_even_spread_covers_the_whole_video_and_never_repeats():
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


def test_rotation_is_applied(tmp_path):
    plain, turned = write_counter(tmp_path / "plain.mp4", 5), tmp_path / "turned.mp4"
    rotate(plain, turned, 90)
    assert next(read_frames(turned)).image.shape == (160, 120, 3)


def rotate(source, target, degrees):
    """Copy a video, marked to be shown turned."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        stream.set_display_rotation(degrees) if hasattr(stream, "set_display_rotation") else pytest.skip(
            "cannot be written"
        )
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def test_truncated_file_gives_what_decodes(real_clip, tmp_path):
    """A transport stream needs no index at its end, so half a file is half a video."""
    whole, half = tmp_path / "whole.ts", tmp_path / "half.ts"
    with av.open(str(real_clip)) as container, av.open(str(whole), "w", format="mpegts") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert 0 < len(list(read_frames(half))) < len(list(read_frames(whole)))


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100])
def test_what_is_no_video_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"text\.mp4"):
        probe(path)


def test_truncated_index_is_an_error(real_clip, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(real_clip.read_bytes()[:200])
    with pytest.raises(VideoError):
        list(read_frames(path))


def test_sound_is_kept(tmp_path):
    silent, loud, copy = write_counter(tmp_path / "silent.mp4"), tmp_path / "loud.mp4", tmp_path / "copy.mp4"
    add_tone(silent, loud)
    with VideoWriter(copy, Fraction(25), (160, 120), sound_from=loud) as writer:
        for frame in read_frames(loud):
            writer.write(frame.image, frame.time)
    with av.open(str(loud)) as a, av.open(str(copy)) as b:
        assert b.streams.audio[0].codec_context.name == "aac"
        original = np.concatenate([frame.to_ndarray() for frame in a.decode(audio=0)], axis=1)
        kept = np.concatenate([frame.to_ndarray() for frame in b.decode(audio=0)], axis=1)
    np.testing.assert_array_equal(original, kept)


def add_tone(silent, loud):
    with av.open(str(silent)) as container, av.open(str(loud), "w") as out:
        video = out.add_stream_from_template(container.streams.video[0])
        audio = out.add_stream("aac", rate=44100, layout="mono")
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        wave = np.sin(np.arange(44100) * 440 * 2 * np.pi / 44100).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))


def test_same_frames_give_same_bytes(tmp_path):
    """Noise over drifting blobs: on such frames the encoder's lookahead was seen to vary in one run of four."""
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
