"""Worker processes of inference and of the page: what they may use, and how long they live."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepfake_detector.inference import batch_prediction
from deepfake_detector.inference.predict import record_error
from deepfake_detector.parallel_map import is_memory_error, parallel_map
from stages.params import parse
from tests.test_names import run_infer
from tests.test_urls import WITHOUT_PICTURES
from web_app import uploads

ROOT = Path(__file__).parent.parent
TOO_MUCH = 3 << 30  # bytes
# It prints the number of a worker process and waits.
SERVER = """
import os, time
from stages.params import parse
from web_app.uploads import open_upload_pool
if __name__ == "__main__":
    pool = open_upload_pool(parse("app", argv=[]).app)
    print(pool.pool.schedule(os.getpid).result(), flush=True)
    pool.pool.schedule(time.sleep, [600])
    time.sleep(600)
"""


def allocate(task):
    """Stands for `run_task` in a worker process: a video named `large` takes 3 gigabytes."""
    if task.video == "large":
        bytearray(TOO_MUCH)
    return record_error(task, "small")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit")
def test_video_beyond_the_memory_limit_costs_its_row_only(in_project, monkeypatch, exported):
    monkeypatch.setattr(batch_prediction, "run_task", allocate)
    options = ["--checkpoint", exported, "--output", "out", "--memory", "2", *WITHOUT_PICTURES]
    code, table = run_infer(monkeypatch, "large", "small", *options)
    assert code == 3 and {name: row["message"] for name, row in table.items()} == {
        "large": "large needed more than infer.memory = 2 gigabytes",
        "small": "small",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit")
def test_upload_beyond_the_memory_limit_fails_alone(in_project):
    pool = uploads.open_upload_pool(parse("app", argv=["--memory", "2", "--workers", "1"]).app)
    try:
        error = pool.pool.schedule(bytearray, [TOO_MUCH]).exception()
        assert uploads._describe(error, "path", "name").startswith("It needs more memory than it may use.")
        assert pool.pool.schedule(len, ["abc"]).result() == 3
    finally:
        pool.close()


def test_worker_of_the_page_ends_with_a_server_that_is_killed(in_project, monkeypatch):
    Path("server.py").write_text(SERVER)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(in_project)}
    server = subprocess.Popen([sys.executable, "server.py"], env=environment, stdout=subprocess.PIPE, text=True)
    worker = int(server.stdout.readline())
    server.kill()
    server.wait()
    try:
        for _ in range(200):
            if not is_running(worker):
                return
            time.sleep(0.05)
        pytest.fail("the worker still runs")
    finally:
        if is_running(worker):
            os.kill(worker, signal.SIGKILL)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 9"),
    ],
)
def test_want_of_memory_is_known_in_the_words_of_each_library(error):
    assert is_memory_error(error)
    assert not is_memory_error(RuntimeError("the encoder gave up"))


def test_limit_that_no_worker_could_start_with_is_refused(in_project, capsys):
    with pytest.raises(SystemExit):
        parse("infer", argv=["a.mp4", "--memory", "0.5"], operands="infer.videos")
    assert "infer.memory = '0.5'" in capsys.readouterr().err


def test_worker_that_still_starts_when_all_is_done_is_ended_with_the_others():
    """A process that starts during the run stands for it; one that ran before belongs to somebody else."""
    spawn = multiprocessing.get_context("spawn")
    other, late = (spawn.Process(target=time.sleep, args=(600,)) for _ in range(2))
    other.start()
    for _ in parallel_map(abs, [-1], 1, "test", "item"):
        late.start()
    late.join(10)
    assert late.exitcode == -signal.SIGKILL and other.is_alive()
    other.kill()
