"""Tables of an evaluation. Each row names what it describes, its sample sizes, and each metric with its interval."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report, confusion_matrix

from deepfake_detector.evaluation.aggregation import AGGREGATORS, aggregate_tracks, aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration, fit_calibration, sigmoid
from deepfake_detector.evaluation.intervals import (
    bootstrap,
    effective_groups,
    interval,
    is_small_sample,
    number,
    summarise,
)
from deepfake_detector.evaluation.metrics import Scale, WeightedScores, calibration_error
from deepfake_detector.evaluation.scored_videos import SCORE_COLUMNS

NO_ATTRIBUTES = {  # columns that do not divide videos into groups worth comparing
    *("video_id", "filepath", "path", "label", "identity", "donor", "source_video", "upload", "subset"),
    *("partition", "group", "fold", *SCORE_COLUMNS),
}
MAX_VALUES = 20  # a column with more different values is not broken down
LEVELS = ("video", "track", "frame")

Row = dict[str, Any]


@dataclass(frozen=True)
class Resampling:
    """How intervals are computed: the number of draws over groups of people, and their seed."""

    draws: int
    seed: int

    def summary(self, table: pd.DataFrame, threshold: float) -> Row:
        """`summarise` of a table `label,probability,group`, and whether it is a `small` sample."""
        row: Row = summarise(table["label"], table["probability"], threshold, table["group"], self.draws, self.seed)
        return row | {"small": is_small_sample(row)}


def to_level(faces: pd.DataFrame, level: str, aggregate: str, calibration: Calibration) -> pd.DataFrame:
    """One row for each video, track or frame (`level`), with its logit. All have the label of their video.

    Args:
        faces: `video_id,track,logit,label,group,partition`.
        aggregate: a name in AGGREGATORS.
        calibration: on its scale odds are averaged, as in the scores of the detector.
    """
    if level == "frame":
        return faces
    aggregated = (
        aggregate_tracks(faces, aggregate, calibration.scale)
        if level == "track"
        else aggregate_videos(faces, aggregate, calibration.scale).reset_index()
    )
    return aggregated.merge(
        faces.groupby("video_id", sort=False)[["label", "group", "partition"]].first(), on="video_id"
    )


def calibrate(table: pd.DataFrame, operating_point: str, fallback: Calibration) -> tuple[pd.DataFrame, Calibration]:
    """`table` with `probability`, and the calibration: fitted to its val rows, or `fallback` if these lack a class."""
    val = table[table["partition"] == "val"]
    calibration = fallback
    if val["label"].nunique() == 2:
        calibration = fit_calibration(val["label"], val["logit"], operating_point, videos=val["video_id"])
    return table.assign(probability=calibration.probability(table["logit"])), calibration


def compare_levels(
    faces: pd.DataFrame, videos: pd.DataFrame, calibration: Calibration, resampling: Resampling
) -> dict[str, dict[str, Row]]:
    """Metrics of videos, tracks and frames of test and val: {partition: {level: row}}.

    Videos keep the detector's own probabilities. Tracks and frames are calibrated separately, on validation videos.
    """
    result: dict[str, dict[str, Row]] = {"test": {}, "val": {}}
    for level in LEVELS:
        table, used = videos, calibration
        if level != "video":
            table = to_level(faces, level, calibration.aggregation, calibration)
            table, used = calibrate(table, calibration.operating_point, calibration)
        for partition, rows in result.items():
            summary = resampling.summary(table[table["partition"] == partition], used.threshold)
            rows[level] = summary | {"threshold": used.threshold}
    return result


def compare_aggregators(faces: pd.DataFrame, calibration: Calibration, resampling: Resampling) -> list[Row]:
    """Metrics of test videos under each aggregator, each calibrated separately on validation videos."""
    rows = []
    for name in AGGREGATORS:
        table, used = calibrate(to_level(faces, "video", name, calibration), calibration.operating_point, calibration)
        rows.append({"aggregator": name, **resampling.summary(table[table["partition"] == "test"], used.threshold)})
    return rows


def attribute_columns(labels: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns of a labels table that divide its videos, such as the method; then those with too many values for it."""
    columns = [column for column in labels if column not in NO_ATTRIBUTES and labels[column].nunique() > 1]
    return (
        [column for column in columns if labels[column].nunique() <= MAX_VALUES],
        [column for column in columns if labels[column].nunique() > MAX_VALUES],
    )


def breakdown(videos: pd.DataFrame, columns: Iterable[str], threshold: float, resampling: Resampling) -> list[Row]:
    """Metrics for each value of each column. A value of fakes only (a method) is compared with all real videos."""
    rows = []
    for column in columns:
        for value, part in videos[videos[column] != ""].groupby(column):
            fakes_only = not (part["label"] == 0).any()
            if fakes_only:
                part = pd.concat([part, videos[videos["label"] == 0]])
            rows.append(
                {"column": column, "value": value, "all_reals": fakes_only, **resampling.summary(part, threshold)}
            )
    return rows


