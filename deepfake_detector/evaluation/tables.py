"""The tables of an evaluation: each row says what it speaks of, what it rests on, and each metric with its interval."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report

from deepfake_detector.evaluation.aggregation import AGGREGATORS, aggregate_tracks, aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration, fit_calibration, sigmoid
from deepfake_detector.evaluation.intervals import bootstrap, interval, number, rests_on_little, summarise
from deepfake_detector.evaluation.metrics import calibration_error

SCORES = ("logit", "track", "frames", "faces", "probability", "verdict")  # columns that judging adds
KNOWN = {
    "video_id",
    "filepath",
    "path",
    "label",
    "identity",
    "donor",
    "source_video",
    "upload",
    "subset",
    "partition",
    "group",
    "fold",
    *SCORES,
}
MOST_VALUES = 20  # an attribute with more different values is no division into groups
LEVELS = ("video", "track", "frame")

Row = dict[str, Any]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn."""

    count: int
    seed: int

    def summary(self, table: pd.DataFrame, threshold: float) -> Row:
        """Metrics of a table with `label,probability,group`."""
        row: Row = summarise(table["label"], table["probability"], threshold, table["group"], self.count, self.seed)
        return row | {"small": rests_on_little(row)}


def at_level(faces: pd.DataFrame, level: str, how: str) -> pd.DataFrame:
    """Faces (`video_id,track,logit,label,group,partition`) as a table of `level`, a video's label being that of all its people."""
    if level == "frame":
        return faces
    table = aggregate_tracks(faces, how) if level == "track" else aggregate_videos(faces, how).reset_index()
    return table.merge(faces.groupby("video_id", sort=False)[["label", "group", "partition"]].first(), on="video_id")


def calibrated(table: pd.DataFrame, operating_point: str, fallback: Calibration) -> tuple[pd.DataFrame, Calibration]:
    """`table` with `probability`, and the calibration that gives it, learnt on its val rows alone."""
    val = table[table["partition"] == "val"]
    calibration = fallback
    if val["label"].nunique() == 2:
        calibration = fit_calibration(val["label"], val["logit"], val["group"], operating_point)
    return table.assign(probability=calibration.probability(table["logit"])), calibration


def levels(
    faces: pd.DataFrame, videos: pd.DataFrame, calibration: Calibration, draws: Bootstrap
) -> dict[str, dict[str, Row]]:
    """For test and val the metrics of videos, tracks and frames: {partition: {level: row}}.

    `videos` carries the detector's own probabilities; tracks and frames are calibrated for themselves, on validation.
    """
    result: dict[str, dict[str, Row]] = {"test": {}, "val": {}}
    for level in LEVELS:
        table, used = videos, calibration
        if level != "video":
            table, used = calibrated(
                at_level(faces, level, calibration.aggregate), calibration.operating_point, calibration
            )
        for name, rows in result.items():
            rows[level] = draws.summary(table[table["partition"] == name], used.threshold) | {
                "threshold": used.threshold
            }
    return result


def aggregates(faces: pd.DataFrame, calibration: Calibration, draws: Bootstrap) -> list[Row]:
    """Test videos under each way to make one score of many, each calibrated on validation for itself."""
    rows = []
    for how in AGGREGATORS:
        table, used = calibrated(at_level(faces, "video", how), calibration.operating_point, calibration)
        rows.append({"aggregate": how, **draws.summary(table[table["partition"] == "test"], used.threshold)})
    return rows


