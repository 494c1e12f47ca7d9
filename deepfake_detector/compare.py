"""Compare detectors by their predictions on the test videos: which differences in AUC are significant?

    python -m deepfake_detector.compare HEAD workspace
    python -m deepfake_detector.compare main my-experiment
    python -m deepfake_detector.compare fold-0 fold-1 fold-2
    python -m deepfake_detector.compare a-0,a-1,a-2,a-3,a-4 b-0,b-1,b-2,b-3,b-4
    python -m deepfake_detector.compare a-seed-1+a-seed-2+a-seed-3 b-seed-1+b-seed-2+b-seed-3

A revision is a commit, branch, tag or DVC experiment, or `workspace` for the current files. Each is compared with the
first on the test videos that both scored. The comparison gives the paired difference in video AUC with its 95 %
interval from a bootstrap over groups of people, and the p-value of a permutation test. Three or more revisions also
give mean ± standard deviation.

Cross-validation folds joined by commas count as one revision, in which each video is tested once. Scores are ranked
within each fold, because each fold has a detector of its own. More videos show smaller differences.

Trainings with different seeds joined by plus signs count as one revision, too: each video has the mean of its ranks.
Two single trainings differ by chance as well. So only with three or more of each does the command say that the
settings differ. It then counts both kinds of chance: the people, and the trainings.
"""

import argparse
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dvc.api
import numpy as np
import pandas as pd
from dvc.exceptions import DvcException
from scipy import stats

from deepfake_detector.evaluation.intervals import Number, effective_groups, format_interval, interval, summarise
from deepfake_detector.evaluation.metrics import roc_auc
from deepfake_detector.evaluation.significance import paired_auc_difference, permutation_test
from deepfake_detector.foreign_text import terminal_lines

MIN_TRAININGS = 3  # of each side, below which a difference may be one of these trainings only
MIN_GROUPS = 6  # with fewer groups no p-value can be below 5 %: with 5, the lowest is 2 / 2^5 = 0.0625
ALPHA = 0.05


class CompareError(Exception):
    """The revisions cannot be compared; the message says why."""


@dataclass(frozen=True)
class Files:
    """Where a revision keeps the predictions and the splits, relative to the root of the repository."""

    predictions: str = "data/predictions.csv"
    splits: str = "data/splits.csv"