def calibration_change(test: pd.DataFrame, calibration: Calibration, resampling: Resampling) -> Row:
    """ECE of test videos before calibration (sigmoid of the logit) and after, and the change, with intervals."""
    if test.empty:
        return {}
    label, logit = test["label"].to_numpy(float), test["logit"].to_numpy()
    before, after = sigmoid(logit), calibration.probability(logit)

    def errors(weights: np.ndarray) -> dict[str, np.ndarray]:
        old, new = (calibration_error(WeightedScores(label, p, weights)) for p in (before, after))
        return {"ece_before": old, "ece_after": new, "ece_change": new - old}

    row: Row = {}
    groups = effective_groups(label, test["group"])
    for name, values in bootstrap(errors, test["group"], resampling.draws, resampling.seed).items():
        row[name] = number(values[0])
        scale: Scale = "linear" if name == "ece_change" else "logit"
        row[f"{name}_low"], row[f"{name}_high"] = interval(values, groups, scale, len(test))
    return row


def coverage(videos: pd.DataFrame, report: pd.DataFrame) -> Row:
    """How many of `videos` (all of a partition) have a score, and the extraction status of the others."""
    scored = videos["verdict"] != "no_face"
    status = videos.loc[~scored, "video_id"].map(report.set_index("video_id")["status"]).fillna("not extracted")
    counts = {str(name): int(n) for name, n in status.value_counts().sort_index().items()}
    fraction = round(float(scored.mean()), 6) if len(videos) else 0.0
    return {"coverage": fraction, "videos": len(videos), "unscored": counts}


def count_verdicts(videos: pd.DataFrame) -> list[Row]:
    """How many videos of each class have each verdict."""
    counts = pd.crosstab(videos["label"], videos["verdict"])
    counts = counts.reindex(index=[0, 1], columns=["real", "uncertain", "fake", "no_face"], fill_value=0)
    return [{"label": name, **row} for name, row in zip(("real", "fake"), counts.to_dict("records"), strict=True)]


def compare_corpora(videos: dict[str, pd.DataFrame], threshold: float, resampling: Resampling) -> list[Row]:
    """Metrics of the scored videos of the test set, of each further corpus, and of all together, at one threshold.

    `slope` and `intercept` are from Cox's (1958) regression of the label on the log-odds of the probability: 1 and 0 if
    the probabilities are right. A slope below 1 means overconfidence; an intercept above 0, probabilities that are too
    low.
    """
    videos = {
        name: table.assign(group=[f"{name} {group}" for group in table["group"]]) for name, table in videos.items()
    }
    if len(videos) > 1:
        videos = {**videos, "all together": pd.concat(list(videos.values()))}
    return [
        {"corpus": name, **resampling.summary(table, threshold), **cox_regression(table)}
        for name, table in videos.items()
    ]


def cox_regression(table: pd.DataFrame) -> Row:
    """Slope and intercept, with both kinds weighing alike; None if a class is missing or the classes do not overlap."""
    real, fake = (table.loc[table["label"] == label, "probability"] for label in (0, 1))
    if real.empty or fake.empty or fake.min() >= real.max() or fake.max() <= real.min():
        return {"slope": None, "intercept": None}
    p = table["probability"].clip(1e-7, 1 - 1e-7)
    log_odds = np.log(p / (1 - p)).to_numpy()[:, None]
    line = LogisticRegression(C=1e6, class_weight="balanced").fit(log_odds, table["label"])
    return {"slope": number(line.coef_[0, 0]), "intercept": number(line.intercept_[0])}


def classification(table: pd.DataFrame, threshold: float) -> list[Row]:
    """scikit-learn's classification report at the threshold, and the confusion matrix, of scored videos.

    Returns:
        Rows `real`, `fake`, `macro avg` and `weighted avg` with `precision,recall,f1,videos`. The first two also have
        `predicted_real` and `predicted_fake`, the number of their videos below the threshold and from it on; else None.
    """
    if table.empty:
        return []
    predicted = (table["probability"] >= threshold).astype(int)
    report = classification_report(
        table["label"], predicted, labels=[0, 1], target_names=["real", "fake"], output_dict=True, zero_division=np.nan
    )
    counts = dict(
        zip(("real", "fake"), confusion_matrix(table["label"], predicted, labels=[0, 1]).tolist(), strict=True)
    )
    rows = []
    for name in ("real", "fake", "macro avg", "weighted avg"):
        row: Row = {"class": name, "videos": int(report[name]["support"])}
        row |= {
            ours: number(report[name][key])
            for ours, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"))
        }
        row["predicted_real"], row["predicted_fake"] = counts.get(name, (None, None))
        rows.append(row)
    return rows
