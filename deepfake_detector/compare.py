"""Is one detector better than another, or is it noise? From the predictions of two or more revisions.

    python -m deepfake_detector.compare HEAD workspace
    python -m deepfake_detector.compare main my-experiment
    python -m deepfake_detector.compare fold-0 fold-1 fold-2
    python -m deepfake_detector.compare a-0,a-1,a-2,a-3,a-4 b-0,b-1,b-2,b-3,b-4

A revision is anything that git or DVC knows: a commit, branch, tag or experiment; `workspace` is what lies here. Each is compared
with the first on the test videos that both scored: the paired difference of video AUC with its 95 % interval from a bootstrap over
groups of people, and a p-value from exchanging their scores. Several revisions also give mean ± standard deviation. Folds of one
recipe, joined by commas, count as one: everybody is tested once, by scores ranked within the fold, and so a difference can show.
"""

import argparse
import io
import statistics
from pathlib import Path

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException

from deepfake_detector.evaluation.intervals import Number, interval, summarise
from deepfake_detector.evaluation.plots import with_interval
from deepfake_detector.evaluation.significance import paired_auc_difference, permutation_test
from stages.params import Params, fail, parse

TOO_FEW = 6  # groups with which no p-value can fall below 5 %: 2 / 2^5 is 0.06


def read_table(path: str, revision: str) -> pd.DataFrame:
    """A CSV of a revision."""
    try:
        text = Path(path).read_text(encoding="utf-8") if revision == "workspace" else dvc.api.read(path, rev=revision)
    except (DvcException, OSError) as error:
        fail(
            f"{path} of {revision} cannot be read: {error}; is it a revision whose outputs are in the DVC cache (dvc fetch)?"
        )
    return pd.read_csv(
        io.StringIO(text),
        dtype={"video_id": str},
        keep_default_na=False,
        na_values={"logit": [""], "probability": [""]},
    )


def scored_folds(revisions: str, params: Params) -> pd.DataFrame:
    """The scored test videos of a revision, or of several that are joined by commas: `video_id,label,score,group`."""
    names = revisions.split(",")
    tables = [scored_test(name, params) for name in names]
    if len(tables) > 1:  # each fold has its own detector, on a scale of its own
        tables = [table.assign(score=table["score"].rank(pct=True)) for table in tables]
    table = pd.concat(tables, ignore_index=True)
    if table["video_id"].duplicated().any():
        fail(
            f"{revisions}: {table['video_id'][table['video_id'].duplicated()].iloc[0]} is in two of these test sets; give folds"
        )
    return table


def scored_test(revision: str, params: Params) -> pd.DataFrame:
    """The scored test videos of one revision."""
    videos = read_table(params.data.predictions, revision)
    videos = videos[(videos["partition"] == "test") & videos["logit"].notna()]
    videos = videos.merge(read_table(params.data.splits, revision)[["video_id", "group"]], on="video_id")
    if videos["label"].nunique() < 2:
        fail(f"{revision} has no test videos of both kinds with a score; there is no AUC to compare")
    return videos.rename(columns={"logit": "score"})[["video_id", "label", "score", "group"]]


def summary(table: pd.DataFrame, params: Params) -> dict[str, Number]:
    """`auc` of scored videos, `auc_low` and `auc_high`, its 95 % interval over groups of people, and `n`, how many they are."""
    settings, ranks = params.evaluate, table["score"].rank(pct=True)
    return summarise(table["label"], ranks, 0.5, table["group"], settings.bootstrap, settings.seed)


def difference(first: pd.DataFrame, other: pd.DataFrame, params: Params) -> str:
    """The change of AUC from `first` to `other`, in words."""
    pairs = first.merge(other[["video_id", "label", "score"]], on=["video_id", "label"], suffixes=("_1", "_2"))
    if pairs["label"].nunique() < 2:
        return "no test videos of both kinds in common: no paired difference"
    settings, groups = params.evaluate, pairs["group"].nunique()
    change = paired_auc_difference(pairs, "score_1", "score_2", settings.bootstrap, settings.seed)
    low, high = interval(change, groups)
    p = permutation_test(pairs, "score_1", "score_2", settings.bootstrap, settings.seed)
    words = f"{change[0]:+.4f}"
    if low is not None and high is not None:
        words += f", 95 % interval {low:+.4f} to {high:+.4f}"
    words += f", p = {p:.3g}, on {len(pairs)} videos of {groups} groups of people: "
    if groups < TOO_FEW:
        return words + "too few groups to tell a difference from noise"
    return words + ("a real difference" if p < 0.05 else "not told from noise")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m deepfake_detector.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "revisions", nargs="+", metavar="REV", help="commit, branch, tag, experiment, or workspace; two or more"
    )
    revisions = parser.parse_args().revisions
    if len(revisions) < 2:
        fail("give two revisions or more, such as HEAD workspace")
    params = parse("evaluate", __doc__ or "", [])
    tables = {revision: scored_folds(revision, params) for revision in revisions}
    values, width = [], max(map(len, tables))
    for revision, table in tables.items():
        row = summary(table, params)
        values.append(float(row["auc"] or 0))
        print(f"{revision:{width}}  video AUC {with_interval(row, 'auc')} on {row['n']} test videos")
    if len(tables) > 2:
        print(f"mean ± sd of {len(values)} revisions: {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}")
    first, *others = tables
    for revision in others:
        print(f"{revision} less {first}: {difference(tables[first], tables[revision], params)}")


if __name__ == "__main__":
    main()
