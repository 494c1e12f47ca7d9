"""The cache of faces gives back what was stored for the same content, or nothing."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from deepfake_detector.faces import batch_extraction, cache
from deepfake_detector.faces.cache import FaceCache, file_state
from deepfake_detector.faces.extraction import failed_record
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.remote import DEFAULT_LIMITS
from deepfake_detector.parallel_map import parallel_map
from stages import extract

GEOMETRY = Geometry(4, 64, 0.3, "centerface", 0.5)
RECORD = {"report": {"status": "ok", "faces": 1}, "index": [[0, 0, 0.25]]}


@pytest.fixture
def stored(tmp_path):
    """A cache, and the key of a video whose faces it holds."""
    (tmp_path / "a.mp4").write_bytes(b"a video")
    (tmp_path / "a.zip").write_bytes(b"its faces")
    faces = FaceCache(tmp_path / "cache", GEOMETRY, "all")
    (key,) = faces.keys([(str(tmp_path / "a.mp4"), "")])
    faces.put(key, tmp_path / "a.zip", RECORD)
    return faces, key


def entry_file(folder, suffix):
    (path,) = folder.glob(f"cache/*/*{suffix}")
    return path


def test_entry_comes_back_as_it_was_stored(stored, tmp_path):
    faces, key = stored
    assert faces.get(key, tmp_path / "b.zip") == RECORD and (tmp_path / "b.zip").read_bytes() == b"its faces"
    assert faces.get("0" * 64, tmp_path / "c.zip") is None and not faces.damaged


def test_change_of_an_archive_leaves_the_cache_alone(stored, tmp_path):
    faces, key = stored
    faces.get(key, tmp_path / "b.zip")
    for name in ("a.zip", "b.zip"):
        with (tmp_path / name).open("r+b") as file:
            file.write(b"scribble!")
    faces.get(key, tmp_path / "c.zip")
    assert (tmp_path / "c.zip").read_bytes() == b"its faces"


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".zip", lambda data: b"IT" + data[2:]),
        (".zip", lambda data: data[:-1]),
        (".zip", lambda data: b""),
        (".json", lambda data: data.replace(b"0.25", b"0.26")),
        (".json", lambda data: data[:-5]),
        (".json", lambda data: b""),
        (".json", lambda data: b"[" * 100_000),
        (".json", lambda data: b'{"record": {}, "archive": ""}'),
        (".json", lambda data: b"[1]"),
        (".json", lambda data: b"\xff\xfe"),
    ],
)
def test_damaged_entry_counts_as_absent_and_is_counted(stored, tmp_path, suffix, damage):
    faces, key = stored
    path = entry_file(tmp_path, suffix)
    path.write_bytes(damage(path.read_bytes()))
    assert faces.get(key, tmp_path / "b.zip") is None
    assert faces.damaged == 1 and not (tmp_path / "b.zip").exists()
    faces.put(key, tmp_path / "a.zip", RECORD)
    assert faces.get(key, tmp_path / "b.zip") == RECORD


def test_entry_under_the_name_of_another_video_counts_as_absent(stored, tmp_path):
    faces, key = stored
    other = key[:2] + "0" * 62
    for suffix in (".zip", ".json"):
        shutil.copy(entry_file(tmp_path, suffix), tmp_path / "cache" / key[:2] / (other + suffix))
    assert faces.get(other, tmp_path / "b.zip") is None


def test_file_of_the_same_size_and_mtime_with_other_content_is_another_video(stored, tmp_path):
    faces, key = stored
    path = tmp_path / "a.mp4"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"b video")
    os.utime(path, ns=times)
    assert faces.keys([(str(path), "")]) != [key]


def test_every_video_is_read_if_asked_for(stored, tmp_path):
    """A table of digests that is wrong about a file stands for a change that no time of modification shows."""
    _, key = stored
    path = str(tmp_path / "a.mp4")
    table = tmp_path / "cache/digests.json"
    size, modified, changed, _ = json.loads(table.read_text())[path]
    table.write_text(json.dumps({path: [size, modified, changed, "0" * 64]}))
    assert FaceCache(tmp_path / "cache", GEOMETRY, "all").keys([(path, "")]) != [key]
    assert FaceCache(tmp_path / "cache", GEOMETRY, "all", read_all=True).keys([(path, "")]) == [key]


def test_what_was_read_before_a_kill_is_not_read_again(stored, tmp_path, monkeypatch):
    faces, _ = stored
    names = [str(tmp_path / f"{name}.mp4") for name in "bcd"]
    for name in names[:2]:
        Path(name).write_bytes(b"a video")

    def killed_at_the_end(path):
        if path == names[2]:
            raise RuntimeError
        return file_state(path)

    monkeypatch.setattr(cache, "STORED_AT_ONCE", 2, raising=False)
    monkeypatch.setattr(cache, "file_state", killed_at_the_end)
    with pytest.raises(RuntimeError):
        faces.keys([(name, "") for name in names])
    assert {*names[:2]} < set(json.loads((tmp_path / "cache/digests.json").read_text()))


@pytest.mark.parametrize("content", ["", "[", "[]", "3", '{"PATH": 1}', '{"PATH": [1, 2]}', '{"PATH": [1, 2, 3, 4]}'])
def test_damaged_table_of_digests_is_made_anew(stored, tmp_path, content):
    faces, key = stored
    path = str(tmp_path / "a.mp4")
    (tmp_path / "cache/digests.json").write_text(content.replace("PATH", path))
    assert faces.keys([(path, "")]) == [key]
    assert list(json.loads((tmp_path / "cache/digests.json").read_text())) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_cache_that_cannot_be_written_is_one_warning(stored, tmp_path, monkeypatch, caplog, code):
    faces, key = stored

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache, "_write_json", refuse)
    (tmp_path / "b.mp4").write_bytes(b"another video")
    faces.keys([(str(tmp_path / "b.mp4"), "")])
    faces.put(key, tmp_path / "a.zip", RECORD)
    (message,) = caplog.messages
    assert str(tmp_path / "cache") in message and os.strerror(code) in message


def test_video_that_changes_while_it_is_read_is_unreadable(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a video")

    def change(*_):
        path.write_bytes(b"b video")
        return RECORD

    monkeypatch.setattr(batch_extraction, "extract_video", change)
    record, contents = batch_extraction.extract_unchanged(
        ("a", str(path), ""), GEOMETRY, "all", tmp_path, DEFAULT_LIMITS
    )
    assert record == failed_record("unreadable", "a.mp4 changed while it was read")
    assert FaceCache(tmp_path / "cache", GEOMETRY, "all").key(*contents) == ""


@pytest.mark.parametrize("changed", ["video", "original"])
def test_what_is_stored_belongs_to_what_was_read(in_project, clip_folder, monkeypatch, changed):
    """A file that is replaced after it was looked up, and put back after the run."""
    clips = sorted(clip_folder.glob("*.mp4"))
    first, other = clips[0].read_bytes(), clips[1].read_bytes()
    rows = ["video_id,filepath,label,source_video", "a,a.mp4,real,", "a2,a2.mp4,real,", "fake,fake.mp4,fake,a"]
    for name in ("a", "a2", "fake"):
        (in_project / f"{name}.mp4").write_bytes(clips[2].read_bytes() if name == "fake" else first)
    (in_project / "labels.csv").write_text("\n".join(rows) + "\n")
    arguments = ["--data.videos", ".", "--data.labels", "labels.csv", "--data.faces", "out", "--workers", "1"]
    arguments += ["--data.index", "out.parquet", "--frames", "2", "--size", "64"]
    replaced = in_project / ("fake.mp4" if changed == "video" else "a.mp4")
    kept = replaced.read_bytes()

    def archives(*more):
        monkeypatch.setattr("sys.argv", ["extract", *arguments, *more])
        extract.main()
        return {path.name: path.read_bytes() for path in (in_project / "out").iterdir()}

    def replacing_map(*given):
        replaced.write_bytes(other)
        yield from parallel_map(*given)

    expected = archives("--cache", "false")
    monkeypatch.setattr(batch_extraction, "parallel_map", replacing_map)
    while_replaced = archives("--cache", "kept")
    assert while_replaced != expected
    assert while_replaced["a2.zip"] == expected["a2.zip"]  # a copy of a.mp4 when it was looked up, and still of use
    monkeypatch.undo()
    monkeypatch.chdir(in_project)
    replaced.write_bytes(kept)
    assert archives("--cache", "kept") == expected
