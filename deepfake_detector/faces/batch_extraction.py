"""Extraction from many videos: worker processes, the cache, and a record for every video, whatever happens to it."""

import errno
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from deepfake_detector.faces.archive import archive_path, make_shards
from deepfake_detector.faces.cache import FaceCache, file_state
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import Record, extract_video, failed_record
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.remote import TemporaryFileError, UrlLimits
from deepfake_detector.files import MAX_FILE_NAME
from deepfake_detector.parallel_map import is_memory_error, parallel_map
from deepfake_detector.ray_map import ray_map

CACHED_STATUSES = ("ok", "partial", "no_face")
FAILED_STATUSES = ("unreadable", "timeout", "crashed")  # may be different in the next run
STATUSES = CACHED_STATUSES + FAILED_STATUSES
# Errors of the machine or its set-up. They end the run, since they say nothing about the video.
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

logger = logging.getLogger(__name__)


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
    url_limits: UrlLimits,
    executor: str = "local",
) -> list[Record]:
    """Write the archives of all videos into `folder`. Only videos that the cache does not hold are processed.

    Args:
        videos: of each video, video_id, path or URL, and that of its original: see `extract_video`.
        geometry: frames to sample, and how faces are cropped.
        max_people: number of people kept for each video; "all" for everybody.
        folder: an empty folder for the archives.
        cache: results of earlier runs.
        workers: number of processes; 0 for one per core.
        timeout: seconds after which extraction from one video is stopped.
        memory: gigabytes that one process may use.
        url_limits: of the videos at URLs.
        executor: where the processes run: local (this machine), or ray (a cluster).

    Returns:
        A record for each video, in their order.

    Raises:
        FaceDetectorError: if the face detector is not available.
        ClusterError: if the Ray cluster cannot be used.
        OSError: if the results cannot be written.
    """
    keys = cache.keys([(path, original) for _, path, original in videos])
    make_shards(folder, len(videos))
    archives = [archive_path(folder, video_id) for video_id, *_ in videos]
    records = [refused(archive) for archive in archives]
    task = partial(extract_unchanged, geometry=geometry, max_people=max_people, folder=folder, url_limits=url_limits)
    for process_copies in (False, True):  # copies of a video are found in the cache, unless it could not be stored
        for i, record in enumerate(tqdm(records, "cache", unit="video", delay=1)):
            if record is None:
                records[i] = cache.get(keys[i], archives[i])
        missing = [i for i, record in enumerate(records) if record is None]
        first = {keys[i] or i: i for i in reversed(missing)}
        work = missing if process_copies else sorted(first.values())
        if not work:
            break
        if len(work) < len(videos) and not process_copies:
            logger.info("%d of %d videos are in the cache or copies of others", len(videos) - len(work), len(videos))
        create_face_detector(geometry.detector, geometry.threshold, geometry.detector_weights)  # fails before any work
        tasks = [videos[i] for i in work]
        spread = ray_map if executor == "ray" else parallel_map
        with closing(spread(task, tasks, workers, "extract", "video", timeout, memory)) as outcomes:
            for position, outcome in outcomes:
                i, failed = work[position], isinstance(outcome, BaseException)
                record, contents = (record_of(outcome, timeout, memory), ("", None)) if failed else outcome
                records[i] = record
                if record["report"]["status"] in CACHED_STATUSES:
                    cache.put(cache.key(*contents), archives[i], record)
                else:
                    archives[i].unlink(missing_ok=True)  # written before its process was stopped
    if cache.damaged:
        logger.warning("%d entries of the cache were damaged; their videos are extracted again", cache.damaged)
    return [record for record in records if record is not None]


def refused(archive: Path) -> Record | None:
    """The record of a video whose `archive` cannot have its name, since that is too long; None for others."""
    too_long = len(os.fsencode(archive.name)) - MAX_FILE_NAME
    if too_long <= 0:
        return None
    limit = MAX_FILE_NAME - len(os.fsencode(archive.suffix))
    return failed_record("unreadable", f"its video_id has {limit + too_long} bytes and names a file: at most {limit}")


def extract_unchanged(
    task: tuple[str, str, str], geometry: Geometry, max_people: int | str, folder: Path, url_limits: UrlLimits
) -> tuple[Record, tuple[str, str | None]]:
    """`extract_video`, with the SHA-256 of the files that the faces come from, as `FaceCache.key` takes them.

    A digest is empty if it is not certain that all was read from this content. If a file holds something else at the
    end, the video is unreadable.
    """
    paths = task[1:]
    before = [file_state(path) for path in paths]
    record = extract_video(task, geometry, max_people, folder, url_limits)
    after = [file_state(path) for path in paths]
    for path, earlier, later in zip(paths, before, after, strict=True):
        if earlier and later and earlier.sha256 != later.sha256:
            return failed_record("unreadable", f"{Path(path).name} changed while it was read"), ("", None)
    video, original = (
        earlier.sha256 if earlier and earlier == later else "" for earlier, later in zip(before, after, strict=True)
    )
    return record, (video, original if task[2] else None)


def record_of(outcome: BaseException, timeout: float, memory: float) -> Record:
    """The record of a video from the exception in which its worker ended.

    Raises the exception if the machine caused it, as a full disk does.
    """
    if isinstance(outcome, TimeoutError):
        return failed_record("timeout", f"took longer than extract.timeout = {timeout:g} seconds")
    if isinstance(outcome, TemporaryFileError) or (isinstance(outcome, OSError) and outcome.errno in MACHINE_ERRORS):
        raise outcome
    if is_memory_error(outcome):
        return failed_record("crashed", f"needed more than extract.memory = {memory:g} gigabytes")
    code = getattr(outcome, "exitcode", None)
    if code is not None:
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return failed_record("crashed", f"its process died ({cause})")
    return failed_record("crashed", f"{type(outcome).__name__}: {outcome}")
