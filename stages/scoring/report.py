"""Pictures of an evaluation: JSON for `dvc plots`, PNG for people. Colours are told apart by all eyes (Okabe & Ito)."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

matplotlib.use("Agg")
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
COLOURS = {"val": GREEN, "test": BLUE}
WORDS = {"val": "validation", "test": "test"}
BINS = np.linspace(0, 1, 21)
RELIABILITY_BINS = 8


def write_plot_data(folder: Path, videos: pd.DataFrame) -> None:
    """Points of the curves of `videos` (columns `partition,label,probability,verdict`) as strict JSON lists of records."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in videos.groupby("partition"):
        if part["label"].nunique() < 2:
            continue
        fpr, tpr, _ = roc_curve(part["label"], part["probability"])
        _write(folder / f"roc_{name}.json", fpr=fpr, tpr=tpr)
        precision, recall, _ = precision_recall_curve(part["label"], part["probability"])
        _write(folder / f"precision_recall_{name}.json", recall=recall, precision=precision)
        said, happened = _reliability(part)
        _write(folder / f"reliability_{name}.json", predicted=said, observed=happened)
    test = videos[videos["partition"] == "test"]
    actual = test["label"].map({0: "real", 1: "fake"})
    _write(folder / "confusion.json", actual=actual, predicted=test["verdict"])
    counts = {word: np.histogram(test.loc[test["label"] == i, "probability"], BINS)[0] for i, word in enumerate(("real", "fake"))}
    _write(folder / "histogram.json", probability=(BINS[:-1] + BINS[1:]) / 2, **counts)


def _reliability(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    happened, said = calibration_curve(part["label"], part["probability"], n_bins=RELIABILITY_BINS, strategy="quantile")
    return said, happened


def _write(path: Path, **columns: object) -> None:
    records = pd.DataFrame(columns).round(6).to_dict("records")
    path.write_text(json.dumps(records, indent=0, allow_nan=False) + "\n")


def draw_plots(folder: Path, videos: pd.DataFrame, threshold: float, metrics: dict) -> None:
    """One PNG for each picture."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: part for name, part in videos.groupby("partition") if part["label"].nunique() == 2}
    scores = {"val": metrics["val"]["video"], "test": metrics["video"]}
    for name, draw in (("roc", _roc), ("precision_recall", _precision_recall), ("reliability", _draw_reliability)):
        figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
        for part, table in parts.items():
            draw(axes, table, part, scores[part])
        if name != "precision_recall":
            axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance" if name == "roc" else "perfectly calibrated")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=9)
        _save(figure, folder / f"{name}.png")
    test = videos[videos["partition"] == "test"]
    figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
    _confusion(axes, test, threshold)
    _save(figure, folder / "confusion.png")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    _histogram(axes, test, threshold)
    _save(figure, folder / "histogram.png")


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _with_interval(score: dict, key: str) -> str:
    low, high = score[f"{key}_low"], score[f"{key}_high"]
    return f"{score[key]:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")


def _roc(axes: Axes, table: pd.DataFrame, part: str, score: dict) -> None:
    fpr, tpr, _ = roc_curve(table["label"], table["probability"])
    axes.plot(fpr, tpr, color=COLOURS[part], lw=2, label=f"{WORDS[part]}: AUC {_with_interval(score, 'auc')}")
    axes.set(title="ROC curve of videos", xlabel="real videos called fake", ylabel="fake videos called fake")


def _precision_recall(axes: Axes, table: pd.DataFrame, part: str, score: dict) -> None:
    precision, recall, _ = precision_recall_curve(table["label"], table["probability"])
    label = f"{WORDS[part]}: AP {_with_interval(score, 'ap')}"
    axes.step(recall, precision, where="post", color=COLOURS[part], lw=2, label=label)
    axes.axhline(table["label"].mean(), ls=":", color=COLOURS[part], lw=1)
    axes.set(
        title="Precision and recall of videos", xlabel="recall: fake videos found", ylabel="precision: found videos that are fake"
    )


def _draw_reliability(axes: Axes, table: pd.DataFrame, part: str, score: dict) -> None:
    said, happened = _reliability(table)
    axes.plot(said, happened, "o-", color=COLOURS[part], lw=2, label=f"{WORDS[part]}: ECE {score['ece']:.3f}")
    axes.set(title="Reliability of videos' probabilities", xlabel="probability given", ylabel="share that is fake")


def _confusion(axes: Axes, test: pd.DataFrame, threshold: float) -> None:
    table = confusion_matrix(test["label"], test["probability"] >= threshold, labels=[0, 1])
    axes.imshow(table, cmap="Blues", vmin=0)
    for i, j in np.ndindex(2, 2):
        axes.text(
            j,
            i,
            str(table[i, j]),
            ha="center",
            va="center",
            fontsize=16,
            color="white" if table[i, j] > table.max() / 2 else "black",
        )
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=["real", "fake"], yticklabels=["real", "fake"])
    axes.set(title=f"Test videos at threshold {threshold:.2f}", xlabel="judged", ylabel="truth")


def _histogram(axes: Axes, test: pd.DataFrame, threshold: float) -> None:
    groups = [test.loc[test["label"] == i, "probability"] for i in (0, 1)]
    axes.hist(groups, BINS, color=[BLUE, ORANGE], label=[f"real ({len(groups[0])})", f"fake ({len(groups[1])})"])
    axes.axvline(threshold, color="black", ls="--", lw=1, label=f"threshold {threshold:.2f}")
    axes.set(title="Scores of test videos", xlabel="probability of being fake", ylabel="videos")
    axes.legend(fontsize=9)
