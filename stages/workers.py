"""One process for each core, one thread in each: the same function over many items, with a progress bar."""

import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

import cv2
from pebble import ProcessPool
from tqdm import tqdm


def spread(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    workers: int,
    title: str,
    unit: str,
    timeout: float | None = None,
    memory: float | None = None,
) -> Iterator[tuple[int, Any]]:
    """Call `function` on each item in `workers` processes (0: one for each core), in no fixed order.

    Yields (position of the item, its result or the exception that it ended in): an item that kills its process, takes longer
    than `timeout` seconds (TimeoutError) or needs more than `memory` gigabytes (mostly MemoryError) costs itself only. When
    this process dies, its workers end.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork would inherit locks of OpenCV's and PyTorch's threads
    processes = min(workers or len(os.sched_getaffinity(0)), max(len(items), 1))
    with ProcessPool(processes, initializer=_start, initargs=(memory, function), context=fresh) as pool:
        futures: dict[Any, int] = {pool.schedule(function, [item], timeout=timeout): i for i, item in enumerate(items)}
        try:
            for future in tqdm(as_completed(futures), title, len(futures), unit=unit, smoothing=0.05):
                yield futures[future], future.exception() or future.result()
        except BaseException:
            pool.stop()
            raise


def _start(memory: float | None, function: Callable[[Any], Any]) -> None:
    """Make a fresh process ready. That `function` comes here has its module imported before the time of any item counts."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if memory:
        limit = int(memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
