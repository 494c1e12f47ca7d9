"""Names and kinds of files: each name is a name, each file gets a row, and a reason says what a file is."""

import csv
import os
import re
import socket
import subprocess
import unicodedata
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from av.stream import Disposition

from deepfake_detector.faces.detectors.centerface import CenterFace
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sources import VIDEO_SUFFIXES, describe_others, find_videos, name_videos
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.faces.video_writer import VideoWriter
from deepfake_detector.files import atomic_path
from stages import extract, infer

NAMES = [
    "2024-05-01T12:30:00.mp4", "10:00.mp4", "file:a.mp4", "http:a.mp4", "concat:a.mp4", "data:a.mp4", "a::b.mp4",
    "subfile,,start,0,end,0,,:a.mp4", "frame%03d.mp4", "100%.mp4", "a#b.mp4", "what?.mp4", "-dash.mp4", "two words.mp4",
    "new\nline.mp4", "😀.mp4", "[x].mp4", "a*.mp4", "~.mp4", "$HOME.mp4", "'quoted'.MP4", "😀" * 62 + ".mp4",
]  # fmt: skip


def write(path, codec="libx264", form="yuv420p", frames=5, audio=None, cover=None, attachment=None):
    """A video of gray 160 x 120 frames (none without `codec`), with a second of silence and a white cover picture."""
    with av.open(str(path), "w") as out:
        sound = out.add_stream(audio, rate=44100, layout="mono") if audio else None
        picture = out.add_stream(cover) if cover else None
        if picture:
            picture.width = picture.height = 64
            picture.pix_fmt, picture.disposition = "yuvj420p", Disposition.attached_pic
        video = out.add_stream(codec, rate=25) if codec else None
        if video:
            video.width, video.height, video.pix_fmt = 160, 120, form
        if attachment:
            out.add_attachment("cover.jpg", "image/jpeg", attachment)
        out.start_encoding()
        for stream, count, brightness in ((picture, 1, 255), (video, frames, 100)):
            for i in range(count if stream else 0):
                image = np.full((stream.height, stream.width, 3), brightness, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None) if stream else [])
        for i in range(40 if sound else 0):
            form = sound.codec_context.format.name
            samples = np.zeros((1, 1024), np.int16 if form.startswith("s16") else np.float32)
            packet = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            packet.sample_rate, packet.pts = 44100, 1024 * i
            out.mux(sound.encode(packet))
        out.mux(sound.encode(None) if sound else [])
    return path


def reason(path):
    """Why a file is unreadable. It names the file once."""
    with pytest.raises(VideoError) as caught:
        probe(path)
    text = str(caught.value)
    assert text.count(Path(path).name) == 1
    return text


