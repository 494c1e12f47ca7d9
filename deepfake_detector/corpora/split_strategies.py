"""The strategies of a split: by groups, by the official partition, or by that partition with its leaks repaired."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.group_assignment import assign_groups, stratification_features
from deepfake_detector.corpora.identity_graph import Links
from deepfake_detector.corpora.previous_split import PreviousSplit
from deepfake_detector.corpora.split_units import Units, first_known, make_units

TRAIN, VAL, TEST = range(3)
EXCLUDED = -1
Strategy = Literal["grouped", "official", "repair"]


class SplitError(Exception):
    """The corpus cannot be split as requested. The message says why, and what would help."""


@dataclass(frozen=True)
class SplitAssignment:
    """The partition of every row of a labels table.

    Attributes:
        video_id: of each row, in the order of the rows.
        side: index into PARTITIONS, or -1 if excluded: int (rows,).
        reason: why a row is excluded, else "": object (rows,).
        group: the unit that the row belongs to, numbered in the order of the rows: int (rows,).
        fold: int (rows,); -1 if the strategy has no folds.
    """

    video_id: np.ndarray
    side: np.ndarray
    reason: np.ndarray
    group: np.ndarray
    fold: np.ndarray

    @property
    def table(self) -> pd.DataFrame:
        """The splits table, with the columns `video_id,partition,group,fold`."""
        partition = np.append(PARTITIONS, "excluded")[self.side]
        columns = {"video_id": self.video_id, "partition": partition, "group": self.group, "fold": self.fold}
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class _Request:
    """What all strategies need to know."""

    labels: pd.DataFrame
    units: Units
    features: np.ndarray
    seed: int
    val_fraction: float


def assign_splits(
    labels: pd.DataFrame,
    links: Links,
    *,
    strategy: Strategy,
    seed: int,
    folds: int,
    fold: int,
    val_fraction: float,
    max_group_share: float,
    previous: pd.DataFrame | None,
    val_methods: Sequence[str] = (),
) -> SplitAssignment:
    """Assign each row of a labels table to train, val or test so that no link crosses them, or exclude it.

    Args:
        labels: as `read_labels` returns it. The result depends on the order of the rows.
        links: the links that must not cross, as `identity_graph.links` returns them.
        strategy: "grouped" (folds of groups), "official" (the column `subset`) or "repair" (official, but leaking units
            are moved).
        seed: random seed.
        folds: number of folds of the grouped strategy.
        fold: the fold that is the test set, from 0.
        val_fraction: fraction of the videos outside the test set that validate.
        max_group_share: fraction of the videos above which a group is divided by people.
        previous: earlier splits table `video_id,partition,fold` whose videos keep their partition and fold; only
            for the grouped strategy.
        val_methods: methods of which no fake is in train. They are the only ones in val, so that the epoch and the
            threshold are chosen on manipulations that training did not see.

    Raises SplitError.
    """
    earlier = PreviousSplit.of_rows(labels["video_id"], previous)
    units = make_units(labels, links, max_group_share, earlier.parts())
    if strategy == "grouped" and units.count < folds:
        units = make_units(labels, links, 1 / folds, earlier.parts())
    request = _Request(labels, units, stratification_features(labels), seed, val_fraction)
    fold_of_row = np.full(len(labels), -1)
    if strategy == "grouped":
        side, reason, fold_of_row = _grouped(request, folds, fold, earlier)
    elif strategy == "official":
        side, reason = _official(request)
    else:
        side, reason = _repaired(request)
    if val_methods:
        _keep_methods_for_val(side, reason, labels, val_methods)
    _check_sides(side, labels, units.count)
    return SplitAssignment(labels["video_id"].to_numpy(), side, reason, units.unit, fold_of_row)


def _keep_methods_for_val(side: np.ndarray, reason: np.ndarray, labels: pd.DataFrame, methods: Sequence[str]) -> None:
    """Exclude, in place, the fakes of `methods` from train and those of all others from val."""
    made_by = labels.get("method", pd.Series("", index=labels.index))
    if unknown := sorted(set(methods) - set(made_by)):
        known = ", ".join(sorted(set(made_by) - {""})) or "none"
        raise SplitError(f"split.val_methods: no video has the method {unknown[0]!r}; methods are {known}")
    fake, kept = labels["label"].to_numpy() == 1, made_by.isin(methods).to_numpy()
    for excluded, why in (
        (fake & kept & (side == TRAIN), "its method is kept for validation"),
        (fake & ~kept & (side == VAL), "validation is on split.val_methods only"),
    ):
        side[excluded], reason[excluded] = EXCLUDED, why


def _check_sides(side: np.ndarray, labels: pd.DataFrame, units: int) -> None:
    """Raise SplitError if a side is empty, or if train or val lacks real videos or fakes in a corpus of both."""
    fake = labels["label"].to_numpy() == 1
    for number, name in enumerate(PARTITIONS):
        inside = fake[side == number]
        if not len(inside):
            raise SplitError(
                f"no video is left for {name}: there are {units} separable groups of people; "
                "see split.folds, split.val_fraction and split.max_group_share"
            )
        if number != TEST and fake.any() != fake.all() and inside.any() == inside.all():
            raise SplitError(
                f"{name} has only {'fakes' if inside.any() else 'real videos'} ({len(inside)}); training needs both: "
                "see split.val_fraction and split.seed, or the column subset"
            )


def _grouped(
    request: _Request, folds: int, fold: int, earlier: PreviousSplit
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sides, reasons and folds of the rows. The fold `fold` is the test set; some units of the others validate."""
    units = request.units
    if units.count < folds:
        raise SplitError(f"{units.count} separable groups of people are too few for split.folds = {folds}")
    everything = np.ones(units.count, bool)
    unit_folds = earlier.unit_folds(units, folds)
    unit_folds = assign_groups(units, request.features, [1 / folds] * folds, request.seed, unit_folds, everything)
    rest = unit_folds != fold
    same_test_set = earlier.tests_on(fold)  # else its sides do not fit
    unit_sides = earlier.unit_sides(units) if same_test_set else np.full(units.count, EXCLUDED)
    unit_sides = _train_or_val(request, rest, np.where(rest, unit_sides, EXCLUDED))
    side, reason = _row_sides(units, np.where(rest, unit_sides, TEST))
    if same_test_set:
        excluded = earlier.excluded & (side != EXCLUDED)
        side[excluded], reason[excluded] = EXCLUDED, "is excluded in split.previous_splits"
    return side, reason, unit_folds[units.unit]


