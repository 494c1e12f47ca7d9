"""Uploads, predicted in worker processes: the page only watches, so a slow video delays no other visitor."""

import atexit
import json
import shutil
import sys
import tempfile
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pebble import ProcessPool

from deepfake_detector.faces.sources import name_videos
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.files import atomic_path
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask
from deepfake_detector.inference.records import PICTURES, give_up_pictures
from deepfake_detector.parallel_map import cpu_count, is_memory_error, worker_pool
from stages.params import App

PREFIX = "deepfake-uploads-"

# A step of `predict_video`: the words on the page, and where it starts and ends on the progress bar.
STEPS = {
    "drawing the timeline": ("Drawing the timeline", 0.0, 0.1),
    "annotating the video": ("Annotating the video", 0.1, 1.0),
}


@dataclass(frozen=True)
class Result:
    """`record` is what the infer stage writes as JSON; `files` has .mp4, .png and .faces.png, where they exist."""

    name: str
    record: dict[str, Any]
    files: dict[str, bytes]


@dataclass
class PendingUpload:
    """An upload until its result is fetched: `name` is the visitor's name for it, `folder` holds all its files."""

    name: str
    folder: Path
    task: PredictionTask
    result: Result | None = None

    def progress(self) -> tuple[str, float | None]:
        """The current step in words and the fraction that is done, 0 to 1; None where it is not known."""
        try:
            step, fraction = json.loads((self.folder / "progress.json").read_text())
        except FileNotFoundError:
            return "Waiting", None
        if step not in STEPS:
            return "Detecting faces", None
        words, start, end = STEPS[step]
        return words, start + fraction * (end - start)

    def collect(self, future: Future[dict[str, Any]]) -> None:
        """Read the result and delete the folder. Called when prediction ends, even if no page waits for it any more."""
        result = failure(self.name, "Its results could not be read.")
        try:
            error = future.exception()
            record = give_up_pictures(self.task, _describe_interruption(error)) if error else future.result()
            if record:
                record = _with_visitors_name(record, self.task.video, self.name)
                result = Result(self.name, record, _read_files(self.task))
            elif error:
                result = failure(self.name, _describe(error, self.task.video, self.name))
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.result = result


@dataclass(frozen=True)
class UploadPool:
    """The worker processes of a server and the folder of its uploads, which `lock` holds (see `_lock`)."""

    pool: ProcessPool
    folder: Path
    lock: IO[str]

    def close(self) -> None:
        """Stop all predictions and delete all uploads."""
        self.pool.stop()
        self.pool.join()
        self.lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_upload_pool(app: App) -> UploadPool:
    """Delete uploads that a killed server left, and start the workers. The pool closes when the server ends.

    There are at least two workers, so that a short video does not wait for the end of a long one.
    """
    _delete_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = _lock(folder)
    workers = app.workers or max(2, cpu_count())
    upload_pool = UploadPool(worker_pool(predict_upload, workers, app.memory), folder, lock)
    atexit.register(upload_pool.close)
    return upload_pool


def _delete_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            _lock(folder).close()
        except OSError:
            continue  # its server still runs, or the folder belongs to another user
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> IO[str]:
    """Lock `folder` until the returned file is closed or this process ends, however it ends.

    Raises OSError if another process holds the lock.
    """
    file = (folder / "lock").open("w")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def submit(upload_pool: UploadPool, name: str, content: bytes, settings: PredictionSettings, app: App) -> PendingUpload:
    """Store an upload in a folder of its own and schedule its prediction."""
    folder = Path(tempfile.mkdtemp(dir=upload_pool.folder))
    video = folder / "upload"
    video.write_bytes(content)
    video_id, pixels = name_videos([name])[0], int(app.megapixels * 1_000_000)
    task = PredictionTask(str(video), video_id, str(folder / "results"), settings, app.device, True, pixels)
    upload = PendingUpload(name, folder, task)
    upload_pool.pool.schedule(predict_upload, [task, app], timeout=app.timeout).add_done_callback(upload.collect)
    return upload


def failure(name: str, message: str) -> Result:
    return Result(name, {"verdict": "error", "message": message}, {})


def predict_upload(task: PredictionTask, app: App) -> dict[str, Any]:
    """Runs in a worker process. Raises VideoError for a file that is no video or exceeds the limits."""
    folder = Path(task.video).parent
    _write_progress(folder, "detecting faces", 0.0)
    check_limits(Path(task.video), app)
    from deepfake_detector.inference.predict import predict_video

    Path(task.output).mkdir()
    return predict_video(task, lambda step, fraction: _write_progress(folder, step, fraction))


def check_limits(path: Path, app: App) -> None:
    """Check size and length as the container gives them, before anything is decoded. Raises VideoError."""
    size = path.stat().st_size
    if size > app.megabytes * 1_000_000:
        raise VideoError(f"The file has {size / 1e6:.0f} MB; the limit is {app.megabytes} MB.")
    info = probe(path)
    if info.width * info.height > app.megapixels * 1_000_000:
        pixels = f"{info.width} × {info.height} pixels"
        raise VideoError(f"A frame has {pixels}; the limit is {app.megapixels:g} megapixels.")
    if info.times[-1] > app.seconds:
        seconds = f"{info.times[-1]:.0f} seconds"
        raise VideoError(f"The video lasts {seconds}; the limit is {app.seconds}. Cut out the part in question.")


def _write_progress(folder: Path, step: str, fraction: float) -> None:
    with atomic_path(folder / "progress.json") as part:
        part.write_text(json.dumps([step, fraction]))


def _read_files(task: PredictionTask) -> dict[str, bytes]:
    paths = {suffix: task.result_path(suffix) for suffix in PICTURES.values()}
    return {suffix: path.read_bytes() for suffix, path in paths.items() if path.is_file()}


def _with_visitors_name(record: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    """The record with the visitor's name of the video in place of its path on the server."""
    return {**record, "filepath": name, "message": record["message"].replace(path, name)}


def _describe_interruption(error: BaseException) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else "an error ended it"


def _describe(error: BaseException, path: str, name: str) -> str:
    if isinstance(error, TimeoutError):
        return "It took too long and was stopped. Cut out the part in question, or run: python -m stages.infer"
    if is_memory_error(error):
        return "It needs more memory than it may use. Cut out the part in question, or run: python -m stages.infer"
    return str(error).replace(path, name)
