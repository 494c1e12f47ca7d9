"""All results of an evaluation as one tree of plain values, and the selections of it that are written as metrics."""

from typing import Any

import pandas as pd

from deepfake_detector.evaluation import tables
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.evaluation.scored_videos import ScoredVideos

HEADLINES = ("auc", "auc_low", "auc_high", "ap", "eer", "accuracy", "recall", "fpr", "log_loss", "ece")

Results = dict[str, Any]


def evaluate_detector(
    own: ScoredVideos,
    others: dict[str, ScoredVideos],
    calibration: Calibration,
    attributes: pd.DataFrame,
    resampling: tables.Resampling,
) -> Results:
    """Everything that is measured on scored videos. All values are valid strict JSON.

    Args:
        own: the corpus that the detector was trained on, with the partitions `val` and `test`.
        others: further corpora by name, which is also their partition.
        attributes: the labels of the whole own corpus, from which the columns to break down are chosen.
    """
    test, threshold = own.scored("test"), calibration.threshold
    scored = pd.concat([own.scored("val"), test])
    faces = own.faces[own.faces["video_id"].isin(scored["video_id"])]
    columns, too_many_values = tables.attribute_columns(attributes)
    corpora = {"test": own, **others}
    return {
        "levels": tables.compare_levels(faces, scored, calibration, resampling),
        "coverage": {
            name: tables.coverage(corpus.all_of(name), corpus.report)
            for name, corpus in {"val": own, **corpora}.items()
        },
        "classification": {name: tables.classification(own.scored(name), threshold) for name in ("val", "test")},
        "verdicts": tables.count_verdicts(own.all_of("test")),
        "calibration": tables.calibration_change(test, calibration, resampling),
        "aggregators": tables.compare_aggregators(faces, calibration, resampling),
        "breakdown": tables.breakdown(test, columns, threshold, resampling),
        "not_broken_down": too_many_values,
        "corpora": compare_corpora(corpora, calibration, resampling),
        "corpora_breakdown": [
            {"corpus": name, **row}
            for name, corpus in others.items()
            for row in tables.breakdown(
                corpus.scored(name), tables.attribute_columns(corpus.videos)[0], threshold, resampling
            )
        ],
    }


def compare_corpora(
    corpora: dict[str, ScoredVideos], calibration: Calibration, resampling: tables.Resampling
) -> list[tables.Row]:
    """`tables.compare_corpora` of scored corpora by name, with the AUC of their single faces as `frame_auc`."""
    scored = {name: corpus.scored(name) for name, corpus in corpora.items()}
    rows = tables.compare_corpora(scored, calibration.threshold, resampling)
    for row in rows:
        faces = corpora[row["corpus"]].faces if row["corpus"] in corpora else pd.DataFrame(columns=["partition"])
        faces = faces[faces["partition"] == row["corpus"]]
        ends = ("", "_low", "_high")
        values: tables.Row = dict.fromkeys((f"auc{end}" for end in ends), None)
        if len(faces):
            table = faces.assign(probability=calibration.face_probability(faces["logit"]))
            values = resampling.summary(table, calibration.threshold)
        row |= {f"frame_auc{end}": values[f"auc{end}"] for end in ends}
    return rows


def headline_metrics(results: Results) -> dict[str, Any]:
    """A dozen figures of the test set, to compare experiments by."""
    test = results["levels"]["test"]
    return {
        "video": {name: test["video"][name] for name in HEADLINES},
        "frame": {"auc": test["frame"]["auc"]},
        "coverage": results["coverage"]["test"]["coverage"],
        "threshold": test["video"]["threshold"],
    }


def all_metrics(results: Results) -> dict[str, Any]:
    """All metrics with their intervals: `test` and `val` by level, `calibration`, and further `corpora` by name."""
    coverage = results["coverage"]
    partitions = {
        name: {"coverage": coverage[name]["coverage"], "unscored": coverage[name]["unscored"], **levels}
        for name, levels in results["levels"].items()
    }
    corpora = {
        row["corpus"]: row
        | coverage.get(row["corpus"], {})
        | {"seen_in_training": results["seen_in_training"].get(row["corpus"], "")}
        | {"breakdown": [part for part in results["corpora_breakdown"] if part["corpus"] == row["corpus"]]}
        for row in results["corpora"][1:]
    }
    return {**partitions, "calibration": results["calibration"], "corpora": corpora}
