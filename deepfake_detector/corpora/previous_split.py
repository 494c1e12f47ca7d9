"""An earlier split whose videos keep their fold and partition."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.split_units import Units, first_known


@dataclass(frozen=True)
class PreviousSplit:
    """An earlier split as seen from the rows of a labels table.

    Attributes:
        side: index into PARTITIONS; -1 if new or excluded: int (rows,).
        fold: -1 if new: int (rows,).
        excluded: bool (rows,).
    """

    side: np.ndarray
    fold: np.ndarray
    excluded: np.ndarray

    @classmethod
    def of_rows(cls, video_id: pd.Series, splits: pd.DataFrame | None) -> "PreviousSplit":
        """From an earlier splits table `video_id,partition,fold`; without one, every row is new."""
        if splits is None:
            splits = pd.DataFrame(columns=["video_id", "partition", "fold"])
        rows = splits.set_index("video_id").reindex(video_id)
        side = pd.Categorical(rows["partition"], PARTITIONS).codes.astype(int)
        return cls(side, rows["fold"].fillna(-1).to_numpy(int), rows["partition"].eq("excluded").to_numpy())

    def parts(self) -> np.ndarray:
        """One number for each fold and partition, -1 for rows that are new or excluded: int (rows,)."""
        return np.where(self.side < 0, -1, self.fold * len(PARTITIONS) + self.side)

    def tests_on(self, fold: int) -> bool:
        """Whether its test set is the fold `fold`, so that its partitions can be kept."""
        return bool((self.fold[self.side == PARTITIONS.index("test")] == fold).all())

    def unit_folds(self, units: Units, folds: int) -> np.ndarray:
        """The fold of each unit: int (units,); -1 if it is new."""
        included = np.where(self.side >= 0, self.fold, -1)
        return first_known(
            units.majority_of_own_rows(included, folds),
            units.majority_of_own_rows(self.fold, folds),
            units.majority_of_incident_rows(included, folds),
        )

    def unit_sides(self, units: Units) -> np.ndarray:
        """The side of each unit in train or val: int (units,); -1 if it is new or in the test set."""
        side = np.where(self.side == PARTITIONS.index("test"), -1, self.side)
        return first_known(units.majority_of_own_rows(side, 2), units.majority_of_incident_rows(side, 2))