def read_table(path: str, revision: str, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file of a revision that has `columns`, with `video_id` as text. Raises CompareError."""
    try:
        text = Path(path).read_text(encoding="utf-8") if revision == "workspace" else dvc.api.read(path, rev=revision)
    except (DvcException, OSError, UnicodeDecodeError) as error:
        advice = "check the revision, and fetch its files (dvc fetch)"
        raise CompareError(f"{path} of {revision} cannot be read: {error}; {advice}") from error
    numbers = {"logit": [""], "probability": [""]}
    try:
        table = pd.read_csv(io.StringIO(text), dtype={"video_id": str}, keep_default_na=False, na_values=numbers)
    except ValueError as error:  # pandas' errors, too
        raise CompareError(f"{path} of {revision} is no CSV table: {error}") from error
    if missing := [column for column in columns if column not in table]:
        raise CompareError(f"{path} of {revision} has no column {', '.join(missing)}; run its stage again")
    keys = [key for key in ("partition", "video_id") if key in columns]  # further corpora may use a name again
    if (repeated := table.duplicated(keys)).any():
        row = int(np.argmax(repeated))
        raise CompareError(f"{path} of {revision}, row {row + 2}: {table['video_id'][row]!r} is listed already")
    return table


def check_predictions(table: pd.DataFrame, name: str) -> None:
    """Raises CompareError for a label that is not 0 or 1, a partition without its name, or a logit without a value."""
    known = table["partition"].astype(str).str.fullmatch(r"[a-z0-9_-]+")  # of the corpus itself, or a further corpus
    label, logit = (pd.to_numeric(table[column], errors="coerce") for column in ("label", "logit"))
    for column, odd in (
        ("label", ~label.isin([0, 1])),
        ("partition", ~known),
        ("logit", ~np.isfinite(logit) & table["logit"].notna()),
    ):
        if odd.any():
            row = int(np.argmax(odd))
            raise CompareError(f"{name}, row {row + 2}: {column} {str(table[column][row])!r} is not possible")


@dataclass(frozen=True)
class RevisionScores:
    """The scored test videos of a revision, `video_id,label,score,group`, and the AUC of each of its trainings."""

    table: pd.DataFrame
    aucs: list[float]

    @property
    def variance(self) -> float:
        """Of the mean AUC over as many other trainings; 0 for a single one, whose variance is not known."""
        return statistics.variance(self.aucs) / len(self.aucs) if len(self.aucs) > 1 else 0.0


def read_test_scores(revisions: str, files: Files) -> RevisionScores:
    """The scores of a revision, or of several trainings joined by plus signs. Raises CompareError."""
    try:
        trainings = [training.split(",") for training in revisions.split("+")]
        names = [fold for folds in trainings for fold in folds]
        if "" in names or len(set(names)) < len(names):
            raise ValueError("each joined revision must have a name, and be named once")
        return join_trainings([join_folds([_read_revision(fold, files) for fold in folds]) for folds in trainings])
    except ValueError as error:
        raise CompareError(f"{revisions}: {error}") from error


def join_trainings(tables: list[pd.DataFrame]) -> RevisionScores:
    """The scores of trainings with different seeds, `video_id,label,score,group` each, as those of one revision.

    Raises ValueError if they scored different videos.
    """
    aucs = [roc_auc(table["label"], table["score"]) for table in tables]
    if len(tables) == 1:
        return RevisionScores(tables[0], aucs)
    ranked = pd.concat([table.assign(score=table["score"].rank(pct=True)) for table in tables])
    means = ranked.groupby("video_id", as_index=False, sort=False).agg(
        label=("label", "first"), score=("score", "mean"), group=("group", "first"), trainings=("score", "size")
    )
    if (means["trainings"] < len(tables)).any():
        raise ValueError("not all of these trainings scored the same test videos")
    return RevisionScores(means.drop(columns="trainings"), aucs)


def join_folds(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The scores of the detectors of several folds, `video_id,label,score,group` each, ranked within each fold.

    Raises ValueError if a video is in two of them.
    """
    if len(tables) > 1:
        tables = [table.assign(score=table["score"].rank(pct=True)) for table in tables]
    table = pd.concat(tables, ignore_index=True)
    repeated = table["video_id"][table["video_id"].duplicated()]
    if len(repeated):
        raise ValueError(f"video {repeated.iloc[0]} is in two test sets; join only folds of one split")
    return table


def _read_revision(revision: str, files: Files) -> pd.DataFrame:
    videos = read_table(files.predictions, revision, ["video_id", "partition", "label", "logit"])
    check_predictions(videos, f"{files.predictions} of {revision}")
    videos = videos[(videos["partition"] == "test") & videos["logit"].notna()]
    groups = read_table(files.splits, revision, ["video_id", "group"])[["video_id", "group"]]
    if len(lacking := videos["video_id"][~videos["video_id"].isin(groups["video_id"])]):
        raise CompareError(f"{files.splits} of {revision} has no row for video {lacking.iloc[0]}; evaluate that split")
    videos = videos.merge(groups, on="video_id")
    if videos["label"].nunique() < 2:
        raise CompareError(f"{revision}: the scored test videos are not of both classes, so they have no AUC")
    return videos.rename(columns={"logit": "score"})[["video_id", "label", "score", "group"]]


def auc_summary(table: pd.DataFrame, draws: int, seed: int) -> dict[str, Number]:
    """`auc`, `auc_low`, `auc_high` and `n` of the table of RevisionScores."""
    return summarise(table["label"], table["score"].rank(pct=True), 0.5, table["group"], draws, seed)


def describe_difference(first: RevisionScores, other: RevisionScores, draws: int, seed: int) -> str:
    """The difference in AUC of `other` less `first`, in words."""
    columns = ["video_id", "label", "score"]
    pairs = first.table.merge(other.table[columns], on=["video_id", "label"], suffixes=("_1", "_2"))
    if pairs["label"].nunique() < 2:
        return "no paired difference: the test videos in common are not of both classes"
    relabelled = int(first.table["video_id"].isin(other.table["video_id"]).sum()) - len(pairs)
    groups = pairs["group"].nunique()
    difference = paired_auc_difference(pairs, "score_1", "score_2", draws, seed)
    p = permutation_test(pairs, "score_1", "score_2", draws, seed)
    trainings = min(len(first.aucs), len(other.aucs))
    if trainings >= MIN_TRAININGS:
        between = first.variance + other.variance
        within = float(np.nanvar(difference[1:], ddof=1))  # a draw without a class has no difference
        difference = difference[0] + (difference - difference[0]) * np.sqrt(1 + between / max(within, 1e-12))
        spread = float(np.sqrt(within + between))
        p = max(
            p, float(2 * stats.t.sf(abs(difference[0]) / max(spread, 1e-12), len(first.aucs) + len(other.aucs) - 2))
        )
    low, high = interval(difference, effective_groups(pairs["label"], pairs["group"]))
    text = f"{difference[0]:+.4f}"
    if low is not None and high is not None:
        text += f", 95 % interval {max(low, -1):+.4f} to {min(high, 1):+.4f}"  # no two AUCs differ by more than 1
    if groups < MIN_GROUPS:
        verdict = "too few groups for significance"
    else:
        verdict = "significant" if p < ALPHA else "not significant"
        if trainings < MIN_TRAININGS:
            verdict += " for these trainings; others of the same settings may differ: join three of each with +"
    left_out = f" ({relabelled} of another label left out)" if relabelled else ""
    return f"{text}, p = {p:.3g}, {len(pairs)} videos{left_out}, {groups} groups of people: {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m deepfake_detector.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", metavar="REV", help="commit, branch, tag, experiment, or workspace")
    parser.add_argument("others", nargs="+", metavar="REV", help="revisions to compare with it")
    parser.add_argument("--predictions", default=Files.predictions, help="predictions CSV (default: %(default)s)")
    parser.add_argument("--splits", default=Files.splits, help="splits CSV (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws, exchanges (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: %(default)s)")
    args = parser.parse_args()
    if args.draws < 1:
        parser.error(f"--draws {args.draws}: give at least 1")
    if args.seed < 0:
        parser.error(f"--seed {args.seed}: give 0 or more")
    files, revisions = Files(args.predictions, args.splits), [args.first, *args.others]
    try:
        tables = [read_test_scores(revision, files) for revision in revisions]
    except CompareError as error:
        parser.error(terminal_lines(str(error)))
    summaries = [auc_summary(scores.table, args.draws, args.seed) for scores in tables]
    width = max(map(len, revisions))
    for revision, summary in zip(revisions, summaries, strict=True):
        print(f"{revision:{width}}  video AUC {format_interval(summary, 'auc')} on {summary['n']} test videos")
    if len(tables) > 2:
        values = [roc_auc(scores.table["label"], scores.table["score"]) for scores in tables]
        print(f"mean ± sd of {len(values)} revisions: {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}")
    for revision, scores in zip(args.others, tables[1:], strict=True):
        print(f"{revision} less {args.first}: {describe_difference(tables[0], scores, args.draws, args.seed)}")


if __name__ == "__main__":
    main()
