"""Crops from the archives, each drawn and augmented by a seed of its own, whatever process prepares it."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfake_detector.faces.archive import read_crops
from deepfake_detector.training.blending import blend
from stages.params import Train

SampleKey = tuple[
    int, int, int
]  # row of the table, seed of the draw, row of the face to blend in (its own: self-blend; -1: none)

Batch = tuple[torch.Tensor, torch.Tensor]  # crops uint8 RGB (n, 3, size, size), labels (n,)

KEPT = 2**29  # bytes of decoded crops that a process keeps in memory for the epochs to come

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # of a crop as it is stored


def to_tensor(crop: np.ndarray) -> torch.Tensor:
    """uint8 BGR (height, width, 3), as crops are stored, to uint8 RGB (3, height, width), as the network wants them."""
    return torch.from_numpy(np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)))


class FaceDataset(Dataset[tuple[torch.Tensor, float]]):
    """Faces of a table with columns `video_id,member,label`; an item is (uint8 RGB crop, label), addressed by a Key."""

    def __init__(
        self, faces: pd.DataFrame, folder: Path, transform: Transform | None = None, margin: float = 0
    ) -> None:
        self._places = list(zip(faces["video_id"], faces["member"], strict=True))
        self._labels = faces["label"].to_numpy(np.float32)
        self._folder = folder
        self._transform = transform
        self._margin = margin
        self._kept: dict[int, np.ndarray] = {}
        self._room = KEPT if transform else 0  # what is drawn anew is read again; all else is read once

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, float]:
        row, seed, donor = key
        crop, label = self._read(row), self._labels[row]
        if donor >= 0:
            other = None if donor == row else self._read(donor)
            crop, label = blend(crop, other, self._margin, np.random.default_rng([seed, 1])), np.float32(1)
        if self._transform:
            crop = self._transform(crop, np.random.default_rng(seed))
        return to_tensor(crop), label

    def _read(self, row: int) -> np.ndarray:
        """A crop as it is stored, not to be written to; the first ones read are kept for the epochs to come."""
        if row in self._kept:
            return self._kept[row]
        video_id, member = self._places[row]
        crop = read_crops(self._folder / f"{video_id}.zip", [member])[0]
        if crop.nbytes <= self._room:
            crop.flags.writeable = False
            self._kept[row] = crop
            self._room -= crop.nbytes
        return crop


class PairedBatchSampler(Sampler[list[SampleKey]]):
    """Batches of pairs, a fake face first, then the face of its own original at the nearest moment: identity tells nothing.

    One epoch shows every fake face once, but for those that blends of the real face stand in for, and every real video
    that no fake was made from, so that half of all faces are real whatever the corpus holds. A fake whose original is not
    among the faces is put beside any real face, a real face without a fake beside any fake. Of a batch, process `rank` of
    `size` gets every `size`-th pair.
    """

    def __init__(self, faces: pd.DataFrame, settings: Train, rank: int = 0, size: int = 1) -> None:
        fakes, reals = np.flatnonzero(faces["label"] == 1), np.flatnonzero(faces["label"] == 0)
        originals = nearest_originals(faces)[fakes] if settings.pairs else np.full(len(fakes), -1)
        used = faces["video_id"].iloc[originals[originals >= 0]].unique()
        alone = reals[~faces["video_id"].iloc[reals].isin(used)] if len(used) else reals[:0]
        self._pairs = np.concatenate([np.stack([fakes, originals], 1), np.stack([np.full(len(alone), -1), alone], 1)])
        self._fakes, self._reals = fakes, reals
        self._settings = settings
        self._rank, self._size = rank, size
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, len(self._pairs) * 2 // self._settings.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        rng = np.random.default_rng([self._settings.seed, self.epoch])
        order = rng.permutation(self._pairs)
        half = self._settings.batch_size // 2
        for step in range(len(self)):
            fakes, reals = order[step * half : (step + 1) * half].T
            fakes = np.where(fakes < 0, rng.choice(self._fakes, len(fakes)), fakes)
            reals = np.where(reals < 0, rng.choice(self._reals, len(reals)), reals)
            donors = self._donors(reals, rng)
            rows = np.where(donors >= 0, reals, fakes)
            seeds = rng.integers(0, 2**62, len(fakes))  # a fake and its original are augmented alike
            batch: list[SampleKey] = []
            for fake, real, seed, donor in zip(*(a.tolist() for a in (rows, reals, seeds, donors)), strict=True):
                batch += [(fake, seed, donor), (real, seed, -1)]
            yield [key for i, key in enumerate(batch) if i // 2 % self._size == self._rank]

    def _donors(self, reals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each pair the row whose face is blended into the real one, in place of the fake: another, its own, or -1: none."""
        way = rng.random(len(reals))
        others = np.where(way < self._settings.blend, rng.choice(self._reals, len(reals)), -1)
        own = (way >= self._settings.blend) & (way < self._settings.blend + self._settings.self_blend)
        return np.where(own, reals, others)


def nearest_originals(faces: pd.DataFrame) -> np.ndarray:
    """For each row of a table of faces the row of its original's face nearest in time, or -1: int (n,)."""
    result = np.full(len(faces), -1)
    if "source_video" not in faces:
        return result
    table = pd.DataFrame({"row": np.arange(len(faces)), "time": faces["time"].to_numpy()})
    table["video"], table["source"] = faces["video_id"].to_numpy(), faces["source_video"].to_numpy()
    reals = table[faces["label"].to_numpy() == 0].sort_values("time", kind="stable")
    fakes = table[faces["label"].to_numpy() == 1].sort_values("time", kind="stable")
    joined = pd.merge_asof(fakes, reals, on="time", left_by="source", right_by="video", direction="nearest")
    result[joined["row_x"]] = joined["row_y"].fillna(-1).astype(int)
    return result


class SequentialBatches(Sampler[list[SampleKey]]):
    """All faces once, in order, in batches of these lengths; nothing is drawn."""

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        rows = itertools.count()
        for length in self._lengths:
            yield [(row, 0, -1) for row in itertools.islice(rows, length)]


def prefetch(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """`batches` in their order, the next one prepared by a thread while `device` works on one.

    Not where one or two cores are all there is: the network's own threads wait for each other, and what is prepared beside them
    then holds both up (benchmarks/training.py).
    """
    if device.type == "cpu" and (os.cpu_count() or 1) <= 2:
        yield from batches
        return
    with ThreadPoolExecutor(1) as thread:
        source = iter(batches)
        coming = deque(thread.submit(next, source, None) for _ in range(2))
        while batch := coming.popleft().result():
            coming.append(thread.submit(next, source, None))
            yield batch


def make_loader(dataset: FaceDataset, sampler: Sampler[list[SampleKey]], workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="forkserver" if workers else None,
    )
