"""The same function over many items in worker processes, one thread in each, with a progress bar."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

import cv2
from pebble import ProcessPool
from tqdm import tqdm


def cpu_count() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; macOS and Windows have no such call
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    workers: int,
    title: str,
    unit: str,
    timeout: float | None = None,
    memory: float | None = None,
) -> Iterator[tuple[int, Any]]:
    """Call `function` on each item in `workers` processes (0: one for each core), in no fixed order.

    An item costs only itself when it crashes its process, takes longer than `timeout` seconds or needs more than
    `memory` gigabytes. The workers end when this process dies.

    Yields:
        The position of an item, and its result or the exception that it ended in: TimeoutError after `timeout`, mostly
        MemoryError beyond `memory`.
    """
    with worker_pool(function, min(workers or cpu_count(), max(len(items), 1)), memory) as pool:
        futures: dict[Any, int] = {pool.schedule(function, [item], timeout=timeout): i for i, item in enumerate(items)}
        try:
            for future in tqdm(as_completed(futures), title, len(futures), unit=unit, smoothing=0.05):
                yield futures[future], future.exception() or future.result()
        except BaseException:
            pool.stop()
            raise


def worker_pool(function: Callable[[Any], Any], processes: int, memory: float | None) -> ProcessPool:
    """Processes for `function`, each with one thread and at most `memory` gigabytes, that end when this one dies."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of OpenCV's and PyTorch's threads
    return ProcessPool(processes, initializer=_init_worker, initargs=(memory, function), context=context)


def _init_worker(memory: float | None, function: Callable[[Any], Any]) -> None:
    """Prepare a fresh process. Unpickling `function` imports its module before the timeout of the first item starts."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if memory:
        _limit_memory(int(memory * 2**30))


def _limit_memory(limit: int) -> None:
    """Limit the memory of this process to `limit` bytes, where the system can: Linux does, macOS and Windows do not."""
    try:
        import resource
    except ImportError:
        return
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (OSError, ValueError):
        return


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