def run_extract(monkeypatch, rows, *more):
    """Extract what a labels CSV in the current folder lists; the report by video_id."""
    with Path("labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["video_id", "filepath", "label"], *([*row, "real"] for row in rows)])
    options = ["--data.labels", "labels.csv", "--data.faces", "out", "--data.index", "out.parquet"]
    options += ["--frames", "2", "--workers", "1", *more]
    monkeypatch.setattr("sys.argv", ["extract", *options])
    extract.main()
    return pd.read_csv("extract_report.csv", keep_default_na=False).set_index("video_id")


def run_infer(monkeypatch, *argv):
    """Exit status, and the rows of predictions.csv by filepath."""
    monkeypatch.setattr("sys.argv", ["infer", *map(str, argv), "--workers", "1"])
    with pytest.raises(SystemExit) as stop:
        infer.main()
    with (Path(argv[argv.index("--output") + 1]) / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return stop.value.code, {row["filepath"]: row for row in csv.DictReader(file)}


def test_suffixes_of_any_case_are_found_and_others_counted_by_suffix(tmp_path):
    names = {f"a{suffix}" for suffix in VIDEO_SUFFIXES} | {"b.MP4", "b.Dav", "b.m2T"}
    for name in (*names, "a.jpg", "b.JPG", "c.txt", "readme"):
        (tmp_path / name).touch()
    videos, others = find_videos([str(tmp_path)])
    assert {Path(video).name for video in videos} == names
    assert {".dav", ".mts", ".m2ts", ".3g2", ".ogv", ".vob", ".m2v", ".mpe", ".divx", ".tp", ".360"} <= VIDEO_SUFFIXES
    assert describe_others(others) == "4 (2 .jpg, 1 without suffix, 1 .txt)"


def test_files_of_attributes_that_macos_writes_are_no_videos(tmp_path):
    for name in ("a.mp4", "._a.mp4", "._b.MOV", ".hidden.mp4"):
        (tmp_path / name).touch()
    videos, others = find_videos([str(tmp_path)])
    assert {Path(video).name for video in videos} == {"a.mp4", ".hidden.mp4"}
    assert describe_others(others) == "2 (2 ._*)"


def test_many_kinds_of_other_files_give_a_short_summary(tmp_path):
    for i in range(13):
        (tmp_path / f"a.{i:02d}").touch()
    assert describe_others(find_videos([str(tmp_path)])[1]).endswith("1 .09, 3 of other kinds)")


def test_any_name_is_extracted_from_the_current_folder(in_project, monkeypatch, real_clip):
    for i, name in enumerate(NAMES):
        (in_project / name).write_bytes(real_clip.read_bytes() + b"\0" * i)
    report = run_extract(monkeypatch, [(f"v{i}", name) for i, name in enumerate(NAMES)], "--data.videos", ".")
    assert {NAMES[int(name[1:])]: row.reason for name, row in report.iterrows() if row.status != "ok"} == {}


def test_folder_with_names_that_are_not_utf_8_is_extracted_without_labels(in_project, monkeypatch):
    (in_project / "videos").mkdir()
    (in_project / os.fsdecode(b"videos/caf\xe9.mp4")).write_text("words")
    report = run_extract(monkeypatch, [], "--data.videos", "videos", "--data.labels", "none", "--max-failed", "1")
    assert report.loc[r"caf_xe9", "reason"] == r"caf\xe9.mp4 is no video, or it is damaged or incomplete"


def test_any_name_is_annotated_in_any_folder(in_project, monkeypatch, exported, real_clip):
    names = ["10:00.mp4", "file:a.mp4", "what?.mp4", "frame%03d.mp4", "😀" * 62 + ".mp4"]
    for name in names:
        (in_project / name).write_bytes(real_clip.read_bytes())
    options = ["--checkpoint", exported, "--output", "10:00", "--timeline", "false"]
    code, table = run_infer(monkeypatch, *names, *options)
    assert code == 0 and {row["message"] for row in table.values()} == {""} and list(table) == names
    assert all(probe(f"10:00/{row['video_id']}.mp4").frames for row in table.values())


def test_video_is_written_under_a_relative_name_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with VideoWriter("10:00.mp4", Fraction(25), (64, 64)) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8), 0)
    assert probe("10:00.mp4").frames == 1


