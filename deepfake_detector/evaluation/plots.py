"""Plots of an evaluation, as PNG. Colour never carries meaning alone: line style, marker or hatching repeats it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    DetCurveDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    det_curve,
    precision_recall_curve,
    roc_curve,
)

from deepfake_detector.evaluation.calibration import Calibration, sigmoid
from deepfake_detector.evaluation.curves import BINS, reliability
from deepfake_detector.evaluation.intervals import format_interval
from deepfake_detector.evaluation.robustness_plot import plot_robustness
from deepfake_detector.figures import BLUE, GRAY, GREEN, ORANGE, figure_file, shorten

Row = dict[str, Any]
NAMES = {"val": "validation", "test": "test"}
STYLES: dict[str, dict[str, Any]] = {
    "val": {"color": GREEN, "linestyle": "--", "linewidth": 2},
    "test": {"color": BLUE, "linestyle": "-", "linewidth": 2},
}


def plot_evaluation(
    folder: Path, val: pd.DataFrame, test: pd.DataFrame, results: dict[str, Any], calibration: Calibration
) -> None:
    """Write one PNG for each plot into `folder`, whose other PNGs are removed. A plot without data is left out.

    Args:
        val, test: scored videos, `label,logit,probability`.
        results: as `results.evaluate_detector` returns them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.png"):
        path.unlink()
    scores = {name: rows["video"] for name, rows in results["levels"].items()}
    partitions = {name: table for name, table in (("val", val), ("test", test)) if table["label"].nunique() == 2}
    if partitions:
        plot_roc(folder / "roc.png", partitions, scores)
        plot_precision_recall(folder / "precision_recall.png", partitions, scores)
        plot_det(folder / "det.png", partitions, scores)
    if "test" in partitions:
        plot_reliability(folder / "reliability.png", test, calibration, results["calibration"])
    plot_confusion(folder / "confusion.png", results["classification"])
    plot_histogram(folder / "histogram.png", test, calibration)
    if results["breakdown"]:
        plot_breakdown(folder / "breakdown.png", results["breakdown"], scores["test"])
    if results["robustness"]:
        plot_robustness(folder / "robustness.png", results["robustness"])


def plot_roc(path: Path, partitions: dict[str, pd.DataFrame], scores: dict[str, Row]) -> None:
    with figure_file(path, (5, 5)) as (_, axes):
        for name, table in partitions.items():
            fpr, tpr, _ = roc_curve(table["label"], table["probability"])
            label = f"{NAMES[name]}: AUC {format_interval(scores[name], 'auc')}"
            RocCurveDisplay(fpr=fpr, tpr=tpr, name=label).plot(axes[0, 0], curve_kwargs=STYLES[name])
        axes[0, 0].plot([0, 1], [0, 1], ":", color=GRAY, label="chance")
        _finish(axes[0, 0], "ROC curve of videos", "lower right")


def plot_precision_recall(path: Path, partitions: dict[str, pd.DataFrame], scores: dict[str, Row]) -> None:
    with figure_file(path, (5, 5)) as (_, axes):
        for name, table in partitions.items():
            precision, recall, _ = precision_recall_curve(table["label"], table["probability"])
            label = f"{NAMES[name]}: AP {format_interval(scores[name], 'ap')}"
            display = PrecisionRecallDisplay(precision, recall, name=label, prevalence_pos_label=table["label"].mean())
            dots = (
                2 if name == "val" else 0,
                (1, 3),
            )  # the lines may coincide: one has its dots in the gaps of the other
            chance = STYLES[name] | {"linestyle": dots, "label": f"chance, {NAMES[name]}"}
            display.plot(axes[0, 0], curve_kwargs=STYLES[name], plot_chance_level=True, chance_level_kw=chance)
        _finish(axes[0, 0], "Precision and recall of videos", "lower left")


def plot_det(path: Path, partitions: dict[str, pd.DataFrame], scores: dict[str, Row]) -> None:
    """Detection error trade-off on normal deviates (Martin et al. 1997)."""
    with figure_file(path, (5, 5)) as (_, axes):
        for name, table in partitions.items():
            fpr, fnr, _ = det_curve(table["label"], table["probability"])
            label = f"{NAMES[name]}: EER {format_interval(scores[name], 'eer')}"
            DetCurveDisplay(fpr=fpr, fnr=fnr).plot(axes[0, 0], name=label, **STYLES[name])
        axes[0, 0].plot([-3, 3], [-3, 3], ":", color=GRAY, label="equal error")
        axes[0, 0].set_aspect("equal")
        _finish(axes[0, 0], "Detection error trade-off of videos", "upper right")


