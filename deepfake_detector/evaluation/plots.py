"""Pictures of an evaluation, as PNG. Colours are told apart by all eyes (Okabe & Ito 2008), and never speak alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm
from sklearn.metrics import det_curve, precision_recall_curve, roc_curve

from deepfake_detector.evaluation.calibration import Calibration, sigmoid
from deepfake_detector.evaluation.curves import BINS, reliability
from deepfake_detector.evaluation.robustness import UNITS

matplotlib.use("Agg")
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
PARTS = {"val": ("validation", GREEN, "--"), "test": ("test", BLUE, "-")}
TICKS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])  # of the DET plot


def plot_evaluation(
    folder: Path, val: pd.DataFrame, test: pd.DataFrame, findings: dict[str, Any], calibration: Calibration
) -> None:
    """One PNG for each picture, of scored videos (`label,logit,probability,verdict`); those that cannot be drawn are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.png"):
        path.unlink()
    scores = {name: rows["video"] for name, rows in findings["levels"].items()}
    parts = {name: table for name, table in (("val", val), ("test", test)) if table["label"].nunique() == 2}
    for name, draw in (("roc", _roc), ("precision_recall", _precision_recall), ("det", _det)) if parts else ():
        figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
        for part, table in parts.items():
            draw(axes, table, part, scores[part])
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=9)
        _save(figure, folder / f"{name}.png")
    if "test" in parts:
        _picture(
            folder / "reliability.png",
            (5, 5),
            lambda axes: _reliability(axes, test, calibration, findings["calibration"]),
        )
    _picture(folder / "confusion.png", (5.6, 3.2), lambda axes: _confusion(axes, findings["verdicts"]))
    _picture(folder / "histogram.png", (6, 4), lambda axes: _histogram(axes, test, calibration))
    if findings["breakdown"]:
        height = 1.4 + 0.38 * len(findings["breakdown"])
        _picture(
            folder / "breakdown.png", (7, height), lambda axes: _breakdown(axes, findings["breakdown"], scores["test"])
        )
    if findings["robustness"]:
        _robustness(folder / "robustness.png", findings["robustness"])


def _picture(path: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> None:
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    draw(axes)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def with_interval(row: dict[str, Any], key: str) -> str:
    """`0.836 (0.729 to 0.961)`, without the interval where there is none; a dash where there is no number."""
    if row.get(key) is None:
        return "–"
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return f"{row[key]:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")


def _line(part: str, score: dict[str, Any], name: str, key: str) -> dict[str, Any]:
    word, colour, style = PARTS[part]
    return {"color": colour, "ls": style, "lw": 2, "label": f"{word}: {name} {with_interval(score, key)}"}


def _square(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")


def _roc(axes: Axes, table: pd.DataFrame, part: str, score: dict[str, Any]) -> None:
    fpr, tpr, _ = roc_curve(table["label"], table["probability"])
    axes.plot(fpr, tpr, **_line(part, score, "AUC", "auc"))
    if part == "test":
        axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
    axes.set(
        title="ROC curve of videos",
        xlabel="share of real videos called fake",
        ylabel="share of fake videos called fake",
    )
    _square(axes)


def _precision_recall(axes: Axes, table: pd.DataFrame, part: str, score: dict[str, Any]) -> None:
    precision, recall, _ = precision_recall_curve(table["label"], table["probability"])
    axes.step(recall, precision, where="post", **_line(part, score, "AP", "ap"))
    word, colour, style = PARTS[part]
    axes.axhline(
        table["label"].mean(),
        ls=(0, (1, 3)) if style == "-" else (2, (1, 3)),
        color=colour,
        lw=1.5,
        label=f"chance, {word}",
    )
    axes.set(title="Precision and recall of videos")
    axes.set(xlabel="recall: share of fake videos found", ylabel="precision: share of found videos that are fake")
    _square(axes)


def _det(axes: Axes, table: pd.DataFrame, part: str, score: dict[str, Any]) -> None:
    """Detection error trade-off on normal deviates (Martin et al. 1997)."""
    fpr, fnr, _ = det_curve(table["label"], table["probability"])
    edge = norm.ppf(0.005), norm.ppf(0.97)
    axes.plot(norm.ppf(fpr).clip(*edge), norm.ppf(fnr).clip(*edge), **_line(part, score, "EER", "eer"))
    if part == "test":
        axes.plot(edge, edge, ":", color=GREY, label="equal error")
    names = [f"{tick:.0%}" for tick in TICKS]
    axes.set_xticks(norm.ppf(TICKS), names, rotation=45)
    axes.set_yticks(norm.ppf(TICKS), names)
    axes.set(
        title="Detection error trade-off of videos", xlabel="real videos called fake", ylabel="fake videos called real"
    )
    axes.set(xlim=edge, ylim=edge, aspect="equal")


def _reliability(axes: Axes, test: pd.DataFrame, calibration: Calibration, change: dict[str, Any]) -> None:
    ways = {
        "ece_before": ("before calibration", ORANGE, "s--", sigmoid(test["logit"])),
        "ece_after": ("after calibration", BLUE, "o-", calibration.probability(test["logit"])),
    }
    for key, (word, colour, style, probability) in ways.items():
        said, happened = reliability(test["label"], probability)
        axes.plot(said, happened, style, color=colour, lw=2, label=f"{word}: ECE {with_interval(change, key)}")
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    axes.set(
        title="Reliability of test videos' probabilities", xlabel="mean probability given", ylabel="share that is fake"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=9)  # below: points may lie anywhere
    _square(axes)


def _confusion(axes: Axes, verdicts: list[dict[str, Any]]) -> None:
    names = [name for name in verdicts[0] if name != "truth"]
    table = np.array([[row[name] for name in names] for row in verdicts])
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(1, table.max()))
    for (i, j), count in np.ndenumerate(table):
        colour = "white" if count > table.max() / 2 else "black"
        axes.text(j, i, str(count), ha="center", va="center", fontsize=16, color=colour)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_yticks(range(len(verdicts)), [row["truth"] for row in verdicts])
    axes.set(title="Verdicts on test videos (counts)", xlabel="verdict", ylabel="truth")


