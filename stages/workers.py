"""One process for each core, one thread in each: the same function over many items, with a progress bar."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

import cv2
from pebble import ProcessPool
from tqdm import tqdm


def spread(function: Callable[[Any], Any], items: Sequence[Any], workers: int, title: str, unit: str) -> Iterator[tuple[int, Any]]:
    """Call `function` on each item in `workers` processes (0: one for each core), in no fixed order.

    Yields (position of the item, its result or the exception that it ended in): an item that kills its process costs
    itself only.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork would inherit locks of OpenCV's and PyTorch's threads
    with ProcessPool(workers or len(os.sched_getaffinity(0)), initializer=_one_thread, context=fresh) as pool:
        futures: dict[Any, int] = {pool.schedule(function, [item]): i for i, item in enumerate(items)}
        for future in tqdm(as_completed(futures), title, len(futures), unit=unit, smoothing=0.05):
            yield futures[future], future.exception() or future.result()


def _one_thread() -> None:
    cv2.setNumThreads(1)