def plot_reliability(path: Path, test: pd.DataFrame, calibration: Calibration, change: Row) -> None:
    curves: list[tuple[str, str, np.ndarray, dict[str, str]]] = [
        ("before", "ece_before", sigmoid(test["logit"]), {"color": ORANGE, "linestyle": "--", "marker": "s"}),
        ("after", "ece_after", calibration.probability(test["logit"]), {"color": BLUE, "marker": "o"}),
    ]
    with figure_file(path, (5, 5.4)) as (figure, axes):
        for word, key, probability, style in curves:
            predicted, observed = reliability(test["label"], probability)
            label = f"{word} calibration: ECE {format_interval(change, key)}"
            CalibrationDisplay(observed, predicted, probability).plot(ax=axes[0, 0], name=label, lw=2, **style)
        axes[0, 0].set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title="Reliability, test videos")
        axes[0, 0].grid(alpha=0.3)
        _legend_below(figure, axes[0, 0])


def plot_confusion(path: Path, classification: dict[str, list[Row]]) -> None:
    """Confusion matrices at the threshold, from `tables.classification` of each partition."""
    partitions = {name: rows for name, rows in classification.items() if rows}
    if not partitions:
        return
    with figure_file(path, (3.4 * len(partitions), 3.2), columns=len(partitions)) as (figure, axes):
        for part, (name, rows) in zip(axes[0], partitions.items(), strict=True):
            matrix = np.array([[row["predicted_real"], row["predicted_fake"]] for row in rows[:2]])
            display = ConfusionMatrixDisplay(matrix, display_labels=["real", "fake"])
            display.plot(ax=part, cmap="Blues", colorbar=False, text_kw={"fontsize": 16})
            part.set_title(f"{NAMES[name]} videos")
        figure.suptitle("Confusion matrix at the threshold")


def plot_histogram(path: Path, test: pd.DataFrame, calibration: Calibration) -> None:
    real, fake = (test.loc[test["label"] == label, "probability"] for label in (0, 1))
    with figure_file(path, (6, 4)) as (figure, axes):
        (ax,) = axes[0]
        ax.axvspan(calibration.low, calibration.high, color=GRAY, alpha=0.15, label="uncertain")
        labels = [f"real ({len(real)})", f"fake ({len(fake)})"]
        for patch in ax.hist([real, fake], BINS, color=[BLUE, ORANGE], label=labels)[2][1]:
            patch.set(hatch="//", edgecolor="white", linewidth=0)
        threshold = f"threshold {calibration.threshold:.2f}"
        ax.axvline(calibration.threshold, color="black", linestyle="--", linewidth=1, label=threshold)
        ax.set(title="Fake probability of test videos", xlabel="fake probability", ylabel="videos", xlim=(0, 1))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        _legend_below(figure, ax, columns=4)


def plot_breakdown(path: Path, rows: list[Row], overall: Row) -> None:
    """AUC of each value of each attribute, with intervals."""
    table = [{"column": "test videos", "value": "all", **overall}, *rows]
    with figure_file(path, (7, 1.4 + 0.38 * len(table))) as (_, axes):
        (ax,) = axes[0]
        for i, row in enumerate(table):
            if row["auc"] is None:
                ax.text(0.02, i, "only one class of videos", va="center", fontsize=8, color=GRAY)
                continue
            fill: Row = {"color": "white", "hatch": "//"} if row["small"] else {"color": BLUE}
            ax.barh(i, row["auc"], height=0.7, **fill | {"edgecolor": BLUE})
            if row["auc_low"] is not None:
                ax.plot([row["auc_low"], row["auc_high"]], [i, i], "|-", color="black", lw=1.5)
        names = [shorten(f"{row['column']}: {row['value']}", 50) for row in table]
        counts = [f" ({row['real']} real, {row['fake']} fake)" for row in table]
        ax.set_yticks(range(len(table)), map(str.__add__, names, counts), fontsize=8)
        ax.axvline(0.5, linestyle=":", color=GRAY)
        ax.set(title="AUC with 95 % interval", xlim=(0, 1), ylim=(len(table) - 0.5, -0.5))
        ax.set_xlabel("AUC of videos (hatched: small sample; dotted line: chance)")


def _finish(axes: Axes, title: str, legend: str) -> None:
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc=legend, fontsize=9)


def _legend_below(figure: Any, axes: Axes, columns: int = 1) -> None:
    """A legend outside the axes, where it covers no data."""
    if axes.get_legend():
        axes.get_legend().remove()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=9)