def _official(request: _Request) -> tuple[np.ndarray, np.ndarray]:
    """Sides and reasons of the rows by the column `subset`."""
    side = _official_sides(request.labels)
    reason = np.where(side == EXCLUDED, "has no official partition", "").astype(object)
    return _with_validation(request, side, reason)


def _repaired(request: _Request) -> tuple[np.ndarray, np.ndarray]:
    """Sides and reasons of the rows: each unit goes to the side of most of its rows.

    In doubt it goes to train, where it costs the test set nothing.
    """
    units, official = request.units, _official_sides(request.labels)
    unit_sides = first_known(
        units.majority_of_own_rows(official, len(PARTITIONS)),
        units.majority_of_incident_rows(official, len(PARTITIONS)),
    )
    side, reason = _row_sides(units, unit_sides)
    reason[units.incidence @ (unit_sides < 0) > 0] = "has no official partition"
    return _with_validation(request, side, reason)


def _official_sides(labels: pd.DataFrame) -> np.ndarray:
    words = labels.get("subset", pd.Series("", index=labels.index))
    side = np.array(words.map({name: i for i, name in enumerate(PARTITIONS)}).fillna(EXCLUDED), int)
    if not {TRAIN, TEST} <= set(side):
        found = ", ".join(sorted(set(words[words != ""]))) or "nothing"
        advice = ""
        if TEST in side:
            advice = (
                ". A corpus with an official test set only, such as Celeb-DF, tests a detector: see evaluate.corpora"
            )
        raise SplitError(
            "split.strategy = official and repair need train and test (and val) in the column subset; it holds "
            + found
            + advice
        )
    return side


def _with_validation(request: _Request, side: np.ndarray, reason: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same sides and reasons, but with whole units of train as val, if there is no val."""
    if (side == VAL).any():
        return side, reason
    train = side == TRAIN
    pool = np.zeros(request.units.count, bool)
    pool[request.units.incidence[train].indices] = True
    unit_sides = _train_or_val(request, pool, np.full(request.units.count, EXCLUDED), train)
    new_side, new_reason = _row_sides(request.units, unit_sides)
    return np.where(train, new_side, side), np.where(train, new_reason, reason)


def _train_or_val(
    request: _Request, pool: np.ndarray, assigned: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """TRAIN or VAL for each unit of `pool`, bool (units,), as int (units,); others keep what `assigned` has.

    `assigned` holds the sides that units have already. Only `rows`, bool (rows,), count for the mixture (None: all).
    """
    features = request.features if rows is None else request.features * rows[:, None]
    order = np.array([VAL, TRAIN, EXCLUDED])  # the order of the parts
    parts = np.array([1, 0, -1])[assigned]  # TRAIN, VAL, EXCLUDED as parts
    fractions = [request.val_fraction, 1 - request.val_fraction]
    parts = assign_groups(request.units, features, fractions, request.seed, parts, pool)
    return np.asarray(order[parts])


def _row_sides(units: Units, unit_sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sides and reasons of the rows. A row whose units are on different sides is excluded."""
    side = units.row_parts(unit_sides)
    reason = np.full(len(side), "", object)
    for row in np.flatnonzero(side == EXCLUDED):
        names = [PARTITIONS[s] for s in sorted(set(unit_sides[units.incidence[row].indices])) if s >= 0]
        reason[row] = f"joins {' and '.join(names)}"
    return side, reason


def moved_videos(labels: pd.DataFrame, assignment: SplitAssignment) -> pd.DataFrame:
    """Videos whose partition differs from their official one, as rows `video_id,official,partition,reason`."""
    partition = assignment.table["partition"].to_numpy()
    official = labels["subset"]
    table = pd.DataFrame(
        {
            "video_id": labels["video_id"],
            "official": official,
            "partition": partition,
            "reason": assignment.reason,
        }
    )
    return table[((official != "") & (official != partition)).to_numpy()]
