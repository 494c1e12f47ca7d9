"""The same function over many items in worker processes, one thread in each, with a progress bar."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from typing import Any

import cv2
from pebble import ProcessPool
from tqdm import tqdm

STOP_SECONDS = 5  # a pool that is stopped takes a fraction of a second, unless a message of a worker was cut off


def cpu_count() -> int:
    """Processors that this process may use, also where a container has a quota of them."""
    import joblib  # here: importing it takes long

    count: int = joblib.cpu_count()
    return count


def parallel_map(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    workers: int,
    title: str,
    unit: str,
    timeout: float | None = None,
    memory: float | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Call `function` on each item in `workers` processes (0: one for each core), in no fixed order.

    An item costs only itself when it crashes its process, takes longer than `timeout` seconds or needs more than
    `memory` gigabytes. The workers end when this process dies, and Ctrl-C reaches this process only.

    Yields:
        The position of an item, and its result or the exception that it ended in: TimeoutError after `timeout`, mostly
        MemoryError beyond `memory`.
    """
    others = multiprocessing.active_children()
    pool = worker_pool(function, min(workers or cpu_count(), max(len(items), 1)), memory)
    try:
        with _interrupts_held():
            futures: dict[Any, int] = {
                pool.schedule(function, [item], timeout=timeout): i for i, item in enumerate(items)
            }
        for future in tqdm(as_completed(futures), title, len(futures), unit=unit, smoothing=0.05):
            yield futures[future], future.exception() or future.result()
    finally:
        _stop(pool, others)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and never reaches processes that start in it or from threads of it.

    A worker that is still importing would end with a traceback of its own, and so would one whose start is cut off.
    """
    held: list[int] = []
    handler = None
    if threading.current_thread() is threading.main_thread() and (handler := signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    can_block = hasattr(signal, "pthread_sigmask")  # Windows has no such call
    if can_block:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # when it starts by itself, it lets signals through again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def _stop(pool: ProcessPool, others: Sequence[multiprocessing.process.BaseProcess]) -> None:
    """End the workers at once. A pool that waits for the rest of a message that a worker began is left behind.

    The workers are the child processes that are not among `others`. They end before the pool does: one that still
    starts, in the place of one that crashed, would miss its locks.
    """
    pool.stop()
    for process in multiprocessing.active_children():
        if process not in others:
            process.kill()
    joining = threading.Thread(target=pool.join, daemon=True)
    joining.start()
    joining.join(STOP_SECONDS)


def worker_pool(function: Callable[..., Any], processes: int, memory: float | None) -> ProcessPool:
    """Processes for `function`, each with one thread and at most `memory` gigabytes, that end when this one dies."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of OpenCV's and PyTorch's threads
    return ProcessPool(processes, initializer=_init_worker, initargs=(memory, function), context=context)


def is_memory_error(error: BaseException) -> bool:
    """Whether an item ended for want of memory, as Python, C++, OpenCV, PyTorch or ONNX Runtime say it."""
    words = ("bad_alloc", "Insufficient memory", "can't allocate memory", "Failed to allocate memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


def _init_worker(memory: float | None, function: Callable[..., Any]) -> None:
    """Prepare a fresh process. Unpickling `function` imports its module before the timeout of the first item starts."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler in Python would wait for the end of a call into C
    threading.Thread(target=_end_with_parent, daemon=True).start()
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


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