def test_picture_with_a_percent_sign_is_one_file(tmp_path):
    for name, brightness in (("a001.jpg", 0), ("a002.jpg", 0), ("a%03d.jpg", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((64, 64, 3), brightness, np.uint8))
    assert [round(frame.image.mean()) for frame in read_frames(tmp_path / "a%03d.jpg")] == [200]


def test_names_beyond_the_limits_are_rows_of_extraction(in_project, monkeypatch, real_clip):
    for name in ("a.mp4", "b.mp4"):
        (in_project / name).write_bytes(real_clip.read_bytes())
    rows = [("good", "a.mp4"), ("L" * 300, "b.mp4"), ("😀" * 62, "./b.mp4.missing"), ("file", "x" * 300 + ".mp4")]
    rows += [("path", "d/" * 2100 + "x.mp4"), ("outside", "../" + in_project.name + "/" + "y" * 300)]
    report = run_extract(monkeypatch, rows, "--data.videos", str(in_project), "--max-failed", "1")
    assert report["status"].tolist() == ["ok"] + ["unreadable"] * 5
    assert report.loc["L" * 300, "reason"] == "its video_id has 300 bytes and names a file: at most 251"
    assert report.loc["file", "reason"].endswith("cannot be read: File name too long")
    assert str(in_project) not in (in_project / "extract_report.csv").read_text()


def test_long_video_id_names_an_archive(in_project, monkeypatch, real_clip):
    (in_project / "a.mp4").write_bytes(real_clip.read_bytes())
    report = run_extract(monkeypatch, [("😀" * 62 + "abc", "a.mp4")], "--data.videos", ".")
    assert report["status"].tolist() == ["ok"] and len(list((in_project / "out").iterdir())) == 1


def test_temporary_file_of_a_long_name_can_be_written(tmp_path):
    target = tmp_path / ("😀" * 62 + ".mp4")
    with atomic_path(target) as part:
        part.write_text("content")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_inputs_that_no_file_can_have_are_rows_of_inference(in_project, monkeypatch, exported):
    inputs = ["x" * 300 + ".mp4", "d/" * 2100 + "x.mp4", "x" * 300 + ".txt", "github://a/b.mp4"]
    (in_project / "list.txt").write_text("\n".join([*inputs[:2], "a\0b.mp4"]))
    options = ["--checkpoint", exported, "--output", "out", "--overlay", "none", "--timeline", "false"]
    code, table = run_infer(monkeypatch, "list.txt", *inputs[2:], *options)
    assert code == 3 and list(table) == [*inputs[:2], "a\0b.mp4", *inputs[2:]]
    assert {row["verdict"] for row in table.values()} == {"error"}


def test_links_that_lead_back_are_searched_once(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.mp4").touch()
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "a/b")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    assert find_videos([str(tmp_path)])[0] == [str(tmp_path / "a/b/x.mp4"), str(tmp_path / "loop.mp4")]
    assert "cannot be read: Too many levels" in reason(tmp_path / "loop.mp4")


@pytest.mark.parametrize("pattern", ["clips/**/*.mp4", "clips/*/*.mp4"])
def test_glob_finds_no_results_of_an_interrupted_run(in_project, pattern):
    for name in ("below/a.mp4", "judged/a.mp4"):
        (in_project / "clips" / name).parent.mkdir(parents=True)
        (in_project / "clips" / name).touch()
    assert find_videos([pattern], Path("clips/judged")) == (["clips/below/a.mp4"], {})
    found = ["clips/below/a.mp4", "clips/judged/a.mp4"]
    assert find_videos([pattern], Path("clips")) == find_videos([pattern]) == (found, {})


def test_folder_deeper_than_the_stack_is_searched(tmp_path):
    folders = [tmp_path]
    for _ in range(1100):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    video = folders[-1] / "x.mp4"
    video.touch()
    try:
        assert find_videos([str(tmp_path)])[0] == [str(video)]
    finally:
        video.unlink()
        for folder in folders[:0:-1]:
            folder.rmdir()


def test_folder_whose_path_is_too_long_is_a_row(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    (too_long,) = find_videos([str(tmp_path)])[0]
    with pytest.raises(VideoError, match="cannot be read: File name too long"):
        probe(too_long)


def test_files_of_another_kind_end_no_search_and_never_hang(in_project, monkeypatch, exported):
    os.mkfifo("pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
        Path("device.mp4").symlink_to("/dev/zero")
        Path("nowhere.mp4").symlink_to("none.mp4")
        Path("folder.mp4").mkdir()
        Path("empty.mp4").touch()
        options = ["--checkpoint", exported, "--output", "out", "--overlay", "none", "--timeline", "false"]
        code, table = run_infer(monkeypatch, ".", *options)
    assert code == 3 and {name: row["message"] for name, row in table.items()} == {
        "device.mp4": "device.mp4 is a device, not a file",
        "empty.mp4": "empty.mp4 is empty",
        "nowhere.mp4": "nowhere.mp4 is a link to a file that does not exist",
        "pipe.mp4": "pipe.mp4 is a pipe, not a file",
        "socket.mp4": "socket.mp4 is a socket, not a file",
    }
    assert reason("folder.mp4") == "folder.mp4 is a folder, not a file"


def test_files_without_a_video_are_no_videos_or_incomplete(tmp_path):
    path = write(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[:700])  # its index, moov, comes last
    (tmp_path / "text.mp4").write_text("words")
    with zipfile.ZipFile(tmp_path / "zip.mp4", "w") as archive:
        archive.writestr("a.mp4", "content")
    for name in ("cut.mp4", "text.mp4", "zip.mp4"):
        assert reason(tmp_path / name) == f"{tmp_path / name} is no video, or it is damaged or incomplete"
    (tmp_path / "art.nfo").write_text("words\n" * 50)
    assert reason(tmp_path / "art.nfo") == f"{tmp_path / 'art.nfo'} is a text, not a video"


@pytest.mark.parametrize("start", ["#EXTM3U\n#EXTINF:1,\n", "ffconcat version 1.0\nfile "])
@pytest.mark.parametrize("segment", ["segment.ts", "missing.ts", "http://127.0.0.1:9/segment.ts"])
def test_playlist_is_refused_whatever_it_names(tmp_path, start, segment):
    write(tmp_path / "segment.ts", "mpeg2video")
    (tmp_path / "list.m3u8").write_text(f"{start}{segment}\n")
    assert "is a playlist; give the video files that it names" in reason(tmp_path / "list.m3u8")


@pytest.mark.parametrize(
    ("name", "codec", "old", "new", "words"),
    [
        ("a.mp4", "libx264", rb"avc1(?=\0{6})", b"xyz1", "codec 'xyz1' is"),
        ("a.mp4", "libx264", rb"avc1(?=\0{6})", b"avs3", "codec 'avs3' is"),  # FFmpeg knows it and cannot decode it
        ("a.mp4", "libx264", rb"avc1(?=\0{6})", b"\xff\0()", "codec '[255][0][40][41]' is"),
        ("a.mp4", "libx264", rb"avc1(?=\0{6})", b"\0\0\0\0", "codec is"),
        ("a.mov", "libx264", rb"avc1(?=\0{6})", b"xyz1", "codec 'xyz1' is"),
        ("a.mkv", "libx264", b"V_MPEG4/ISO/AVC", b"V_XYZ/MPEG4/AVC", "codec 'V_XYZ/MPEG4/AVC' is"),
        ("a.avi", "mpeg4", b"FMP4", b"XYZ1", "codec 'XYZ1' is"),
    ],
)
def test_unknown_codec_is_named(tmp_path, name, codec, old, new, words):
    path = write(tmp_path / name, codec)
    data, count = re.subn(old, lambda _: new, path.read_bytes())
    assert count
    path.write_bytes(data)
    assert f"its video {words} not known; convert it to H.264" in reason(path)
    level = av.logging.get_level()
    reason(path)
    assert av.logging.get_level() == level


def test_video_stream_that_can_be_decoded_is_used_beside_one_that_cannot(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, (320, 160), strict=True):
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((stream.height, stream.width, 3), np.uint8), format="bgr24")
            out.mux([*stream.encode(frame), *stream.encode(None)])
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_XYZ/MPEG4/AVC", 1))
    assert probe(path).width == 160


@pytest.fixture
def jpeg():
    return cv2.imencode(".jpg", np.full((64, 64, 3), 255, np.uint8))[1].tobytes()


@pytest.mark.parametrize("name, audio, cover", [("a.mp4", "aac", "mjpeg"), ("a.flac", "flac", "mjpeg")])
def test_cover_picture_is_no_video(tmp_path, name, audio, cover):
    assert "no video in it, only a cover picture" in reason(write(tmp_path / name, None, audio=audio, cover=cover))


def test_attached_picture_is_no_video(tmp_path, jpeg):
    path = write(tmp_path / "a.mkv", None, audio="aac", attachment=jpeg)
    assert "no video in it, only a cover picture" in reason(path)


def test_sound_is_no_video(tmp_path):
    assert "no video in it, only sound" in reason(write(tmp_path / "a.m4a", None, audio="aac"))


def test_video_beside_a_cover_is_the_video(tmp_path, jpeg):
    for path in (
        write(tmp_path / "a.mp4", audio="aac", cover="mjpeg"),
        write(tmp_path / "b.mkv", audio="aac", attachment=jpeg),
        write(tmp_path / "c.mp4", frames=1, cover="mjpeg"),
    ):
        assert {round(frame.image.mean(), -1) for frame in read_frames(path)} == {100}


def test_video_with_a_second_track_is_said_to_have_one(tmp_path, real_clip):
    """As a dashcam writes, with a camera for each direction."""
    command = ["ffmpeg", "-v", "error", "-i", str(real_clip), "-map", "0:v", "-map", "0:v", "-c", "copy"]
    subprocess.run([*command, str(tmp_path / "two.mp4")], check=True)
    geometry = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)
    found = extract_faces(tmp_path / "two.mp4", geometry, CenterFace(0.5), 1)
    assert (found.status, found.reason) == ("ok", "1 further video track is not read")


def test_single_picture_is_judged_and_called_one(tmp_path, real_clip):
    image = next(read_frames(real_clip)).image
    geometry = Geometry(frames=6, size=64, margin=0.5, detector="centerface", threshold=0.5)
    for name in ("a.jpg", "a.png", "a.bmp"):
        cv2.imwrite(str(tmp_path / name), image)
        found = extract_faces(tmp_path / name, geometry, CenterFace(0.5), 1)
        assert (found.status, len(found.faces)) == ("ok", 1)
        assert found.reason == "it is a single picture, not a video"
    still = extract_faces(write(tmp_path / "a.gif", "gif", "rgb8", frames=1), geometry, CenterFace(0.5), 1)
    assert still.reason == "no face in any frame; it is a single picture, not a video"
    assert extract_faces(real_clip, geometry, CenterFace(0.5), 1).reason == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_file_takes_the_place_of_no_pipe_or_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="This is no file"), atomic_path(tmp_path / "pipe") as part:
        part.touch()
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_names_that_macos_takes_for_one_get_different_results():
    composed, decomposed = "a/\u00e9.mp4", "b/e\u0301.mp4"
    names = {
        unicodedata.normalize("NFD", name).casefold() for name in name_videos([composed, decomposed, "c/E\u0301.MP4"])
    }
    assert len(names) == 3


def test_very_many_videos_of_one_name_are_numbered_at_once(monkeypatch):
    tried = []
    normalize = unicodedata.normalize
    monkeypatch.setattr(unicodedata, "normalize", lambda form, name: tried.append(name) or normalize(form, name))
    names = name_videos([f"{camera}/video.mp4" for camera in range(2_000)])
    assert names[:3] == ["video", "video-2", "video-3"] and len(set(names)) == 2_000
    assert len(tried) <= 2 * len(names)
