"""Throughput of extraction with one and more workers, on this machine and on a Ray cluster.

    python -m benchmarks.scaling VIDEOS [--workers 1 2] [--executors local ray] [--videos 300]

The cluster is the one at RAY_ADDRESS, or one that is started here. Videos are repeated in turn up to `--videos`. The
rate leaves out the start of the workers: it counts from the moment when each of them has finished a video. The last
column says whether the archives have the same bytes as those of the first row. The load of the machine stands above
the table: other work on the same cores lowers all rates, and those of several workers most.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from deepfake_detector.faces.extraction import Geometry, extract_video
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.parallel_map import cpu_count, parallel_map
from deepfake_detector.ray_map import ray_map

GEOMETRY = Geometry(16, 96, 0.3, "centerface", 0.5)  # as in params.yaml
MAPS: dict[str, Callable[..., Iterator[tuple[int, Any]]]] = {"local": parallel_map, "ray": ray_map}


def measure(executor: str, workers: int, tasks: list[tuple[str, str, str]]) -> tuple[float, float, str]:
    """Seconds in all, videos a second once every worker has finished one, and a digest of the archives."""
    with tempfile.TemporaryDirectory() as folder:
        work = partial(extract_video, geometry=GEOMETRY, max_people="all", folder=Path(folder))
        start, finished = time.perf_counter(), []
        for _, outcome in MAPS[executor](work, tasks, workers, f"{executor}, {workers}", "video", 600, 4):
            finished.append(time.perf_counter())
            if isinstance(outcome, Exception):
                raise outcome
        archives = sorted(Path(folder).rglob("*.zip"))
        digest = hashlib.sha256(b"".join(archive.read_bytes() for archive in archives)).hexdigest()
    rate = (len(finished) - workers) / (finished[-1] - finished[workers - 1])
    return finished[-1] - start, rate, digest


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("folder", metavar="VIDEOS")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--executors", nargs="+", choices=MAPS, default=list(MAPS))
    parser.add_argument("--videos", type=int, default=300)
    options = parser.parse_args()
    found, _ = find_videos([options.folder])
    if not Path(found[0]).is_file():
        parser.error(f"{options.folder} holds no video")
    tasks = [(f"{i:06d}", str(Path(found[i % len(found)]).resolve()), "") for i in range(options.videos)]
    rows = []
    for executor in options.executors:
        for workers in options.workers:
            load = os.getloadavg()[0]
            rows.append((executor, workers, load, *measure(executor, workers, tasks)))
    print(f"{len(tasks)} videos, {cpu_count()} cores\n")
    print("| executor | workers | load before | seconds in all | videos a second | against one worker | same bytes |")
    print("|---|---|---|---|---|---|---|")
    for executor, workers, load, seconds, rate, digest in rows:
        first = next(other for other in rows if other[0] == executor)
        print(
            f"| {executor} | {workers} | {load:.1f} | {seconds:.1f} | {rate:.2f} | {rate / first[4]:.2f} | "
            f"{'yes' if digest == rows[0][-1] else 'NO'} |"
        )


if __name__ == "__main__":
    main()
