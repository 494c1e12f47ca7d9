"""The same function over many items on a Ray cluster, with the results of `parallel_map`.

Ray is optional: requirements-cluster.txt. Each worker is an actor of Ray that holds a pool of one process. The pool
limits time and memory, and an item that kills its process kills neither the actor nor another item, as in
`parallel_map`. An item whose actor is lost, mostly with its node, goes to another actor.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pebble import ProcessPool
from tqdm import tqdm

from deepfake_detector.parallel_map import worker_pool

ATTEMPTS = 3  # of an item whose worker or node is lost; so an item that takes down nodes cannot go on for ever


class ClusterError(Exception):
    """The Ray cluster cannot be used; the message says why."""


class WorkerLostError(Exception):
    """The worker of an item was lost at every try, with its node or alone."""


def ray_map(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    workers: int,
    title: str,
    unit: str,
    timeout: float | None = None,
    memory: float | None = None,
    gpus_per_worker: float = 0,
) -> Generator[tuple[int, Any], None, None]:
    """Call `function` on each item on the cluster at RAY_ADDRESS, as `parallel_map` does on this machine.

    Without RAY_ADDRESS, a cluster that runs on this machine is used, or one is started for this call. Items are sent
    to workers that are free, never more. Every node must have this environment, and the current folder under the same
    path.

    Args:
        function, items, title, unit, timeout, memory: as for `parallel_map`.
        workers: processes on all nodes together; 0: one for each core of the cluster, as far as its GPUs suffice.
        gpus_per_worker: GPUs of a worker, such as 0.25; 0: none.

    Yields:
        The position of an item, and its result or the exception that it ended in: those of `parallel_map`, or
        WorkerLostError.

    Raises ClusterError if the cluster cannot be used.
    """
    ray = _connect()
    try:
        count = workers or _workers_of(ray.cluster_resources(), gpus_per_worker)
        # Ray starts a lost worker again where there is room; `ready` waits for that, however often it happens.
        lasting = {"max_restarts": -1, "max_task_retries": -1}
        make = ray.remote(_Worker).options(num_cpus=1, num_gpus=gpus_per_worker, **lasting)
        team = [make.remote(str(Path.cwd()), function, memory) for _ in range(min(count, len(items)))]
        # A worker gets an item when it has answered: one that waits for a free core must not keep an item.
        running: dict[Any, tuple[Any, int | None]] = {worker.ready.remote(): (worker, None) for worker in team}
        waiting = deque(range(len(items)))
        losses: Counter[int] = Counter()
        with tqdm(desc=title, total=len(items), unit=unit, smoothing=0.05) as bar:
            while bar.n < len(items):
                done = ray.wait(list(running))[0][0]
                worker, position = running.pop(done)
                outcome = _outcome(done)
                if isinstance(outcome, WorkerLostError):
                    if position is None:
                        raise ClusterError(f"a worker of the Ray cluster does not start: {outcome.__cause__}")
                    running[worker.ready.remote()] = worker, None
                    losses[position] += 1
                    if losses[position] < ATTEMPTS:
                        waiting.appendleft(position)
                        continue
                elif waiting:
                    following = waiting.popleft()
                    call = worker.run.options(max_task_retries=0)
                    running[call.remote(items[following], timeout)] = worker, following
                else:
                    ray.kill(worker)  # its core may be what a lost worker needs to start again
                if position is not None:
                    bar.update()
                    yield position, outcome
    finally:
        ray.shutdown()


def _connect() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"the executor ray needs Ray, which is optional: pip install -r requirements-cluster.txt ({error})"
        ) from error
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        address = os.environ.get("RAY_ADDRESS", "not set")
        raise ClusterError(f"no connection to the Ray cluster (RAY_ADDRESS is {address}): {error}") from error
    return ray


def _workers_of(resources: dict[str, float], gpus_per_worker: float) -> int:
    count = resources.get("CPU", 0.0)
    if gpus_per_worker:
        count = min(count, resources.get("GPU", 0.0) / gpus_per_worker)
    if count < 1:
        raise ClusterError(
            f"the Ray cluster has no worker: it has {resources.get('CPU', 0):g} cores and "
            f"{resources.get('GPU', 0):g} GPUs, and a worker needs 1 core and {gpus_per_worker:g} GPUs"
        )
    return int(count)


def _outcome(done: Any) -> Any:
    """What a worker returned, or WorkerLostError. Raises what a worker raised, which its pool does not."""
    import ray

    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise ClusterError(f"a worker of the Ray cluster fails: {error.cause or error}") from error
    except ray.exceptions.RayError as error:
        lost = WorkerLostError(f"its worker or node was lost {ATTEMPTS} times")
        lost.__cause__ = error
        return lost


class _Worker:
    """A pool of one process in the folder `folder`, in an actor of Ray."""

    def __init__(self, folder: str, function: Callable[[Any], Any], memory: float | None) -> None:
        self._folder, self._function, self._memory = folder, function, memory

    @cached_property
    def _pool(self) -> ProcessPool:
        os.chdir(self._folder)
        return worker_pool(self._function, 1, self._memory)

    def ready(self) -> None:
        """Raises OSError if this node lacks the folder."""
        self._pool  # noqa: B018 (made by the first use)

    def run(self, item: Any, timeout: float | None) -> Any:
        future = self._pool.schedule(self._function, [item], timeout=timeout)
        return future.exception() or future.result()