def attribute_columns(labels: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns of a labels CSV that divide videos into groups, and those with too many values to do so."""
    columns = [column for column in labels if column not in KNOWN and labels[column].nunique() > 1]
    return (
        [column for column in columns if labels[column].nunique() <= MOST_VALUES],
        [column for column in columns if labels[column].nunique() > MOST_VALUES],
    )


def breakdown(videos: pd.DataFrame, columns: Iterable[str], threshold: float, draws: Bootstrap) -> list[Row]:
    """Metrics for each value of each column; of a value that only fakes have (a method), against all real videos."""
    rows = []
    for column in columns:
        for value, part in videos[videos[column] != ""].groupby(column):
            against_all = not (part["label"] == 0).any()
            if against_all:
                part = pd.concat([part, videos[videos["label"] == 0]])
            rows.append({"column": column, "value": value, "all_reals": against_all, **draws.summary(part, threshold)})
    return rows


def calibration_change(test: pd.DataFrame, calibration: Calibration, draws: Bootstrap) -> Row:
    """Reliability of test videos before calibration (the sigmoid of the logit) and after, and the change with its interval."""
    if test.empty:
        return {}
    label, logit = test["label"].to_numpy(float), test["logit"].to_numpy()
    before, after = sigmoid(logit), calibration.probability(logit)

    def errors(weights: np.ndarray) -> dict[str, np.ndarray]:
        one, two = (calibration_error(label, probability, weights) for probability in (before, after))
        return {"ece_before": one, "ece_after": two, "ece_change": two - one}

    row: Row = {}
    for name, values in bootstrap(errors, test["group"], draws.count, draws.seed).items():
        row[name] = number(values[0])
        scale = "linear" if name == "ece_change" else "share"
        row[f"{name}_low"], row[f"{name}_high"] = interval(values, test["group"].nunique(), scale)
    return row


def coverage(videos: pd.DataFrame, report: pd.DataFrame) -> Row:
    """How many of `videos` (all of a partition) could be scored, and what extraction says of the others."""
    scored = videos["verdict"] != "no_face"
    status = videos.loc[~scored, "video_id"].map(report.set_index("video_id")["status"]).fillna("not extracted")
    counts = {str(name): int(n) for name, n in status.value_counts().sort_index().items()}
    share = round(float(scored.mean()), 6) if len(videos) else 0.0
    return {"coverage": share, "videos": len(videos), "unscored": counts}


def verdicts(videos: pd.DataFrame) -> list[Row]:
    """How many videos of each kind got which verdict."""
    names = ("real", "uncertain", "fake", "no_face")
    return [
        {
            "truth": word,
            **{name: int(((videos["label"] == label) & (videos["verdict"] == name)).sum()) for name in names},
        }
        for label, word in ((0, "real"), (1, "fake"))
    ]


def corpora(videos: dict[str, pd.DataFrame], threshold: float, draws: Bootstrap) -> list[Row]:
    """Scored videos of the test set and of further corpora, and of all together, at one threshold.

    `slope` and `intercept` are of Cox's (1958) regression of the label on the log-odds of the probability given: 1 and 0 where
    a corpus' probabilities are right; a slope below 1 says too sure of itself, an intercept above 0 too little fake.
    """
    videos = {
        name: table.assign(group=[f"{name} {group}" for group in table["group"]]) for name, table in videos.items()
    }
    if len(videos) > 1:
        videos = {**videos, "all together": pd.concat(list(videos.values()))}
    return [{"corpus": name, **draws.summary(table, threshold), **cox_line(table)} for name, table in videos.items()]


def cox_line(table: pd.DataFrame) -> Row:
    """Slope and intercept; None where the kinds are not both there or do not overlap."""
    real, fake = (table.loc[table["label"] == label, "probability"] for label in (0, 1))
    if real.empty or fake.empty or fake.min() >= real.max() or fake.max() <= real.min():
        return {"slope": None, "intercept": None}
    p = table["probability"].clip(1e-7, 1 - 1e-7)
    line = LogisticRegression(C=1e6).fit(np.log(p / (1 - p)).to_numpy()[:, None], table["label"])
    return {"slope": number(line.coef_[0, 0]), "intercept": number(line.intercept_[0])}


def classification(table: pd.DataFrame, threshold: float) -> list[Row]:
    """Precision, recall and F1 of each kind of scored video, as scikit-learn's classification report has them, and how many of
    that kind were called what: the confusion matrix at the threshold.
    """
    if table.empty:
        return []
    called = (table["probability"] >= threshold).astype(int)
    report = classification_report(
        table["label"], called, labels=[0, 1], target_names=["real", "fake"], output_dict=True, zero_division=np.nan
    )
    names = {"precision": "precision", "recall": "recall", "f1-score": "f1"}
    counts = pd.crosstab(table["label"], called).reindex(index=[0, 1], columns=[0, 1], fill_value=0).to_numpy().tolist()
    confusion = dict(zip(("real", "fake"), counts, strict=True))
    rows = []
    for kind in ("real", "fake", "macro avg", "weighted avg"):
        row: Row = {"class": kind, **{ours: number(report[kind][theirs]) for theirs, ours in names.items()}}
        row["videos"] = int(report[kind]["support"])
        row["called_real"], row["called_fake"] = confusion.get(kind, (None, None))
        rows.append(row)
    return rows
