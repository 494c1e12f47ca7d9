"""Uploads judged in processes of their own: a page only looks on, so that one slow video holds up nobody's page."""

import atexit
import fcntl
import json
import multiprocessing
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pebble import ProcessFuture, ProcessPool

from deepfake_detector.faces.sources import name_videos
from deepfake_detector.faces.video_reader import VideoError, probe
from deepfake_detector.inference.task import PredictionSettings, PredictionTask
from stages.params import App, Params

PREFIX = "deepfake-uploads-"

# Step as `judge_video` names it, to the words on the page and the share of all drawing before it and after it.
STEPS = {
    "drawing the video": ("Drawing the annotated video", 0.0, 0.9),
    "drawing the timeline": ("Drawing the timeline", 0.9, 1.0),
}


@dataclass(frozen=True)
class Result:
    """`record` as `stages.infer` writes it; `files` by suffix: .mp4, .png, .faces.png, as far as there are any."""

    name: str
    record: dict[str, Any]
    files: dict[str, bytes]


@dataclass
class PendingUpload:
    """One video on its way: `name` as its owner calls it; `result` when it is done. Until then all of it is in `folder`."""

    name: str
    folder: Path
    job: PredictionTask
    result: Result | None = None

    def progress(self) -> tuple[str, float | None]:
        """What is being done, in words, and the share of it that is done; None where that is not known."""
        try:
            step, share = json.loads((self.folder / "progress.json").read_text())
        except FileNotFoundError:
            return "Waiting for its turn", None
        if step not in STEPS:
            return "Looking for faces", None
        words, start, end = STEPS[step]
        return words, start + share * (end - start)

    def collect(self, future: ProcessFuture) -> None:
        """Called when judging is over, whether anybody still looks on or not: the upload and its results leave the disk."""
        result = failure(self.name, "Its results could not be read.")
        try:
            error = future.exception()
            if error is None:
                result = Result(self.name, _named(future.result(), self.job.place, self.name), _read(self.job))
            else:
                result = failure(self.name, _explain(error, self.job.place, self.name))
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.result = result


@dataclass(frozen=True)
class UploadPool:
    """Where and by whom uploads are judged. No more than one is made by a server."""

    pool: ProcessPool
    folder: Path

    def close(self) -> None:
        """Stop judging and delete all uploads."""
        self.pool.stop()
        self.pool.join()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_upload_pool(app: App) -> UploadPool:
    """At least two processes, so that a short video need not wait for the end of a long one. It closes with the server.

    What a server that was killed could not delete is deleted first.
    """
    _delete_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    _lock(folder)
    workers = app.workers or max(2, len(os.sched_getaffinity(0)))
    workshop = UploadPool(ProcessPool(workers, context=multiprocessing.get_context("spawn")), folder)
    atexit.register(workshop.close)
    return workshop


def _delete_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            os.close(_lock(folder))
        except OSError:
            continue  # its server lives, or it is somebody else's
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> int:
    """Hold `folder` until this process ends, however it ends, or closes what is returned. Raises OSError if another holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def submit(
    workshop: UploadPool, name: str, content: bytes, settings: PredictionSettings, device: str, app: App
) -> PendingUpload:
    """Store an upload in a folder of its own and have it judged. Its name is made fit for a path first."""
    folder = Path(tempfile.mkdtemp(dir=workshop.folder))
    upload = folder / "upload"
    upload.write_bytes(content)
    job = PredictionTask(str(upload), name_videos([name])[0], str(folder / "results"), settings, device, sheet=True)
    case = PendingUpload(name, folder, job)
    workshop.pool.schedule(predict_upload, [job, app], timeout=app.timeout).add_done_callback(case.collect)
    return case


def failure(name: str, message: str) -> Result:
    return Result(name, {"verdict": "error", "message": message}, {})


def predict_upload(job: PredictionTask, app: App) -> dict[str, Any]:
    """Runs in a process of the pool. Raises VideoError for a video that is none or is over the limits."""
    _tell(Path(job.place).parent, "looking for faces", 0.0)
    check_limits(Path(job.place), app)
    from deepfake_detector.inference.predict import predict_video

    Path(job.output).mkdir()
    return predict_video(job, lambda step, share: _tell(Path(job.place).parent, step, share))


def check_limits(path: Path, app: App) -> None:
    """Ask the container itself, whatever its name says, before anything is decoded. Raises VideoError."""
    if path.stat().st_size > app.megabytes * 1_000_000:
        raise VideoError(f"The file has {path.stat().st_size / 1e6:.0f} MB; at most {app.megabytes} MB are taken.")
    info = probe(path)
    if info.width * info.height > app.megapixels * 1_000_000:
        size = f"{info.width} × {info.height} pixels"
        raise VideoError(f"Its pictures have {size}; at most {app.megapixels:g} megapixels are taken.")
    if info.times[-1] > app.seconds:
        raise VideoError(
            f"It lasts {info.times[-1]:.0f} seconds; at most {app.seconds} are taken. Cut out the part in question."
        )


def app_settings(params: Params, heatmap: bool = False) -> tuple[str, PredictionSettings] | None:
    """The newest detector, and how it judges; None where there is none."""
    files = [Path(params.infer.checkpoint), Path(params.export.output)]
    there = [path for path in files if path.is_file()]
    if not there:
        return None
    newest = max(there, key=lambda path: path.stat().st_mtime)
    runtime = "onnx" if newest.suffix == ".onnx" else "torch"
    settings = PredictionSettings.of(
        params.model_copy(update={"infer": params.infer.model_copy(update={"runtime": runtime})})
    )
    overlay = "heatmap" if heatmap and runtime == "torch" else "boxes"
    return str(newest), replace(settings, overlay=overlay, timeline=True)


def _tell(folder: Path, step: str, share: float) -> None:
    part = folder / "progress.json.part"
    part.write_text(json.dumps([step, share]))
    part.replace(folder / "progress.json")


def _read(job: PredictionTask) -> dict[str, bytes]:
    paths = {suffix: job.result(suffix) for suffix in (".mp4", ".png", ".faces.png")}
    return {suffix: path.read_bytes() for suffix, path in paths.items() if path.is_file()}


def _named(record: dict[str, Any], place: str, name: str) -> dict[str, Any]:
    """The record with the owner's name of the video in place of ours."""
    return {**record, "filepath": name, "message": record["message"].replace(place, name)}


def _explain(error: BaseException, place: str, name: str) -> str:
    if isinstance(error, TimeoutError):
        return (
            "It took too long and was stopped. Cut out the part in question, or judge it with: python -m stages.infer"
        )
    return str(error).replace(place, name)
