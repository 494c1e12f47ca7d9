"""Uploads, predicted in worker processes: the page only watches, so a slow video delays no other visitor."""

import atexit
import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pebble import ProcessPool

from deepfake_detector.faces.sources import name_videos
from deepfake_detector.files import lock_file
from deepfake_detector.inference.prediction_task import OutputError, PredictionSettings, PredictionTask
from deepfake_detector.inference.records import PICTURES, give_up_pictures
from deepfake_detector.parallel_map import cpu_count, is_memory_error, worker_pool
from stages.params import App
from web_app.detectors import Detector
from web_app.worker import FACTS, THUMBNAIL, predict_upload, read_progress, write_json

PREFIX = "deepfake-uploads-"
LOCK = "lock"  # a file that the server locks while it runs
RECORD = "record.json"
OVERVIEW = ("verdict", "probability", "threshold", "suspicious_from", "suspicious_to", "message")  # kept in memory


@dataclass(frozen=True, eq=False)
class Result:
    """What an upload ended in. `overview` has the OVERVIEW of its record; everything else is in `folder`."""

    name: str
    folder: Path
    detector: Detector
    overview: dict[str, Any]
    size: int  # bytes on disk

    def record(self) -> dict[str, Any]:
        """What the infer stage writes as JSON, with the visitor's name of the video. Raises OSError if it is gone."""
        return dict(json.loads((self.folder / RECORD).read_text(encoding="utf-8")))

    def facts(self) -> dict[str, Any]:
        """What is known of the file: see `file_facts`. Empty if it could not even be read."""
        try:
            return dict(json.loads((self.folder / FACTS).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def picture(self, suffix: str) -> Path | None:
        """The file with this suffix, a value of PICTURES; None if it was not drawn."""
        path = self.folder / f"result{suffix}"
        return path if path.is_file() else None

    def thumbnail(self) -> bytes | None:
        try:
            return (self.folder / THUMBNAIL).read_bytes()
        except FileNotFoundError:
            return None


@dataclass(eq=False)
class PendingUpload:
    """An upload until it has a result: `name` is the visitor's name for it, `folder` holds all its files."""

    name: str
    owner: str  # the visitor, by the key of visitors.Visitors
    folder: Path
    task: PredictionTask
    detector: Detector
    size: int  # bytes on disk, or those that it may have if it is still to be fetched
    url: str = ""

    def progress(self) -> tuple[str, float | None]:
        """The current step in words and the fraction that is done, 0 to 1; None where it is not known."""
        return read_progress(self.folder)

    def store(self, content: IO[bytes]) -> None:
        """Write the content of the video. Raises OSError, and deletes the folder then."""
        try:
            with Path(self.task.video).open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def collect(self, future: Future[dict[str, Any]]) -> Result:
        """Delete the upload and keep the result. Called when prediction ends, even if no page waits for it any more."""
        record = failure("Its results could not be read.")
        with suppress(OutputError):  # a full disk
            error = future.exception()
            ended = give_up_pictures(self.task, _describe_interruption(error)) if error else future.result()
            record = ended or failure(_describe(error, self.task.video, self.name) if error else "")
            record |= {"filepath": self.name, "message": record["message"].replace(self.task.video, self.name)}
        Path(self.task.video).unlink(missing_ok=True)
        for suffix in PICTURES.values():
            if (drawn := self.task.result_path(suffix)).is_file():
                drawn.replace(self.folder / f"result{suffix}")
        shutil.rmtree(self.task.output, ignore_errors=True)
        with suppress(OSError):  # the page then says that the result is gone
            write_json(self.folder / RECORD, record)
        overview = {key: record.get(key) for key in OVERVIEW}
        size = sum(path.stat().st_size for path in self.folder.iterdir())
        return Result(self.name, self.folder, self.detector, overview, size)


OnResult = Callable[[PendingUpload, Result | None], None]  # None: it was cancelled


class UploadPool:
    """The worker processes of a server, the queue before them, and the folder of its uploads, which `lock` holds.

    The queue is fair: of the waiting uploads the one comes next whose visitor has the fewest before it.
    """

    def __init__(self, pool: ProcessPool, workers: int, folder: Path, lock: IO[str], app: App) -> None:
        self.pool, self.folder = pool, folder
        self._workers, self._lock, self._app = workers, lock, app
        self._mutex = threading.RLock()
        self._waiting: list[PendingUpload] = []
        self._running: dict[PendingUpload, Future[dict[str, Any]]] = {}
        self._on_result: dict[PendingUpload, OnResult] = {}

    def put(self, upload: PendingUpload, on_result: OnResult) -> None:
        """Queue an upload; `on_result` is called with its result from another thread."""
        with self._mutex:
            self._waiting.append(upload)
            self._on_result[upload] = on_result
        self._start_next()

    def places(self) -> dict[PendingUpload, int]:
        """The place of each waiting upload in the queue, from 1, in this order."""
        with self._mutex:
            return {upload: place for place, upload in enumerate(self._in_order(), 1)}

    def cancel(self, upload: PendingUpload) -> None:
        """End an upload without a result, and delete it."""
        with self._mutex:
            future = self._running.get(upload)
            if upload in self._waiting:
                self._waiting.remove(upload)
                self._drop(upload)
        if future:
            future.cancel()

    def close(self) -> None:
        """Stop all predictions and delete all uploads and results."""
        with self._mutex:
            self._waiting.clear()
        self.pool.stop()
        self.pool.join()
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _in_order(self) -> list[PendingUpload]:
        before = Counter(upload.owner for upload in self._running)
        keys = []
        for position, upload in enumerate(self._waiting):
            keys.append((before[upload.owner], position))
            before[upload.owner] += 1
        return [self._waiting[position] for _, position in sorted(keys)]

    def _start_next(self) -> None:
        while True:
            with self._mutex:
                if not self._waiting or len(self._running) >= self._workers:
                    return
                upload = self._in_order()[0]
                self._waiting.remove(upload)
                arguments = [upload.task, self._app, upload.url]
                future = self.pool.schedule(predict_upload, arguments, timeout=self._app.timeout)
                self._running[upload] = future
            future.add_done_callback(partial(self._end, upload))

    def _end(self, upload: PendingUpload, future: Future[dict[str, Any]]) -> None:
        try:
            if future.cancelled() or isinstance(future.exception(), CancelledError):
                self._drop(upload)
            else:
                self._on_result.pop(upload)(upload, upload.collect(future))
        finally:
            with self._mutex:
                del self._running[upload]
            if self.pool.active:
                self._start_next()

    def _drop(self, upload: PendingUpload) -> None:
        shutil.rmtree(upload.folder, ignore_errors=True)
        self._on_result.pop(upload)(upload, None)


def open_upload_pool(app: App) -> UploadPool:
    """Delete uploads that a killed server left, and start the workers. The pool closes when the server ends.

    There are at least two workers, so that a short video does not wait for the end of a long one.
    """
    _delete_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = lock_file(folder / LOCK)
    workers = app.workers or max(2, cpu_count())
    upload_pool = UploadPool(worker_pool(predict_upload, workers, app.memory), workers, folder, lock, app)
    atexit.register(upload_pool.close)
    return upload_pool


def _delete_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            lock_file(folder / LOCK).close()
        except OSError:
            continue  # its server still runs, or the folder belongs to another user
        shutil.rmtree(folder, ignore_errors=True)


def new_upload(
    pool: UploadPool,
    owner: str,
    name: str,
    size: int,
    settings: PredictionSettings,
    detector: Detector,
    app: App,
    url: str = "",
) -> PendingUpload:
    """An upload with a folder of its own, which `store` fills, or the worker from `url`. Raises OSError."""
    folder = Path(tempfile.mkdtemp(dir=pool.folder))
    video_id, pixels = name_videos([name])[0], int(app.megapixels * 1_000_000)
    task = PredictionTask(str(folder / "upload"), video_id, str(folder / "results"), settings, app.device, True, pixels)
    return PendingUpload(name, owner, folder, task, detector, size, url)


def failure(message: str) -> dict[str, Any]:
    """The record of an upload that got no verdict."""
    return {"verdict": "error", "message": message}


def _describe_interruption(error: BaseException) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else "an error ended it"


def _describe(error: BaseException, path: str, name: str) -> str:
    if isinstance(error, TimeoutError):
        return "It took too long and was stopped. Cut out the part in question, or run: python -m stages.infer"
    if is_memory_error(error):
        return "It needs more memory than it may use. Cut out the part in question, or run: python -m stages.infer"
    return str(error).replace(path, name)
