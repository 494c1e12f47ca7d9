"""Which samples make up a batch."""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from torch.utils.data import Sampler

from deepfake_detector.training.dataset import SampleKey


class PairedBatchSampler(Sampler[list[SampleKey]]):
    """Batches of pairs: a fake face, then the face of its own original at the nearest time.

    So the person on screen does not reveal the label. Where extraction cut the original like the fake, at the same
    moment and place (`add_originals`), that crop is the real face.

    An epoch shows each fake face at most once; a manipulation of the real face replaces some of them. It also shows
    each real video that no fake was made from, so that half of all faces are real whatever the corpus holds. A fake
    without its original goes beside any real face, a real face without a fake beside any fake. Of several processes,
    each gets its share of the pairs of a batch.
    """

    def __init__(
        self,
        faces: pd.DataFrame,
        batch_size: int,
        seed: int,
        manipulations: Mapping[str, float],
        paired: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            faces: the training faces, with the columns `video_id,track,label,time` and perhaps `source_video,aligned`.
            manipulations: share of the fakes that each manipulation replaces, by name.
            paired: whether a fake goes beside its own original.
            rank, world_size: of this process among those that train together.
        """
        fakes, reals = np.flatnonzero(faces["label"] == 1), np.flatnonzero(faces["label"] == 0)
        originals = match_originals(faces)[fakes] if paired else np.full(len(fakes), -1)
        used = faces["video_id"].iloc[originals[originals >= 0]].unique()
        cut_alike = faces["aligned"].to_numpy() if "aligned" in faces else np.full(len(faces), -1)
        own = np.setdiff1d(reals, cut_alike)
        alone = own[~faces["video_id"].iloc[own].isin(used)] if len(used) else reals[:0]
        if paired:
            originals = np.where(cut_alike[fakes] >= 0, cut_alike[fakes], originals)
        self._cut_alike = cut_alike
        self._pairs = np.concatenate([np.stack([fakes, originals], 1), np.stack([np.full(len(alone), -1), alone], 1)])
        self._fakes, self._reals, self._donors = fakes, reals, Donors(reals, people_of(faces))
        # Each process gets as many pairs, where a batch takes all that there are, too.
        self._pairs_of_batch = min(batch_size // 2, len(self._pairs) // world_size * world_size)
        self._batch_size, self._seed, self._manipulations = batch_size, seed, dict(manipulations)
        self._rank, self._world_size = rank, world_size
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, len(self._pairs) * 2 // self._batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        rng = np.random.default_rng([self._seed, self.epoch])
        order = rng.permutation(self._pairs)
        half = self._pairs_of_batch
        for step in range(len(self)):
            fakes, reals = order[step * half : (step + 1) * half].T
            fakes = np.where(fakes < 0, rng.choice(self._fakes, len(fakes)), fakes)
            reals = np.where(reals < 0, rng.choice(self._reals, len(reals)), reals)
            names = draw_manipulations(self._manipulations, len(fakes), rng)
            donors = self._donors.draw(reals, rng)
            seeds = rng.integers(0, 2**62, len(fakes))  # a fake and its original are augmented alike
            batch: list[SampleKey] = []
            for fake, real, seed, name, donor in zip(
                *(a.tolist() for a in (fakes, reals, seeds, names, donors)), strict=True
            ):
                aligned = bool(self._cut_alike[fake] == real)
                batch.append(
                    SampleKey(real, seed, name, donor, True) if name else SampleKey(fake, seed, aligned=aligned)
                )
                batch.append(SampleKey(real, seed))
            yield [key for i, key in enumerate(batch) if i // 2 % self._world_size == self._rank]


def add_originals(faces: pd.DataFrame) -> pd.DataFrame:
    """A table of faces, and below it a row for the crop of the original beside each fake face that has one.

    The column `aligned` of a fake face holds the number of that row, or -1. Without a column `original` nothing is
    added.
    """
    fakes = np.flatnonzero((faces["label"] == 1) & (faces.get("original", "") != ""))
    originals = faces.iloc[fakes].assign(label=0)
    originals["member"] = originals.get("original", "")
    table = pd.concat([faces, originals], ignore_index=True)
    aligned = np.full(len(table), -1)
    aligned[fakes] = len(faces) + np.arange(len(fakes))
    return table.assign(aligned=aligned)


def draw_manipulations(shares: Mapping[str, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """For each of `count` fakes the name of the manipulation that replaces it, or an empty text: object (count,)."""
    names = np.array([*shares, ""], object)
    return names[np.searchsorted(np.cumsum(list(shares.values())), rng.random(count), side="right")]


def people_of(faces: pd.DataFrame) -> np.ndarray:
    """The person in each row of a table of faces, (n,): `identity`, else `group`, else `video_id`."""
    people = faces["video_id"].astype(str)
    for column in ("group", "identity"):
        if column in faces:
            named = faces[column].astype(str)
            people = people.where(named == "", column + " " + named)
    return people.to_numpy()


class Donors:
    """Rows from which the donor of a blend is drawn: each face of another person is equally likely.

    If nobody else is there, any face is drawn. What a draw needs of all rows is found once: it costs the same whatever
    the corpus holds.
    """

    def __init__(self, candidates: np.ndarray, people: np.ndarray) -> None:
        """`candidates`: int (n,), rows of a table; `people`: the person in each row of the table."""
        self._order = candidates[np.argsort(people[candidates], kind="stable")]
        _, self._starts, self._counts = np.unique(people[self._order], return_index=True, return_counts=True)
        self._own = np.full(len(people), -1)
        self._own[self._order] = np.repeat(np.arange(len(self._counts)), self._counts)

    def draw(self, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each of `targets`, which must be candidates, the row of a donor: int (n,)."""
        own = self._own[targets]
        others = len(self._order) - self._counts[own]
        drawn = (rng.random(len(targets)) * np.where(others > 0, others, len(self._order))).astype(int)
        behind = (others > 0) & (drawn >= self._starts[own])
        return np.asarray(self._order[drawn + np.where(behind, self._counts[own], 0)])


def match_originals(faces: pd.DataFrame) -> np.ndarray:
    """For each row of a table of faces, the row of its original's face that is nearest in time, or -1: int (n,).

    Of an original with several people, it is a face of the same `track`, since both videos show the same people; of any
    if there is none.
    """
    result = np.full(len(faces), -1)
    if "source_video" not in faces:
        return result
    table = faces[["time", "track"]].reset_index(drop=True).assign(row=np.arange(len(faces)))
    fake = faces["label"].to_numpy() == 1
    table["video"] = np.where(fake, faces["source_video"].to_numpy(), faces["video_id"].to_numpy())
    fakes, reals = (table[rows].sort_values("time", kind="stable") for rows in (fake, ~fake))
    for by in (["video"], ["video", "track"]):
        joined = pd.merge_asof(fakes, reals, on="time", by=by, direction="nearest").dropna(subset="row_y")
        result[joined["row_x"]] = joined["row_y"].astype(int)
    return result


class SequentialBatches(Sampler[list[SampleKey]]):
    """All faces of a table once, in order, in batches of these lengths; nothing is drawn."""

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        rows = itertools.count()
        for length in self._lengths:
            yield [SampleKey(row) for row in itertools.islice(rows, length)]