def _histogram(axes: Axes, test: pd.DataFrame, calibration: Calibration) -> None:
    groups = [test.loc[test["label"] == i, "probability"] for i in (0, 1)]
    axes.axvspan(calibration.low, calibration.high, color=GREY, alpha=0.15, label="uncertain")
    bars = axes.hist(
        groups, BINS, color=[BLUE, ORANGE], label=[f"real ({len(groups[0])})", f"fake ({len(groups[1])})"]
    )[2]
    for patch in bars[1]:
        patch.set(hatch="//", edgecolor="white", lw=0)
    axes.axvline(calibration.threshold, color="black", ls="--", lw=1, label=f"threshold {calibration.threshold:.2f}")
    axes.set(title="Scores of test videos", xlabel="probability of being fake", ylabel="number of videos", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=9)


def _breakdown(axes: Axes, rows: list[dict[str, Any]], overall: dict[str, Any]) -> None:
    table = [{"column": "all", "value": "test videos", **overall}, *rows]
    for i, row in enumerate(table):
        if row["auc"] is None:
            axes.text(0.02, i, "only one kind of video", va="center", fontsize=8, color=GREY)
            continue
        small = row["small"]
        axes.barh(
            i, row["auc"], color="white" if small else BLUE, edgecolor=BLUE, hatch="//" if small else None, height=0.7
        )
        if row["auc_low"] is not None:
            axes.plot([row["auc_low"], row["auc_high"]], [i, i], "|-", color="black", lw=1.5)
    names = [f"{row['column']}: {row['value']} ({row['real']} real, {row['fake']} fake)" for row in table]
    axes.set_yticks(range(len(table)), names, fontsize=8)
    axes.axvline(0.5, ls=":", color=GREY)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set(
        title="AUC and 95 % interval", xlabel="AUC of videos (hatched: rests on little; dotted: chance)", xlim=(0, 1)
    )


def _robustness(path: Path, rows: list[dict[str, Any]]) -> None:
    families = list(dict.fromkeys(row["family"] for row in rows))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(3.6 * columns, 3.1 * lines), layout="constrained", sharey=True, squeeze=False
    )
    for axes, family in zip(grid.ravel(), families, strict=False):
        points = [row for row in rows if row["family"] == family and row["auc"] is not None]
        if family == "brightness":  # darker to the left, brighter to the right
            points.sort(key=lambda row: row["strength"] or 1)
        x = range(len(points))
        axes.plot(x, [row["auc"] for row in points], "o-", color=BLUE, lw=2, label="AUC")
        bounds = [
            [row[f"auc_{end}"] if row["auc_low"] is not None else row["auc"] for row in points]
            for end in ("low", "high")
        ]
        axes.fill_between(x, *bounds, color=BLUE, alpha=0.2, label="95 % interval")
        axes.plot(x, [row["fpr"] for row in points], "s--", color=ORANGE, lw=1.5, label="reals called fake")
        names = ["as is" if row["strength"] is None else f"{row['strength']:g}" for row in points]
        axes.set_xticks(x, names, fontsize=8)
        axes.axhline(0.5, ls=":", color=GREY)
        axes.set(xlabel=UNITS[family], ylim=(0, 1.02))
        small = ", rests on little" if any(row["small"] for row in points) else ""
        axes.set_title(
            f"{points[0]['n']} videos{small}" if points else "no AUC: videos of one kind only, or none", fontsize=9
        )
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("AUC; share of reals called fake", fontsize=9)
    for axes in grid.ravel()[len(families) :]:
        axes.set_axis_off()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle("Test videos under compression, scaling, blur, noise and light")
    _save(figure, path)
