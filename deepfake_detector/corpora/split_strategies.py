"""The ways to divide a corpus: by groups, by its official partition, or by the official one with its leaks repaired."""

import numpy as np
import pandas as pd

from deepfake_detector.corpora.group_assignment import assign_groups, features, first_assigned, make_units
from deepfake_detector.corpora.identity_graph import Links
from deepfake_detector.corpora.leakage import SIDES
from stages.params import Split

TRAIN, VAL, TEST = range(3)
EXCLUDED = -1


class SplitError(Exception):
    """The corpus cannot be divided as asked; the message says why and what would help."""


class SplitAssignment:
    """A partition of every row of a labels table.

    Attributes:
        side: index into SIDES, or -1 for excluded: int (rows,).
        reason: why a row is excluded, else "": object (rows,).
        group: what a row was placed with: int (rows,), counted in the order of the rows.
        fold: int (rows,); -1 where the strategy has no folds.
    """

    def __init__(self, labels: pd.DataFrame, kinds: Links, settings: Split, kept: pd.DataFrame | None = None) -> None:
        """Divide by `settings.strategy`; `kinds` are the ties that bind, `kept` an earlier splits table that is to stand.

        Raises SplitError.
        """
        self._labels, self._settings = labels, settings
        self._kept = None if kept is None else kept.set_index("video_id").reindex(labels["video_id"])
        self._units = make_units(labels, kinds, settings.largest, self._kept_places())
        if settings.strategy == "grouped" and self._units.count < settings.folds:
            self._units = make_units(labels, kinds, 1 / settings.folds, self._kept_places())
        self._values = features(labels)
        self.group = self._units.home
        self.reason = np.full(len(labels), "", object)
        self.fold = np.full(len(labels), -1)
        {"grouped": self._by_groups, "official": self._officially, "repair": self._repaired}[settings.strategy]()
        fake = labels["label"].to_numpy() == 1
        for side, name in enumerate(SIDES):
            inside = fake[self.side == side]
            if not len(inside):
                raise SplitError(
                    f"no video is left for {name}: there are {self._units.count} separable groups of people; "
                    "see split.folds, split.val and split.largest"
                )
            if side != TEST and fake.any() != fake.all() and inside.any() == inside.all():
                raise SplitError(
                    f"{name} has {'fakes' if inside.any() else 'real videos'} only ({len(inside)}), and nothing can be learnt from "
                    "one kind: see split.val and split.seed, or the column subset"
                )

    def _kept_places(self) -> np.ndarray | None:
        if self._kept is None:
            return None
        sides = pd.Categorical(self._kept["partition"], SIDES).codes
        return np.where(sides < 0, -1, self._kept["fold"].fillna(0).to_numpy(int) * len(SIDES) + sides)

    @property
    def table(self) -> pd.DataFrame:
        """Columns `video_id,partition,group,fold`."""
        names = np.append(SIDES, "excluded")[self.side]
        return pd.DataFrame(
            {"video_id": self._labels["video_id"], "partition": names, "group": self.group, "fold": self.fold}
        )

    def _by_groups(self) -> None:
        units, settings = self._units, self._settings
        if units.count < settings.folds:
            raise SplitError(f"{units.count} separable groups of people are too few for split.folds = {settings.folds}")
        everything, nothing = np.ones(units.count, bool), np.full(units.count, -1)
        folds, placed, pinned = nothing, nothing, np.zeros(len(self._labels), bool)
        if self._kept is not None:
            fold, partition = self._kept["fold"].fillna(-1).to_numpy(int), self._kept["partition"]
            staying = np.where(partition.isin(SIDES), fold, -1)
            count = settings.folds
            folds = first_assigned(
                units.majority(staying, count), units.majority(fold, count), units.company(staying, count)
            )
            if (fold[partition == "test"] == settings.fold).all():
                sides = partition.map({"val": 0, "train": 1}).fillna(-1).to_numpy(int)
                placed = first_assigned(units.majority(sides, 2), units.company(sides, 2))
                pinned = partition.eq("excluded").to_numpy()
        folds = assign_groups(
            units, self._values, [1 / settings.folds] * settings.folds, settings.seed, folds, everything
        )
        rest = folds != settings.fold
        placed = self._validating(rest, np.where(rest, placed, -1))
        self.fold = folds[units.home]
        self._take(np.where(rest, placed, TEST))
        pinned = pinned & (self.side != EXCLUDED)
        self.side[pinned], self.reason[pinned] = EXCLUDED, "is excluded in split.keep"

    def _officially(self) -> None:
        self.side = self._subset()
        self.reason[self.side == EXCLUDED] = "has no official partition"
        self._complete()

    def _repaired(self) -> None:
        """Each unit goes where most of its rows are officially, in doubt to train, where it costs the test set nothing."""
        units, official = self._units, self._subset()
        places = first_assigned(units.majority(official, len(SIDES)), units.company(official, len(SIDES)))
        self._take(places)
        self.reason[units.touches @ (places < 0) > 0] = "has no official partition"
        self._complete()

    def _subset(self) -> np.ndarray:
        words = self._labels.get("subset", pd.Series("", index=self._labels.index)).str.lower()
        side = words.map({name: i for i, name in enumerate(SIDES)}).fillna(EXCLUDED).to_numpy(int)
        if not {TRAIN, TEST} <= set(side):
            found = ", ".join(sorted(set(words[words != ""]))) or "nothing"
            raise SplitError(
                f"split.strategy = {self._settings.strategy} needs a column subset with train and test (and val); it holds {found}"
            )
        return side

    def _complete(self) -> None:
        """Where the official partition has no val, whole units of train become it."""
        if (self.side == VAL).any():
            return
        train = self.side == TRAIN
        pool = np.zeros(self._units.count, bool)
        pool[self._units.touches[train].indices] = True
        placed = self._validating(pool, np.full(self._units.count, -1), train)
        side, reason = self.side, self.reason.copy()
        self._take(placed)
        self.side, self.reason = np.where(train, self.side, side), np.where(train, self.reason, reason)

    def _validating(self, pool: np.ndarray, start: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """For each unit of the pool TRAIN or VAL; `start` holds 0 for val, 1 for train, -1 for open."""
        values = self._values if rows is None else self._values * rows[:, None]
        val = self._settings.val
        return np.array([VAL, TRAIN, EXCLUDED])[
            assign_groups(self._units, values, [val, 1 - val], self._settings.seed, start, pool)
        ]

    def _take(self, places: np.ndarray) -> None:
        """Rows go where all their units are; those whose units are apart are excluded."""
        self.side = self._units.side(places)
        for row in np.flatnonzero(self.side == EXCLUDED):
            names = [SIDES[p] for p in sorted(set(places[self._units.touches[row].indices])) if p >= 0]
            self.reason[row] = f"joins {' and '.join(names)}"


def moved_videos(labels: pd.DataFrame, division: SplitAssignment) -> pd.DataFrame:
    """What a repair changed: `video_id,official,partition` of each video that is not where its official list has it."""
    table = division.table
    official = labels["subset"].str.lower()
    changed = (official != "") & (official.to_numpy() != table["partition"].to_numpy())
    return pd.DataFrame(
        {
            "video_id": labels["video_id"],
            "official": official,
            "partition": table["partition"],
            "reason": division.reason,
        }
    )[changed.to_numpy()]
