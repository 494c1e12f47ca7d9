"""Face crops from the archives as tensors.

Each sample has its own seed, so that it does not matter which process prepares it.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfake_detector.faces.archive import archive_path, check_size, decode_crop, encode_crop, read_crops
from deepfake_detector.parallel_map import cpu_count
from deepfake_detector.registry import lookup
from deepfake_detector.training import MANIPULATIONS

CACHE_BYTES = 2**29  # decoded crops that a process keeps in memory

# Crops uint8 RGB (n, 3, size, size); labels float32 (n,); bool (n,): the face beside it is its original, cut alike.
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # of a crop, uint8 BGR (size, size, 3)


class SampleKey(NamedTuple):
    """What a sample is made from: the crop in `row` of the table, manipulated with the crop in row `donor` if
    `manipulation` says so.
    """

    row: int
    seed: int = 0
    manipulation: str = ""  # a name in MANIPULATIONS, or empty
    donor: int = -1
    aligned: bool = False  # the face beside it in the batch is its original at the same moment, cut alike


def to_tensor(crop: np.ndarray) -> torch.Tensor:
    """uint8 BGR (height, width, 3), as crops are stored, to uint8 RGB (3, height, width), as the network takes them."""
    return torch.from_numpy(np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)))


class FaceDataset(Dataset[tuple[torch.Tensor, np.float32, bool]]):
    """Crops of a table with the columns `video_id,member,label`. A SampleKey gives uint8 RGB crop, label, aligned."""

    def __init__(
        self,
        faces: pd.DataFrame,
        folder: Path,
        transform: Transform | None = None,
        margin: float = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`folder`: of the archives; `margin`: of the crops, for manipulations; `cache_bytes`: of decoded crops kept
        in memory.
        """
        self._videos, self._members = faces["video_id"].array, faces["member"].array  # columns: a list is far larger
        self._labels = faces["label"].to_numpy(np.float32)
        self._folder, self._transform, self._margin = folder, transform, margin
        self._shape: tuple[int, ...] = ()  # of the first crop, and so of all
        self._cache: dict[int, np.ndarray] = {}
        self._free_bytes = cache_bytes

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, np.float32, bool]:
        crop, label = self._read(key.row), self._labels[key.row]
        if key.manipulation:
            manipulate = lookup(MANIPULATIONS, key.manipulation)
            rng = np.random.default_rng([key.seed, 1])
            crop, label = manipulate(crop, lambda: self._read(key.donor), self._margin, rng), np.float32(1)
            # A stored fake was encoded after its face was changed. Else the fresh pixels would give blends away.
            crop = decode_crop(encode_crop(crop, self._members[key.row].rpartition(".")[2]))
        if self._transform:
            crop = self._transform(crop, np.random.default_rng(key.seed))
        return to_tensor(crop), label, key.aligned

    def _read(self, row: int) -> np.ndarray:
        """A stored crop, read-only. The first ones stay in memory for the next epochs."""
        if row in self._cache:
            return self._cache[row]
        video_id, member = self._videos[row], self._members[row]
        path = archive_path(self._folder, video_id)
        crop = read_crops(path, [member])[0]
        self._shape = self._shape or crop.shape
        check_size(crop, self._shape, f"{path}: {member}")
        crop.flags.writeable = False
        if crop.nbytes <= self._free_bytes:
            self._cache[row] = crop
            self._free_bytes -= crop.nbytes
        return crop


def prefetch(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """`batches` in order on `device`. A thread prepares the next one while the device computes.

    Not on one or two cores: the threads of the network wait for each other there, and work beside them holds up both
    (benchmarks/training.py).
    """
    if device.type == "cpu" and cpu_count() <= 2:
        yield from batches
        return
    with ThreadPoolExecutor(1) as thread:
        source = iter(batches)

        def load() -> Batch | None:
            batch = next(source, None)
            if batch is None:
                return None
            crops, labels, aligned = (part.to(device, non_blocking=True) for part in batch)
            return crops, labels, aligned

        pending = deque(thread.submit(load) for _ in range(2))
        while batch := pending.popleft().result():
            pending.append(thread.submit(load))
            yield batch


def make_loader(dataset: FaceDataset, sampler: Sampler[list[SampleKey]], workers: int) -> DataLoader[Any]:
    """Batches of `dataset` in the order of `sampler`, prepared by `workers` processes; 0: by this one."""
    context = None
    if workers:
        # Workers are forks of one server that has imported all they need. They start in a fraction of the time that
        # each of them would take to import torch, and inherit no locks of this process' threads.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "deepfake_detector.training.augmentation"])
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=context,
        pin_memory=torch.cuda.is_available(),
    )
