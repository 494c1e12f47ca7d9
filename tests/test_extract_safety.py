"""Extraction deletes nothing that is not its own, keeps what it had when it fails, and ends when it is told to."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from deepfake_detector.faces import batch_extraction
from deepfake_detector.faces.archive import write_archive
from deepfake_detector.faces.archive_folder import LOCK, PREVIOUS, ArchiveFolderError, replaced_folder
from deepfake_detector.parallel_map import _interrupts_held, parallel_map
from stages import extract, split

ROOT = Path(__file__).parent.parent
ARGUMENTS = ["--data.videos", "videos", "--data.labels", "labels.csv", "--data.faces", "out", "--workers", "1"]
ARGUMENTS += ["--data.index", "out.parquet", "--frames", "2", "--size", "64", "--cache", "kept"]


@pytest.fixture
def corpus(in_project, clip_folder):
    """Four clips under `videos`, listed in labels.csv."""
    (in_project / "videos").mkdir()
    rows = ["video_id,filepath,label"]
    for clip in sorted(clip_folder.glob("*.mp4")):
        (in_project / "videos" / clip.name).write_bytes(clip.read_bytes())
        rows.append(f"{clip.stem},{clip.name},real")
    (in_project / "labels.csv").write_text("\n".join(rows) + "\n")
    return in_project


def run(monkeypatch, *more):
    monkeypatch.setattr("sys.argv", ["extract", *ARGUMENTS, *map(str, more)])
    extract.main()


def run_to_error(monkeypatch, capsys, *more):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *more)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def outputs(folder):
    tables = [folder / "out.parquet", folder / "extract_report.csv", folder / "metrics/extract.json"]
    return {path.name: path.read_bytes() for path in [*tables, *(folder / "out").iterdir()]}


def archive(path):
    write_archive(path, [("000_000001.jpg", b"face"), ("000_000001_original.jpg", b"face")])


@pytest.fixture
def folder(tmp_path):
    """A folder of one archive."""
    archive(tmp_path / "out/old.zip")
    return tmp_path / "out"


def names(path):
    return sorted(file.name for file in path.iterdir())


def replace(folder, known=()):
    with replaced_folder(folder, known) as part:
        archive(part / "new.zip")


def test_folder_is_replaced_and_nothing_else_is_left(folder):
    replace(folder)
    assert names(folder) == ["new.zip"] and names(folder.parent) == ["out"]


def test_folders_with_names_like_those_of_extract_stay(folder):
    for name in ("out.mine.part", "out.123.part"):
        (folder.parent / name).mkdir()
        (folder.parent / name / "notes.txt").write_text("mine")
    replace(folder)
    assert names(folder.parent) == ["out", "out.123.part", "out.mine.part"]


def test_folder_in_the_place_of_the_work_is_left_alone(folder):
    (folder.parent / "out.part").mkdir()
    (folder.parent / "out.part/notes.txt").write_text("mine")
    with pytest.raises(ArchiveFolderError, match=r"out\.part, which is no folder of extract"):
        replace(folder)
    assert names(folder.parent / "out.part") == ["notes.txt"] and names(folder) == ["old.zip"]


def foreign_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("thesis.doc", "mine")


@pytest.mark.parametrize(
    "make",
    [foreign_zip, lambda path: zipfile.ZipFile(path, "w").close(), lambda path: path.write_bytes(b"mine"), Path.mkdir],
)
def test_folder_with_another_zip_is_refused(folder, make):
    make(folder / "theirs.zip")
    with pytest.raises(ArchiveFolderError, match=r"holds theirs\.zip"):
        replace(folder)
    assert names(folder) == ["old.zip", "theirs.zip"]


def test_file_that_comes_into_the_folder_meanwhile_is_not_lost(folder):
    with pytest.raises(ArchiveFolderError, match=r"holds notes\.txt"), replaced_folder(folder):
        (folder / "notes.txt").write_text("mine")
    assert names(folder) == ["notes.txt", "old.zip"]


def test_damaged_archive_of_a_known_video_is_replaced(folder):
    (folder / "old.zip").write_bytes(b"PK")
    with pytest.raises(ArchiveFolderError, match=r"holds old\.zip"):
        replace(folder)
    replace(folder, {"old"})
    assert names(folder) == ["new.zip"]


def test_exception_leaves_the_folder_as_it_was(folder):
    with pytest.raises(KeyboardInterrupt), replaced_folder(folder) as part:
        archive(part / "new.zip")
        raise KeyboardInterrupt
    assert names(folder) == ["old.zip"] and names(folder.parent) == ["out"]


def test_link_stays_a_link_and_its_folder_is_replaced(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    replace(link)
    assert link.is_symlink() and names(folder) == ["new.zip"]


def test_link_to_a_missing_disk_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unmounted/out")
    with pytest.raises(ArchiveFolderError, match="is its disk mounted"):
        replace(tmp_path / "link")
    assert names(tmp_path) == ["link"]


def test_what_a_killed_process_left_is_deleted_and_taken_back(folder):
    """It was killed between moving the previous archives away and moving the new ones into their place."""
    work = folder.with_name("out.part")
    work.mkdir()
    (work / LOCK).touch()
    folder.rename(work / PREVIOUS)
    archive(work / "123/new.zip")
    with pytest.raises(RuntimeError), replaced_folder(folder):
        raise RuntimeError
    assert names(folder) == ["old.zip"] and names(folder.parent) == ["out"]


def test_partial_archives_of_stopped_workers_do_not_get_into_the_folder(folder):
    with replaced_folder(folder) as part:
        archive(part / "new.zip")
        (part / "other.zip.123.part").write_bytes(b"PK")
    assert names(folder) == ["new.zip"]


def test_second_extract_on_the_same_output_says_so_and_does_no_harm(corpus, monkeypatch, capsys):
    code = "import sys, pathlib; from deepfake_detector.faces.archive_folder import replaced_folder\n"
    code += "with replaced_folder(pathlib.Path('out')) as part: print(part, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        part = Path(first.stdout.readline().strip())
        assert "data.faces = out is being written by another extract" in run_to_error(monkeypatch, capsys)
        assert part.is_dir()
        first.communicate()
    run(monkeypatch)
    assert len(names(corpus / "out")) == 4


@pytest.fixture
def extracted(corpus, monkeypatch):
    run(monkeypatch)
    return corpus, outputs(corpus)


def test_videos_that_are_all_missing_end_the_run_and_leave_the_outputs(extracted, monkeypatch, capsys):
    folder, before = extracted
    (folder / "videos").rename(folder / "unmounted")
    message = run_to_error(monkeypatch, capsys)
    assert "4 of 4 videos failed" in message and "extract.max_failed = 0.75" in message and ".mp4" in message
    assert outputs(folder) == before
    assert (pd.read_csv(folder / "extract_report.failed.csv")["status"] == "unreadable").all()
    (folder / "unmounted").rename(folder / "videos")
    run(monkeypatch)
    assert outputs(folder) == before and not (folder / "extract_report.failed.csv").exists()


def test_memory_that_is_too_small_for_all_ends_the_run_and_leaves_the_outputs(extracted, monkeypatch, capsys):
    folder, before = extracted
    monkeypatch.setattr(
        batch_extraction, "parallel_map", lambda task, items, *_: ((i, MemoryError()) for i in range(len(items)))
    )
    assert "extract.memory = 4" in run_to_error(monkeypatch, capsys, "--cache", "false")
    assert outputs(folder) == before


def test_share_of_failures_that_is_allowed_decides(corpus, monkeypatch, capsys):
    next((corpus / "videos").iterdir()).write_bytes(b"damaged")
    assert "1 of 4 videos failed" in run_to_error(monkeypatch, capsys, "--max-failed", 0.2)
    assert not (corpus / "out").exists()
    run(monkeypatch, "--max-failed", 0.25)
    assert sorted(pd.read_csv(corpus / "extract_report.csv")["status"]) == ["ok", "ok", "ok", "unreadable"]


def test_full_disk_is_one_sentence_and_the_next_run_continues(corpus, monkeypatch, capsys):
    run(monkeypatch, "--cache", "false")
    before = outputs(corpus)
    given = []

    def map_on_a_full_disk(task, items, *rest):
        given.append(len(items))
        for done, outcome in enumerate(parallel_map(task, items, *rest)):
            yield outcome if done < 2 else (outcome[0], OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(batch_extraction, "parallel_map", map_on_a_full_disk)
    message = run_to_error(monkeypatch, capsys)
    assert message.startswith("error: ") and "No space left on device" in message and "the same command" in message
    assert outputs(corpus) == before and not list(corpus.glob("*.part"))
    run(monkeypatch)
    assert given == [4, 2] and outputs(corpus) == before


@pytest.mark.parametrize("option", ["--data.index", "--cache"])
def test_nothing_else_may_lie_in_the_folder_of_faces(corpus, monkeypatch, capsys, option):
    assert "lies in data.faces = out" in run_to_error(monkeypatch, capsys, option, "out/inside")
    assert not (corpus / "out").exists()


def test_interrupt_waits_until_the_workers_are_started():
    """Any thread may receive the signal."""
    event, reached = threading.Event(), []
    other = threading.Thread(target=event.wait)
    other.start()
    with pytest.raises(KeyboardInterrupt), _interrupts_held():
        signal.pthread_kill(other.ident, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        event.set()
        other.join()
        reached.append("the end of the block")
    assert reached


def start(folder, stage, *arguments):
    """A stage in a process group of its own, as a terminal starts it; its messages go to `said.txt`."""
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def interrupt(process, folder, ready):
    """Three times Ctrl-C, which the terminal gives to the whole group; what was said."""
    while process.poll() is None and not ready():
        time.sleep(0.01)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    code = process.wait(60)
    said = (folder / "said.txt").read_text()
    assert "Traceback" not in said and said.count("Interrupted") == 1
    assert code == 130
    return said


def test_interrupted_extract_ends_with_a_sentence_and_continues(corpus, monkeypatch):
    process = start(corpus, "extract", *ARGUMENTS)
    interrupt(process, corpus, lambda: list(corpus.glob("kept/*/*.json")))
    assert not list(corpus.glob("*.part")) and not (corpus / "out").exists()
    run(monkeypatch)
    continued = outputs(corpus)
    run(monkeypatch, "--cache", "false")
    assert outputs(corpus) == continued


def test_interrupted_infer_ends_with_a_sentence(corpus, exported):
    process = start(corpus, "infer", "videos", "--checkpoint", exported, "--output", "out", "--workers", 2)
    interrupt(process, corpus, lambda: list(corpus.glob("out/*.json")))


def test_looking_up_large_videos_shows_progress_and_can_be_interrupted(corpus):
    with next((corpus / "videos").iterdir()).open("r+b") as file:
        file.truncate(50 * 2**30)  # without data, so that it takes no space
    process = start(corpus, "extract", *ARGUMENTS)
    said = interrupt(process, corpus, lambda: "hash:" in (corpus / "said.txt").read_text())
    assert "extract:" not in said


def test_partial_tables_of_a_killed_run_are_deleted_and_files_of_others_stay(extracted, monkeypatch):
    folder, before = extracted
    left = ["extract_report.csv.17.part", "out.parquet.99999.part", "metrics/extract.json.3.part"]
    theirs = ["mine.part", "out.parquet.mine.part", "other.parquet.17.part", "metrics/extract.json.part"]
    for name in left + theirs:
        (folder / name).write_text("some")
    run(monkeypatch)
    assert outputs(folder) == before
    assert [name for name in left + theirs if (folder / name).exists()] == theirs


def test_partial_tables_of_a_killed_split_are_deleted(in_project, monkeypatch):
    rows = [f"v{i},{i}.mp4,{'fake' if i % 2 else 'real'},p{i // 2}" for i in range(12)]
    (in_project / "labels.csv").write_text("\n".join(["video_id,filepath,label,identity", *rows]) + "\n")
    left = ["splits.csv.7.part", "split_report/leaks.csv.7.part", "metrics/split.json.7.part"]
    left += ["plots/split/partitions.png.7.part"]
    for name in left:
        (in_project / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (in_project / "out" / name).write_text("some")
    monkeypatch.setattr(
        "sys.argv", ["split", "--data.labels", "labels.csv", "--data.videos", "v", "--data.splits", "out/splits.csv"]
    )
    split.main()
    assert not list(in_project.rglob("*.part")) and (in_project / "out/splits.csv").exists()
