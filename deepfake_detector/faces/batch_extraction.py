"""Extraction from many videos: worker processes, the cache, and a record for every video, whatever happens to it."""

import errno
import logging
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_detector.faces.cache import FaceCache
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import Geometry, Record, extract_video, failed_record
from deepfake_detector.parallel_map import parallel_map
from deepfake_detector.ray_map import ray_map

STATUSES = ("ok", "partial", "no_face", "unreadable", "timeout", "crashed")
CACHED_STATUSES = ("ok", "partial", "no_face")  # the others may be different in the next run
# Errors of the machine or its set-up. They end the run, since they say nothing about the video.
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

logger = logging.getLogger(__name__)


class ArchiveFolderError(Exception):
    """A folder that should hold archives only holds another file; the message names it."""


def extract_videos(
    videos: Sequence[tuple[str, str, str]],
    geometry: Geometry,
    max_people: int | str,
    folder: Path,
    cache: FaceCache,
    *,
    workers: int,
    timeout: float,
    memory: float,
    executor: str = "local",
) -> list[Record]:
    """Write the archives of all videos into `folder`. Only videos that the cache does not hold are processed.

    Args:
        videos: of each video, video_id, path or URL, and that of its original: see `extract_video`.
        geometry: frames to sample, and how faces are cropped.
        max_people: number of people kept for each video; "all" for everybody.
        folder: an existing folder for the archives.
        cache: results of earlier runs.
        workers: number of processes; 0 for one per core.
        timeout: seconds after which extraction from one video is stopped.
        memory: gigabytes that one process may use.
        executor: where the processes run: local (this machine), or ray (a cluster).

    Returns:
        A record for each video, in their order.

    Raises:
        FaceDetectorError: if the face detector is not available.
        ClusterError: if the Ray cluster cannot be used.
        OSError: if the results cannot be written.
    """
    keys = cache.keys([(path, original) for _, path, original in videos])
    archives = [folder / f"{video_id}.zip" for video_id, *_ in videos]
    records = [cache.get(key, archive) for key, archive in zip(keys, archives, strict=True)]
    missing = [i for i, record in enumerate(records) if record is None]
    first: dict[str | int, int] = {}  # of the videos with the same content, only the first is processed
    original = {i: first.setdefault(keys[i] or i, i) for i in missing}
    work = list(first.values())
    if len(work) < len(videos):
        logger.info("%d of %d videos are in the cache or copies of others", len(videos) - len(work), len(videos))
    if work:
        create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)  # fails before any work
        task = partial(extract_video, geometry=geometry, max_people=max_people, folder=folder)
        tasks = [videos[i] for i in work]
        spread = ray_map if executor == "ray" else parallel_map
        for position, outcome in spread(task, tasks, workers, "extract", "video", timeout, memory):
            i = work[position]
            records[i] = record = record_of(outcome, timeout, memory)
            if record["report"]["status"] in CACHED_STATUSES:
                cache.put(keys[i], archives[i], record)
    for i in missing:
        records[i] = records[original[i]]
        if original[i] != i and archives[original[i]].exists():
            shutil.copyfile(archives[original[i]], archives[i])
    return [record for record in records if record is not None]


def record_of(outcome: Any, timeout: float, memory: float) -> Record:
    """The record of a video from the outcome of its worker: the record itself, or the exception in which it ended.

    Raises the exception if the machine caused it, as a full disk does.
    """
    if isinstance(outcome, dict):
        return outcome
    if isinstance(outcome, TimeoutError):
        return failed_record("timeout", f"took longer than extract.timeout = {timeout:g} seconds")
    if isinstance(outcome, OSError) and outcome.errno in MACHINE_ERRORS:
        raise outcome
    if isinstance(outcome, MemoryError) or "bad_alloc" in str(outcome) or "Insufficient memory" in str(outcome):
        return failed_record("crashed", f"needed more than extract.memory = {memory:g} gigabytes")
    code = getattr(outcome, "exitcode", None)
    if code is not None:
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return failed_record("crashed", f"its process died ({cause})")
    return failed_record("crashed", f"{type(outcome).__name__}: {outcome}")


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for archives that replaces `folder` when the block ends without an exception.

    Raises ArchiveFolderError if `folder` holds anything but archives, since that would be lost.
    """
    others = [path.name for path in folder.iterdir() if path.suffix not in (".zip", ".part")] if folder.is_dir() else []
    if others:
        raise ArchiveFolderError(f"{folder} holds {others[0]}, which is no archive of faces; give a folder of its own")
    for left_over in folder.parent.glob(f"{folder.name}.*.part"):
        shutil.rmtree(left_over, ignore_errors=True)  # a killed run left it
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
